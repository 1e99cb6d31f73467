"""Attention: among all weights that select the right token, which?"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suite.models import TokenSelector
from suite.oracles.margins import max_margin_l2, max_margin_linf, max_margin_nuclear, max_margin_spectral
from suite.seeding import torch_stream
from suite.task import Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    MATRIX_NORMS,
    exponential_lipschitz,
    margin_oracle,
    normal,
    nuclear_norm,
    require_choice,
    separator_measures,
)
from suite.tasks.losses import log_mean_output
from suite.tasks.registry import task

NORMS: dict[str, Callable[[Tensor], Tensor]] = {**MATRIX_NORMS, "nuclear": nuclear_norm}
PARAMETRISATIONS = ("combined", "key_query")


def selection_rows(x: Tensor) -> Tensor:
    """The rows ``(x_1 - x_t) z'``, flattened: [n (T - 1), d²] for samples [n, T + 1, d] of a query z and T tokens.

    Their products with a flattened W are by how much the score of token 1, which is to be selected, exceeds the others.
    """
    query, tokens = x[:, 0], x[:, 1:]
    differences = tokens[:, :1] - tokens[:, 1:]
    return (differences[:, :, :, None] * query[:, None, None, :]).flatten(2).flatten(0, 1)


@task
def attention_selection(parametrisation: str = "combined") -> Task:
    """Which attention weights select the right token?

    Claim. Where one token of a sequence serves the loss better than all others, gradient descent on the weights W of an
    attention layer with scores X W z diverges in the direction of the least Frobenius norm that separates it from the
    others, a support vector machine on outer products of tokens and query; globally so if all other tokens serve
    equally ill (Tarzanagh et al. 2023, arXiv:2308.16898). If keys and queries are trained, W = K
    Q', the regularization path of their l2 norms leads to the least *nuclear* norm instead. For gradient descent on K
    and Q that is a conjecture, which `attention_selection[parametrisation=key_query]` tests; nothing is proved for
    other methods.

    Data. 12 samples of 6 tokens and a query in d = 16 dimensions, N(0, I). The head reads a token's first coordinate,
    which is set to 0 for the token to select and to 1 for the others: the output is the attention on the wrong tokens.
    The queries are linearly independent, so the right tokens can be selected. Model: from W = 0, or from keys and
    queries N(0, 0.1²/d).

    Objective. The logarithm of the mean output (a linear loss, as the theorem admits), which never underflows and has
    the same limit directions. It is divided by |Z|²/m, the Hessian's largest eigenvalue at W = 0 of the mean
    exponential loss of the m = 60 differences of scores, Z W.

    Target. The least difference of scores is then within log(60) of 100.

    Oracle. The separators of largest margin in the Frobenius norm (least-distance programming), the max norm (a linear
    program), the spectral and the nuclear norm (semidefinite programs, certified to 1e-6 by duality).

    Reported, not scored. `frobenius_margin_ratio`, `spectral_margin_ratio`, `max_margin_ratio` and
    `nuclear_margin_ratio`: the least difference of scores over a norm of W, over the best possible. No norm is better
    by right. If other methods behave as linear classifiers do (Fan et al. 2025, arXiv:2502.04664), entrywise ones have
    the largest ratio in the max norm and Muon in the spectral one. Local optima, which wrong tokens of different worth
    allow, do not occur: the target loss is reached at the right tokens only.
    """
    n, tokens, d, scale = 12, 6, 16, 0.1
    require_choice("parametrisation", parametrisation, PARAMETRISATIONS)

    def problem(seed: int) -> Problem:
        x = normal(torch_stream("attention_selection", seed, "data"), n, tokens + 1, d)
        x[:, 1:, 0] = 1
        x[:, 1, 0] = 0
        train = Split(x, torch.zeros(n, dtype=torch.float64))
        return Problem(train, lipschitz=exponential_lipschitz(selection_rows(x)))

    def model(problem: Problem, seed: int) -> TokenSelector:
        if parametrisation == "combined":
            return TokenSelector(weight=torch.zeros(d, d, dtype=torch.float64))
        stream = torch_stream("attention_selection", seed, "init")
        return TokenSelector(**{name: scale / math.sqrt(d) * normal(stream, d, d) for name in ("key", "query")})

    def oracle(problem: Problem, seed: int) -> Oracle:
        z, shape = selection_rows(problem.train.x).cpu().numpy(), (d, d)
        separators = {
            "frobenius": max_margin_l2(z),
            "spectral": max_margin_spectral(z, shape),
            "max": max_margin_linf(z),
            "nuclear": max_margin_nuclear(z, shape),
        }
        return margin_oracle(z, separators, NORMS, shape)

    def measure(solution: Solution) -> dict[str, float]:
        assert isinstance(solution.model, TokenSelector)
        w = solution.model.matrix().detach()
        margins = selection_rows(solution.problem.train.x) @ w.flatten()
        return separator_measures(margins, w, NORMS, solution.oracle)

    return Task(
        problem=problem,
        model=model,
        loss=log_mean_output,
        target=Target(-100.0, budget=10_000),
        measure=measure,
        oracle=oracle,
        reported=tuple(f"{norm}_margin_ratio" for norm in NORMS),
    )
