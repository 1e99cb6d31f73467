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
    hessian_norm,
    margin_oracle,
    normal,
    nuclear_norm,
    require_choice,
    separator_measures,
    uniform,
)
from suite.tasks.losses import log_mean_output, mean_output
from suite.tasks.registry import task

NORMS: dict[str, Callable[[Tensor], Tensor]] = {**MATRIX_NORMS, "nuclear": nuclear_norm}
PARAMETRISATIONS = ("combined", "key_query")
WORTHS = ("equal", "graded")
LOCAL = ("optimal_share", "locally_optimal", "local_margin_ratio", "local_cosine")

NEIGHBOR = 1e-6
"""Share of the largest margin within which a token is a neighbor of the selected one: the separators' accuracy."""


def selection_rows(x: Tensor, selected: Tensor | None = None) -> Tensor:
    """The rows ``(x_s - x_t) z'``, flattened: [n (T - 1), d²] for samples [n, T + 1, d] of a query z and T tokens.

    Their products with a flattened W are by how much the score of a sample's token s of `selected` [n], the first one
    by default, exceeds those of the others.
    """
    query, tokens = x[:, 0], x[:, 1:]
    chosen = torch.zeros(len(x), dtype=torch.long, device=x.device) if selected is None else selected
    differences = tokens[torch.arange(len(x)), chosen][:, None] - tokens
    wrong = differences[others(tokens, chosen)].view(len(x), -1, x.shape[2])
    return (wrong[:, :, :, None] * query[:, None, None, :]).flatten(2).flatten(0, 1)


def others(tokens: Tensor, selected: Tensor) -> Tensor:
    """Which of the tokens [n, T, d] are not the selected ones [n], [n, T]."""
    return torch.arange(tokens.shape[1], device=tokens.device)[None] != selected[:, None]


def locally_optimal(x: Tensor, selected: Tensor, separator: Tensor) -> bool:
    """Whether every selected token serves better than its neighbors in the separator of this selection.

    Neighbors are the tokens at the least margin, the support vectors. So Tarzanagh et al. (2023, arXiv:2308.16898)
    define them, quoted from memory: of their paper only the abstract was at hand. A token serves the better, the less
    its first coordinate.

    Args:
        x: samples [n, T + 1, d].
        selected: tokens [n].
        separator: of largest margin among those of `selection_rows(x, selected)`, flattened.
    """
    margins = selection_rows(x, selected) @ separator
    neighbors = (margins <= margins.min() * (1 + NEIGHBOR)).view(len(x), -1)
    values, tokens = x[:, 1:, 0], x[:, 1:]
    wrong = values[others(tokens, selected)].view(len(x), -1)
    return bool(((values[torch.arange(len(x)), selected][:, None] < wrong) | ~neighbors).all())


@task
def attention_selection(parametrisation: str = "combined", worth: str = "equal") -> Task:
    """Which attention weights select the right token?

    Claim. Where one token of a sequence serves the loss better than all others, gradient descent on the weights W of an
    attention layer with scores X W z diverges in the direction of the least Frobenius norm that separates it from the
    others, a support vector machine on outer products of tokens and query; globally so if all other tokens serve
    equally ill (Tarzanagh et al. 2023, arXiv:2308.16898). If they do not, another selection may be locally optimal: one
    whose tokens serve better than their neighbors, the support vectors of its own machine; from starts near such a
    direction gradient descent converges to it. If keys and queries are trained, W = K Q', the regularization path of
    their l2 norms leads to the least *nuclear* norm instead. For gradient descent on K and Q that is a conjecture,
    which `attention_selection[parametrisation=key_query]` tests; nothing is proved for other methods. (The two norms
    and the convergence to local optima stand in the paper's abstract; the geometric conditions and the definition of
    local optimality are quoted from memory.)

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
    the largest ratio in the max norm and Muon in the spectral one. Local optima do not occur: the target loss is
    reached at the right tokens only.

    Variant. In `attention_selection[worth=graded]` the first coordinate of the wrong tokens is U(0, 1), the loss is the
    mean output itself over its Hessian's largest eigenvalue at W = 0, as its logarithm has no limit where a wrong token
    is selected, and 0.1 is asked for after 4,000 steps; every step size that reaches it is reported. `optimal_share`:
    of samples whose right token has the highest score. `locally_optimal`: 1 if the selected tokens are, else 0.
    `local_margin_ratio`: the least difference of scores between selected tokens and others over W's norm, over that of
    the selection's own separator, in the Frobenius norm for W and the nuclear one for keys and queries.
    `local_cosine`: between W and that separator. The other ratios are about the right tokens, negative where one is not
    selected. From W = 0 nothing is proved of which selection is found. The loss itself lets directions approach their
    limit as 1/log(loss) only. On ten seeds gradient descent ends at a locally optimal selection on six (step 0.02) or
    seven (0.08 to 1.3), the global one on one of them, with 0.45 to 0.68 of the margin of its own selection. Normalized
    descent always does, with 0.92 to 0.94 of it, at the global one on three (step 0.0035) to eight (0.05).
    """
    n, tokens, d, scale = 12, 6, 16, 0.1
    require_choice("parametrisation", parametrisation, PARAMETRISATIONS)
    require_choice("worth", worth, WORTHS)
    graded, own = worth == "graded", "frobenius" if parametrisation == "combined" else "nuclear"

    def problem(seed: int) -> Problem:
        x = normal(torch_stream("attention_selection", seed, "data"), n, tokens + 1, d)
        x[:, 1:, 0] = 1
        x[:, 1, 0] = 0
        if graded:
            grades = uniform(torch_stream("attention_selection", seed, "worth"), n * (tokens - 1), 0, 1)
            x[:, 2:, 0] = grades.view(n, tokens - 1)
        train = Split(x, torch.zeros(n, dtype=torch.float64))
        at_zero = TokenSelector(weight=torch.zeros(d, d, dtype=torch.float64))
        smoothness = hessian_norm(at_zero, train, mean_output) if graded else exponential_lipschitz(selection_rows(x))
        return Problem(train, lipschitz=smoothness)

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
        x = solution.problem.train.x
        measures = separator_measures(selection_rows(x) @ w.flatten(), w, NORMS, solution.oracle)
        return measures | (local_measures(x.cpu(), w.cpu()) if graded else {})

    def local_measures(x: Tensor, w: Tensor) -> dict[str, float]:
        """What W [d, d] has to do with the separator of the tokens that it selects itself."""
        selected = (x[:, 1:] @ (x[:, 0] @ w.T)[:, :, None]).squeeze(-1).argmax(1)
        rows = selection_rows(x, selected)
        best = max_margin_l2(rows.numpy()) if own == "frobenius" else max_margin_nuclear(rows.numpy(), (d, d))
        separator = torch.from_numpy(best)
        margin, largest = ((rows @ v).min() / NORMS[own](v.view(d, d)) for v in (w.flatten(), separator))
        return {
            "optimal_share": float((selected == 0).double().mean()),
            "locally_optimal": float(locally_optimal(x, selected, separator)),
            "local_margin_ratio": float(margin / largest),
            "local_cosine": float(torch.cosine_similarity(w.flatten(), separator, dim=0)),
        }

    return Task(
        problem=problem,
        model=model,
        loss=mean_output if graded else log_mean_output,
        target=Target(0.1, budget=4_000, at_end=True) if graded else Target(-100.0, budget=10_000),
        measure=measure,
        selection="convergence" if graded else "gradient_evaluations",
        oracle=oracle,
        reported=(*(LOCAL if graded else ()), *(f"{norm}_margin_ratio" for norm in NORMS)),
    )
