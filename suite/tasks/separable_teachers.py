"""Separable data whose truth has a geometry of its own: which margin predicts best is a fact of the data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suite.models import MatrixPredictor
from suite.oracles.margins import (
    max_margin_l1,
    max_margin_l2,
    max_margin_linf,
    max_margin_nuclear,
    max_margin_spectral,
)
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    MATRIX_NORMS,
    exponential_lipschitz,
    margin_oracle,
    normal,
    nuclear_norm,
    require_choice,
    separator_measures,
    signs,
    weights,
)
from suite.tasks.losses import log_exponential
from suite.tasks.registry import task

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    **MATRIX_NORMS,
    "nuclear": nuclear_norm,
    "l1": lambda w: w.abs().sum(),
}
SIDE = 8


def _signs(stream: torch.Generator) -> Tensor:
    return signs(stream, SIDE * SIDE).reshape(SIDE, SIDE)


def _sparse(stream: torch.Generator) -> Tensor:
    teacher = torch.zeros(SIDE * SIDE, dtype=torch.float64)
    teacher[torch.randperm(SIDE * SIDE, generator=stream)[:3]] = signs(stream, 3)
    return teacher.reshape(SIDE, SIDE)


def _orthogonal(stream: torch.Generator) -> Tensor:
    return torch.linalg.qr(normal(stream, SIDE, SIDE)).Q


def _rank_one(stream: torch.Generator) -> Tensor:
    return torch.outer(normal(stream, SIDE), normal(stream, SIDE))


TRUTHS = {
    "signs": (_signs, 0.265, 0.176),
    "sparse": (_sparse, 0.385, 0.100),
    "orthogonal": (_orthogonal, 0.258, 0.182),
    "rank_one": (_rank_one, 0.341, 0.133),
}
"""How each teacher is drawn, and the mean errors (50 seeds) of two separators: that of largest margin in the norm which
is dual to the truth's own, and that in its own. Own and dual: max and l1, l1 and max, spectral and nuclear, nuclear and
spectral norm."""


@task
def teacher_geometry(truth: str = "signs") -> Task:
    """Whose margin predicts best when the truth itself has a geometry?

    Claim. No norm is the right one by itself: the separator of largest margin in the norm whose unit ball has the truth
    for a corner predicts best. A teacher of entries ±1 is a corner of the max norm's ball, one of few entries of the l1
    norm's, an orthogonal one of the spectral norm's, one of rank one of the nuclear norm's; for recovery from few
    linear measurements this is Chandrasekaran et al. 2012, arXiv:1012.0621. So sign descent and
    Adam should do well on `truth=signs` (Zhang et al. 2024, arXiv:2406.10650), Muon on `truth=orthogonal` (Fan et al.
    2025, arXiv:2502.04664) and neither on the other two, to which no optimizer here but the explicitly sparse ones has
    a bias from W = 0. Isotropic teachers, where the l2 norm is right, are in `min_norm_regression` and
    `spectral_margin`.

    Data. n = 100 samples x ~ N(0, I) of dimension 64, arranged as 8 x 8 matrices, with the labels of the teacher. On 50
    seeds the separator of the truth's own norm errs less than that of the dual norm every time. Model: <x, W> from W =
    0.

    Objective and target as in `max_margin`: log mean exp(-m_i), until the norm has grown to 30 over the margin.

    Oracle. The separators of largest margin in the Frobenius norm (least-distance programming), the max and the l1 norm
    (linear programs), the spectral and the nuclear norm (semidefinite programs, certified to 1e-6 by duality).

    Generalization axis. `test_error`: the probability of a wrong label for a new x, which for Gaussian inputs is the
    angle between W and the teacher over pi, without sampling. Score 0: the separator of the dual norm, the opposite of
    what the truth asks for. Score 1: that of the truth's own norm. Both are means over 50 seeds, as on a single data
    set their difference can be small, and a score with it for a unit would magnify chance. Reported: the margin over
    each norm, over the best possible.
    """
    n = 100
    require_choice("truth", truth, TRUTHS)
    draw, dual_error, own_error = TRUTHS[truth]

    def problem(seed: int) -> Problem:
        stream = torch_stream("teacher_geometry", seed, "data")
        x, teacher = normal(stream, n, SIDE, SIDE), draw(stream)
        labels = torch.sign((x * teacher).sum((1, 2)))
        lipschitz = exponential_lipschitz(x.flatten(1))
        return Problem(Split(x, labels), lipschitz=lipschitz, ground_truth={"teacher": teacher})

    def error(w: Tensor, problem: Problem) -> float:
        teacher = problem.ground_truth["teacher"].to(w.device)
        cosine = (w * teacher).sum() / (torch.linalg.matrix_norm(w) * torch.linalg.matrix_norm(teacher))
        return float(cosine.clamp(-1, 1).acos()) / math.pi

    def signed_rows(problem: Problem) -> Tensor:
        return problem.train.y[:, None] * problem.train.x.flatten(1)

    def oracle(problem: Problem, seed: int) -> Oracle:
        z, shape = signed_rows(problem).cpu().numpy(), (SIDE, SIDE)
        separators = {
            "frobenius": max_margin_l2(z),
            "spectral": max_margin_spectral(z, shape),
            "max": max_margin_linf(z),
            "nuclear": max_margin_nuclear(z, shape),
            "l1": max_margin_l1(z),
        }
        return margin_oracle(z, separators, NORMS, shape)

    def measure(solution: Solution) -> dict[str, float]:
        (w,) = weights(solution, "weight")
        margins = signed_rows(solution.problem) @ w.flatten()
        return separator_measures(margins, w, NORMS, solution.oracle) | {"test_error": error(w, solution.problem)}

    return Task(
        problem=problem,
        model=lambda problem, seed: MatrixPredictor(SIDE, SIDE),
        loss=log_exponential,
        target=Target(-30.0, budget=10_000),
        measure=measure,
        oracle=oracle,
        axes=(Axis("generalization", "test_error", "linear", score_0=dual_error, score_1=own_error),),
        reported=tuple(f"{norm}_margin_ratio" for norm in NORMS),
    )
