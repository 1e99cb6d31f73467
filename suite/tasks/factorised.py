"""Factorised models: depth, scale, noise and decay decide which interpolator is found, and which rank."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.measures import effective_rank_of
from suite.models import DiagonalNetwork, MatrixProduct
from suite.oracles.interpolators import (
    basis_pursuit,
    hyperbolic_entropy_interpolator,
    min_norm_interpolator,
    nuclear_norm_completion,
)
from suite.seeding import torch_stream
from suite.task import Axis, Decay, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, normal, relative_distance, signs, tensors, weights
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task

SAMPLES, FEATURES, NONZERO = 40, 100, 5
"""Of the tasks on diagonal networks."""


def quarter_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the squared error, over 4 (as in Woodworth et al.)."""
    return mean_squared_error(outputs, targets) / 4


def sparse_problem(task_name: str, seed: int, alpha: float, size: float = 1.0, validation: bool = False) -> Problem:
    """``y = X w*``, Gaussian X [40, 100], for `DiagonalNetwork`: five entries of w*, at random, are ± `size`.

    The Lipschitz constant is the largest eigenvalue of the Hessian of `quarter_squared_error` at the teacher's own
    weights, u² + v² = |w*|, or at the start, u² + v² = 2 alpha², whichever is larger.
    """
    stream = torch_stream(task_name, seed, "data")
    x, teacher = normal(stream, SAMPLES, FEATURES), torch.zeros(FEATURES, dtype=torch.float64)
    support = torch.randperm(FEATURES, generator=stream)[:NONZERO]
    teacher[support] = size * signs(stream, NONZERO)
    # At an interpolator the Hessian in (u, v) is J'J / (2n) with J = X diag(2u, -2v); JJ' = 4 X diag(u² + v²) X'.
    at_teacher = 2 / len(x) * float(torch.linalg.matrix_norm(x * teacher.abs().sqrt(), ord=2)) ** 2
    at_start = 4 * alpha**2 / len(x) * float(torch.linalg.matrix_norm(x, ord=2)) ** 2
    others = normal(stream, SAMPLES, FEATURES)
    return Problem(
        Split(x, x @ teacher),
        Split(others, others @ teacher) if validation else None,
        lipschitz=max(at_teacher, at_start),
        ground_truth={"teacher": teacher},
    )


def diagonal_predictor(solution: Solution) -> Tensor:
    """The end-to-end linear predictor ``u² - v²`` of a `DiagonalNetwork`, [d]."""
    u, v = weights(solution, "u", "v")
    return u.square() - v.square()


@task
def sparse_regression(alpha: float = 0.1) -> Task:
    """Does the optimizer find the sparse interpolator on a diagonal network?

    Claim. With w = u² - v² from u = v = alpha, gradient flow minimizes the hyperbolic-entropy potential among the
    interpolators: like the l2 norm for large alpha (kernel regime), like the l1 norm for small alpha (rich regime;
    Woodworth et al. 2020, arXiv:2002.09277). The noise of SGD acts like a smaller alpha (Pesme et al. 2021,
    arXiv:2106.09524).

    Data. n = 40 samples, d = 100 features, X ~ N(0, 1), y = X w* with five entries of w* equal to +1 or -1. Loss: mean
    squared error over 4, divided by the Hessian's largest eigenvalue at the sparse teacher's own weights (u² + v² =
    |w*|) or at the start (u² + v² = 2 alpha²), whichever is larger, so that a step size below 2 is stable at both. Of
    interest: alpha = 1 (kernel regime), 0.3, 0.1, 0.01 (rich regime).

    Target. Below alpha = 0.1 the budget is 40,000: coordinates that must stay small learn at a rate proportional to
    alpha². Every step size with which training reaches the target loss is scored: the theorem is of gradient flow,
    finite steps end elsewhere (momentum at 0.02, 0.06 and 0.2: 0.49, 0.44 and 0.36 on the norm axis, and the fastest is
    the last), and no choice by speed may decide which is reported.

    Oracle. Basis pursuit (a linear program; it recovers w* here), the minimum-l2-norm interpolator, and the exact
    minimizer of the potential for the given alpha (Newton's method on the dual): gradient flow must match it.

    Norm axis. `l1_ratio` = |w|_1 over basis pursuit's. Generalization axis. `recovery_error` = |w - w*| / |w*|. Both:
    score 0 is the minimum-l2-norm interpolator, per data set, the limit of large alpha; score 1 is w*. Reported:
    `potential_distance` = |w - w_flow| / |w_flow| to the minimizer of the potential.
    """
    if not 1e-6 <= alpha <= 100:
        raise ValueError(f"alpha must be between 1e-6 and 100, not {alpha}.")

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = arrays(problem.train)
        teacher = problem.ground_truth["teacher"].cpu().numpy()
        l1, l2, flow = basis_pursuit(x, y), min_norm_interpolator(x, y), hyperbolic_entropy_interpolator(x, y, alpha)
        values = {"l1_norm": float(abs(l1).sum())}
        for name, w in (("l2", l2), ("flow", flow)):
            values[f"{name}_l1_ratio"] = float(abs(w).sum() / abs(l1).sum())
            distance, norm = (float((vector**2).sum() ** 0.5) for vector in (w - teacher, teacher))
            values[f"{name}_recovery_error"] = distance / norm
        return Oracle(tensors(l1=l1, l2=l2, flow=flow), values)

    def measure(solution: Solution) -> dict[str, float]:
        w, teacher = diagonal_predictor(solution), solution.problem.ground_truth["teacher"]
        return {
            "l1_ratio": w.abs().sum().item() / solution.oracle.values["l1_norm"],
            "recovery_error": relative_distance(w, teacher),
            "potential_distance": relative_distance(w, solution.oracle.solutions["flow"].to(w.device)),
            "l2_norm": torch.linalg.vector_norm(w).item(),
        }

    return Task(
        problem=lambda seed: sparse_problem("sparse_regression", seed, alpha),
        model=lambda problem, seed: DiagonalNetwork(FEATURES, alpha),
        loss=quarter_squared_error,
        target=Target(1e-9, budget=10_000 if alpha >= 0.1 else 40_000),
        measure=measure,
        selection="convergence",
        oracle=oracle,
        axes=(
            Axis("norm", "l1_ratio", "log", score_0="l2_l1_ratio", score_1=1.0),
            Axis("generalization", "recovery_error", "log", score_0="l2_recovery_error", score_1=0.01, floor=0.01),
        ),
        reported=("potential_distance",),
    )


