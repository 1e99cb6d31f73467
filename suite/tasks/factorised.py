"""Factorised models: depth, scale and noise decide which interpolator is found."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.models import DiagonalNetwork
from suite.oracles.interpolators import basis_pursuit, hyperbolic_entropy_interpolator, min_norm_interpolator
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, relative_distance, weights
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


def quarter_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the squared error, over 4 (as in Woodworth et al.)."""
    return mean_squared_error(outputs, targets) / 4


def sparse_teacher(stream: torch.Generator, n: int, d: int, nonzero: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Gaussian inputs [n, d], and weights [d] of which `nonzero`, at random places, are plus or minus `size`."""
    x = torch.randn(n, d, generator=stream, dtype=torch.float64)
    teacher = torch.zeros(d, dtype=torch.float64)
    support = torch.randperm(d, generator=stream)[:nonzero]
    signs = torch.randint(0, 2, (nonzero,), generator=stream, dtype=torch.float64) * 2 - 1
    teacher[support] = size * signs
    return x, teacher


def diagonal_lipschitz(x: Tensor, teacher: Tensor, alpha: float) -> float:
    """The largest eigenvalue of the Hessian of `quarter_squared_error` on a diagonal network.

    At the teacher's own weights, u² + v² = |w*|, or at the start, u² + v² = 2 alpha², whichever is larger.
    """
    # At an interpolator the Hessian in (u, v) is J'J / (2n) with J = X diag(2u, -2v); JJ' = 4 X diag(u² + v²) X'.
    at_teacher = 2 / len(x) * float(torch.linalg.matrix_norm(x * teacher.abs().sqrt(), ord=2)) ** 2
    at_start = 4 * alpha**2 / len(x) * float(torch.linalg.matrix_norm(x, ord=2)) ** 2
    return max(at_teacher, at_start)


def diagonal_predictor(solution: Solution) -> Tensor:
    """The end-to-end linear predictor ``u² - v²`` of a `DiagonalNetwork`, [d]."""
    u, v = weights(solution, "u", "v")
    return u.square() - v.square()


@task
def sparse_regression(alpha: float = 0.1) -> Task:
    """Does the optimizer find the sparse interpolator on a diagonal network?

    Claim. With w = u² - v² from u = v = alpha, gradient flow minimises the hyperbolic-entropy potential among the
    interpolators: like the l2 norm for large alpha (kernel regime), like the l1 norm for small alpha (rich regime;
    Woodworth et al. 2020, arXiv:2002.09277). The noise of SGD acts like a smaller alpha (Pesme et al. 2021,
    arXiv:2106.09524).

    Data. n = 40 samples, d = 100 features, X ~ N(0, 1), y = X w* with five entries of w* equal to +1 or -1. Loss: mean
    squared error over 4, divided by the Hessian's largest eigenvalue at the sparse teacher's own weights (u² + v² =
    |w*|) or at the start (u² + v² = 2 alpha²), whichever is larger, so that a step size below 2 is stable at both. Of
    interest: alpha = 1 (kernel regime), 0.3, 0.1, 0.01 (rich regime).

    Target. Below alpha = 0.1 the budget is 40,000, because the coordinates that must stay small learn at a rate
    proportional to alpha².

    Oracle. Basis pursuit (a linear program; it recovers w* here), the minimum-l2-norm interpolator, and the exact
    minimiser of the potential for the given alpha (Newton's method on the dual): gradient flow must match it.

    Norm axis. `l1_ratio` = |w|_1 over basis pursuit's. Generalization axis. `recovery_error` = |w - w*| / |w*|. Both:
    score 0 is the minimum-l2-norm interpolator, per data set, the limit of large alpha; score 1 is w*.
    """
    n, d, nonzero = 40, 100, 5
    if not 1e-6 <= alpha <= 100:
        raise ValueError(f"alpha must be between 1e-6 and 100, not {alpha}.")

    def problem(seed: int) -> Problem:
        x, teacher = sparse_teacher(torch_stream("sparse_regression", seed, "data"), n, d, nonzero)
        lipschitz = diagonal_lipschitz(x, teacher, alpha)
        return Problem(Split(x, x @ teacher), lipschitz=lipschitz, ground_truth={"teacher": teacher})

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = arrays(problem.train)
        teacher = problem.ground_truth["teacher"].cpu().numpy()
        l1, l2, flow = basis_pursuit(x, y), min_norm_interpolator(x, y), hyperbolic_entropy_interpolator(x, y, alpha)
        scale = float((teacher**2).sum() ** 0.5)
        return Oracle(
            {"l1": torch.from_numpy(l1), "l2": torch.from_numpy(l2), "flow": torch.from_numpy(flow)},
            {
                "l1_norm": float(abs(l1).sum()),
                "l2_l1_ratio": float(abs(l2).sum() / abs(l1).sum()),
                "l2_recovery_error": float(((l2 - teacher) ** 2).sum() ** 0.5) / scale,
                "flow_l1_ratio": float(abs(flow).sum() / abs(l1).sum()),
                "flow_recovery_error": float(((flow - teacher) ** 2).sum() ** 0.5) / scale,
            },
        )

    def measure(solution: Solution) -> dict[str, float]:
        w, teacher = diagonal_predictor(solution), solution.problem.ground_truth["teacher"]
        return {
            "l1_ratio": w.abs().sum().item() / solution.oracle.values["l1_norm"],
            "recovery_error": relative_distance(w, teacher),
            "potential_distance": relative_distance(w, solution.oracle.solutions["flow"].to(w.device)),
            "l2_norm": torch.linalg.vector_norm(w).item(),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: DiagonalNetwork(d, alpha),
        loss=quarter_squared_error,
        target=Target(1e-9, budget=10_000 if alpha >= 0.1 else 40_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", "l1_ratio", "log", score_0="l2_l1_ratio", score_1=1.0),
            Axis("generalization", "recovery_error", "log", score_0="l2_recovery_error", score_1=0.01, floor=0.01),
        ),
    )
