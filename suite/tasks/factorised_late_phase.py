"""Late phases: what decay does long after the data are fitted."""

from __future__ import annotations

import torch

from suite.models import DiagonalNetwork
from suite.oracles.interpolators import basis_pursuit, min_norm_interpolator
from suite.seeding import torch_stream
from suite.task import Decay, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, relative_distance
from suite.tasks.factorised import diagonal_lipschitz, diagonal_predictor, quarter_squared_error, sparse_teacher
from suite.tasks.registry import task


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

    Target. Every submission spends the whole budget. Hyper-parameters are chosen by the loss on 40 other samples, not
    by the speed of the fit, which prefers steps too short for the second phase.

    Oracle. The early solution is the minimum-l2-norm interpolator, the late one basis pursuit, which recovers w*.

    Reported, not scored. `recovery_error` = |w - w*| / |w*|, `l1_ratio` = |w|_1 over basis pursuit's, and `l2_distance`
    to the early solution. The sparse solution minimises the decayed objective itself: any optimizer that minimises it
    for long enough arrives there, so this says how an optimizer passes on an explicit decay, not what its own bias is;
    and submissions that bring a decay of their own would be rewarded twice.
    """
    n, d, nonzero, alpha = 40, 100, 5, 1.0
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1, not {decay}.")

    def problem(seed: int) -> Problem:
        stream = torch_stream("late_phase_sparse", seed, "data")
        x, teacher = sparse_teacher(stream, n, d, nonzero)
        others = torch.randn(n, d, generator=stream, dtype=torch.float64)
        train, validation = (Split(inputs, inputs @ teacher) for inputs in (x, others))
        return Problem(
            train, validation, lipschitz=diagonal_lipschitz(x, teacher, alpha), ground_truth={"teacher": teacher}
        )

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
        problem=problem,
        model=lambda problem, seed: DiagonalNetwork(d, alpha),
        loss=quarter_squared_error,
        target=Target(1e-3, budget=4_000, at_end=True),
        measure=measure,
        oracle=oracle,
        decay=Decay(decay, until=0.7) if decay else None,
        selection="validation_loss",
        reported=("recovery_error", "l1_ratio", "l2_distance"),
    )