@task
def late_phase_sparse(decay: float = 0.05) -> Task:
    """Does decay turn a fitted solution into the sparse one, long after the fit?

    Claim. With a large start and a small L2 decay training has two phases: it first fits the data with the kernel
    solution, and only after a time of order 1 / (step * decay) moves to the solution of least norm of the weights (Lyu
    et al. 2024, arXiv:2311.18817). On a diagonal network |u|² + |v|² >= 2 |w|_1, so the late solution is sparse: a
    grokking curve whose both ends are known exactly.

    Data and model. Those of `sparse_regression` with u = v = alpha = 1, from which training without decay ends at the
    minimum-l2-norm interpolator. The decay is a part of the task: every gradient is that of the loss plus decay / 2
    (|u|² + |v|²), for the first 70 % of the budget; then the loss alone, so that the solution interpolates and can be
    compared with interpolators. Gradient descent shrinks every product u_j v_j by exp(-2 step decay) per step: with a
    decay of 0.0025 it still has the early solution after 4,000 steps and has recovered w* after 20,000; with the
    default, 4,000 suffice. `late_phase_sparse[decay=0]` is the control.

    Target. Trials are chosen by the loss on 40 other samples: the fastest fit has steps too short for the second phase.

    Oracle. The early solution is the minimum-l2-norm interpolator, the late one basis pursuit, which recovers w*.

    Reported, not scored. `recovery_error` = |w - w*| / |w*|, `l1_ratio` = |w|_1 over basis pursuit's, and `l2_distance`
    to the early solution. The sparse solution minimizes the decayed objective itself: any optimizer that minimizes it
    for long enough arrives there, so this says how an optimizer passes on an explicit decay, not what its own bias is;
    and submissions that bring a decay of their own would be rewarded twice.
    """
    alpha = 1.0
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1, not {decay}.")

    def oracle(problem: Problem, seed: int) -> Oracle:
        data = arrays(problem.train)
        early, late = (torch.from_numpy(solve(*data)) for solve in (min_norm_interpolator, basis_pursuit))
        teacher = problem.ground_truth["teacher"].cpu()
        values = {"l2_recovery_error": relative_distance(early, teacher), "l1_norm": float(late.abs().sum())}
        return Oracle({"l2": early, "l1": late}, values)

    def measure(solution: Solution) -> dict[str, float]:
        w, oracle = diagonal_predictor(solution), solution.oracle
        return {
            "recovery_error": relative_distance(w, solution.problem.ground_truth["teacher"]),
            "l1_ratio": float(w.abs().sum()) / oracle.values["l1_norm"],
            "l2_distance": relative_distance(w, oracle.solutions["l2"].to(w.device)),
            "l2_recovery_error": oracle.values["l2_recovery_error"],
        }

    return Task(
        problem=lambda seed: sparse_problem("late_phase_sparse", seed, alpha, validation=True),
        model=lambda problem, seed: DiagonalNetwork(FEATURES, alpha),
        loss=quarter_squared_error,
        target=Target(1e-3, budget=4_000, at_end=True),
        measure=measure,
        oracle=oracle,
        decay=Decay(decay, until=0.7) if decay else None,
        selection="validation_loss",
        reported=("recovery_error", "l1_ratio", "l2_distance"),
    )


