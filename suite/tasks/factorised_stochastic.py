"""Diagonal networks on mini-batches: the noise of the batches acts as a smaller initialization."""

from __future__ import annotations

import math

import numpy as np
import torch

from suite.models import DiagonalNetwork
from suite.oracles.interpolators import basis_pursuit, hyperbolic_entropy_interpolator
from suite.oracles.solvers import OracleError
from suite.task import Oracle, Problem, Solution, Target, Task
from suite.tasks.common import arrays, relative_distance, tensors, weights
from suite.tasks.factorised import FEATURES, SAMPLES, diagonal_predictor, quarter_squared_error, sparse_problem
from suite.tasks.registry import task


@task
def stochastic_sparse(alpha: float = 0.1, batch: int = 1) -> Task:
    """Does the noise of mini-batches act as a smaller initialization?

    Claim. On the diagonal network w = u² - v² stochastic gradient flow from u = v = alpha ends at the interpolator that
    gradient flow finds from a smaller start, in each coordinate alpha_j = alpha exp(-2 s D_j I), with s the step size,
    D_j the j-th diagonal entry of X'X/n, and I the integral of the loss over time: noise makes the solution sparser,
    and the more so the slower the loss falls (Pesme, Pillaud-Vivien and Flammarion 2021, arXiv:2106.09524, on a model
    of the noise in continuous time; the formula is quoted from memory, which is why it is derived below).

    Derivation for the steps themselves. A step on sample i with residual r multiplies u_j by 1 - s r x_ij and v_j by 1
    + s r x_ij. So u_j v_j is multiplied by 1 - (s r x_ij)², and alpha_j = (u_j v_j)^(1/2) can be read off the weights.
    log(u_j / v_j) moves along x_i up to third order in s r x_ij, and up to that order w is the potential's minimizer
    for these alpha_j. Where r² and x_ij² are uncorrelated, the mean of log alpha_j is the formula's.

    Data, model and loss of `sparse_regression`, 40 samples in 100 dimensions with a sparse teacher, in batches of
    `batch` samples drawn without replacement. (With b samples, the squares are those of the batches' means.)

    Oracle. Basis pursuit, which recovers w*, and the potential's minimizer for alpha (gradient flow) and for the run's
    own alpha_j, by Newton's method on the dual.

    Reported, not scored. `alpha_ratio`: the geometric mean of alpha_j over alpha, 1 for gradient flow.
    `effective_distance`: |w - w_eff| / |w_eff| with the minimizer w_eff for the run's alpha_j, which the claim says is
    0; NaN where a u_j or v_j has another sign than at the start. `flow_distance`, to gradient flow's.
    `shrinkage_error`: the relative error of the best fit of log(alpha / alpha_j) by a multiple of D_j. `recovery_error`
    = |w - w*| / |w*| and `flow_recovery_error`, gradient flow's. The claim is on gradient descent alone. On seed 0,
    single samples and steps of 0.06, 0.1 and 0.2, alpha_ratio is 0.941, 0.896 and 0.761 (the formula: 0.941, 0.897,
    0.767), effective_distance 0.001, 0.003 and 0.016 and flow_distance 0.02, 0.04 and 0.10; shrinkage_error is 0.22 to
    0.26, as residuals and entries of the few samples are correlated.
    """
    if not 1e-3 <= alpha <= 1:
        raise ValueError(f"alpha must be between 1e-3 and 1, not {alpha}.")
    if not 1 <= batch <= SAMPLES:
        raise ValueError(f"batch must be between 1 and {SAMPLES}, not {batch}.")

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = arrays(problem.train)
        flow = tensors(l1=basis_pursuit(x, y), flow=hyperbolic_entropy_interpolator(x, y, alpha))
        error = relative_distance(flow["flow"], problem.ground_truth["teacher"].cpu())
        return Oracle(flow, {"flow_recovery_error": error})

    def effective_alpha(solution: Solution) -> np.ndarray:
        """(u_j v_j)^(1/2), [d]; NaN where the signs differ."""
        u, v = weights(solution, "u", "v")
        return torch.where((u > 0) & (v > 0), (u * v).sqrt(), torch.nan).cpu().numpy()

    def effective_distance(solution: Solution, effective: np.ndarray) -> float:
        if not np.isfinite(effective).all():
            return math.nan
        try:
            minimizer = hyperbolic_entropy_interpolator(*arrays(solution.problem.train), effective)
        except OracleError:
            return math.nan
        return relative_distance(diagonal_predictor(solution).cpu(), torch.from_numpy(minimizer))

    def measure(solution: Solution) -> dict[str, float]:
        w, teacher = diagonal_predictor(solution), solution.problem.ground_truth["teacher"]
        effective, squares = effective_alpha(solution), arrays(solution.problem.train)[0] ** 2
        shrinkage, diagonal = np.log(alpha / effective), squares.mean(0)
        fit = (shrinkage @ diagonal) / (diagonal @ diagonal) * diagonal
        return {
            "alpha_ratio": float(np.exp(-shrinkage.mean())),
            "effective_distance": effective_distance(solution, effective),
            "flow_distance": relative_distance(w.cpu(), solution.oracle.solutions["flow"]),
            "shrinkage_error": float(np.linalg.norm(shrinkage - fit) / np.linalg.norm(shrinkage)),
            "recovery_error": relative_distance(w, teacher),
            "flow_recovery_error": solution.oracle.values["flow_recovery_error"],
        }

    return Task(
        problem=lambda seed: sparse_problem("sparse_regression", seed, alpha),
        model=lambda problem, seed: DiagonalNetwork(FEATURES, alpha),
        loss=quarter_squared_error,
        target=Target(1e-7, budget=20_000, check_every=SAMPLES),
        batch_size=batch,
        measure=measure,
        oracle=oracle,
        reported=(
            "alpha_ratio",
            "effective_distance",
            "flow_distance",
            "shrinkage_error",
            "recovery_error",
            "flow_recovery_error",
        ),
    )