@task
def matrix_completion(depth: int = 2, init: float = 1e-3) -> Task:
    """Does a deep factorisation complete a low-rank matrix?

    Claim. Gradient descent from small initialization prefers low rank, the more the deeper the factorisation, beyond
    what any norm explains (Gunasekar et al. 2017, arXiv:1705.09280; Arora et al. 2019, arXiv:1905.13655; Li et al.
    2021, arXiv:2012.09839).

    Data. A 24 x 24 matrix M of rank 2 with Frobenius norm 24, of which 40 % of the entries are observed: at 35 % the
    nuclear-norm oracle itself fails on some seeds, at 50 % it recovers every matrix and the task would not distinguish
    low rank from a small norm. Model: the product of `depth` square matrices, whose entries are drawn so that the
    product's are `init` times N(0, 1/24). Loss: mean squared error on the observed entries, divided by ``2 depth s^(2 -
    2/depth) / m``, a bound of the Hessian's largest eigenvalue at a balanced solution with largest singular value s and
    m entries. An init of 1 is too large for low rank.

    Target. The mean square of M is 1. The time to leave the saddle at zero grows like ``init^-(1 - 2/depth)``: deep
    factorisations may not reach the target loss within the budget, which is then reported as it is. Every step size
    with which training reaches the target loss is scored, because the answer depends on it: momentum scores 0.91, 0.81
    and 0.69 on the generalization axis at 0.02, 0.06 and 0.2, Adam from 0.56 down to 0.42 over its space.

    Oracle. The true matrix, and the nuclear-norm minimizer (a convex solver) with its own error, `oracle_error`.

    Norm axis. `nuclear_ratio` = nuclear norm over the true one's; the minimizer's is a little less (0.983 on seed 0).
    Score 0: that of the observed entries with zeros elsewhere, which depth 1 finds. Generalization axis.
    `unobserved_error` = squared error on the unobserved entries over their squared norm. Score 0: predicting zero.
    Score 1: closer counts as exact.
    """
    d, rank, share = 24, 2, 0.4
    if not (1 <= depth <= 8 and 1e-8 <= init <= 10):
        raise ValueError(f"depth must be 1 to 8 and init 1e-8 to 10, not {depth} and {init}.")
    cells = torch.cartesian_prod(torch.arange(d), torch.arange(d))

    def problem(seed: int) -> Problem:
        stream = torch_stream("matrix_completion", seed, "data")
        left, right = normal(stream, d, rank), normal(stream, d, rank)
        matrix = left @ right.T
        matrix = matrix * d / torch.linalg.matrix_norm(matrix)
        order = torch.randperm(d * d, generator=stream)
        seen, unseen = torch.tensor_split(cells[order], [round(share * d * d)])
        top = torch.linalg.matrix_norm(matrix, ord=2).item()
        return Problem(
            Split(seen, matrix[seen[:, 0], seen[:, 1]]),
            test=Split(unseen, matrix[unseen[:, 0], unseen[:, 1]]),
            lipschitz=2 * depth * top ** (2 - 2 / depth) / len(seen),
            ground_truth={"matrix": matrix},
        )

    def oracle(problem: Problem, seed: int) -> Oracle:
        problem = problem.to("cpu")
        matrix, seen, test = problem.ground_truth["matrix"], problem.train.x, problem.required_test
        filled = torch.zeros_like(matrix)
        filled[seen[:, 0], seen[:, 1]] = problem.train.y
        nuclear = torch.from_numpy(nuclear_norm_completion(filled.numpy(), seen.numpy()))
        error = (nuclear - matrix)[test.x[:, 0], test.x[:, 1]].square().sum() / test.y.square().sum()
        zero_filled = torch.linalg.matrix_norm(filled, ord="nuc") / torch.linalg.matrix_norm(matrix, ord="nuc")
        values = {"zero_filled_ratio": float(zero_filled), "oracle_error": float(error)}
        return Oracle({"matrix": matrix, "nuclear": nuclear}, values)

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test, truth = solution.problem.required_test, solution.problem.ground_truth["matrix"]
        w = solution.model(cells.to(test.x.device)).view(d, d)
        error = (w[test.x[:, 0], test.x[:, 1]] - test.y).square().sum() / test.y.square().sum()
        ratio = torch.linalg.matrix_norm(w, ord="nuc") / torch.linalg.matrix_norm(truth, ord="nuc")
        return {
            "nuclear_ratio": float(ratio),
            "unobserved_error": float(error),
            "effective_rank": float(effective_rank_of(w)),
            "oracle_error": solution.oracle.values["oracle_error"],
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: MatrixProduct(d, depth, init, torch_stream("matrix_completion", seed, "init")),
        loss=mean_squared_error,
        target=Target(1e-5, budget=12_000),
        measure=measure,
        selection="convergence",
        oracle=oracle,
        axes=(
            Axis("norm", "nuclear_ratio", "log", score_0="zero_filled_ratio", score_1=1.0),
            Axis("generalization", "unobserved_error", "log", score_0=1.0, score_1=0.01, floor=0.01),
        ),
    )
