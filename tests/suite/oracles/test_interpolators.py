"""Interpolators against solvers that are not ours."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from suite.oracles.interpolators import (
    basis_pursuit,
    hyperbolic_entropy_interpolator,
    min_linf_interpolator,
    min_norm_interpolator,
)
from suite.oracles.solvers import OracleError

SEEDS = range(4)


def interpolation(seed: int, n: int = 12, d: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, d)), np.zeros(d)
    w[:3] = [1, -1, 1]
    return x, x @ w


@pytest.mark.parametrize("seed", SEEDS)
def test_min_norm(seed: int) -> None:
    x, y = interpolation(seed)
    w = min_norm_interpolator(x, y)
    assert_allclose(x @ w, y, atol=1e-10)
    assert_allclose(w, np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("solve", "order"), [(basis_pursuit, 1), (min_linf_interpolator, "inf")])
def test_linear_programs_against_a_conic_solver(seed: int, solve: object, order: int | str) -> None:
    x, y = interpolation(seed)
    w = cp.Variable(x.shape[1])
    problem = cp.Problem(cp.Minimize(cp.norm(w, order)), [x @ w == y])
    problem.solve(solver=cp.CLARABEL)
    ours = solve(x, y)  # type: ignore[operator]
    assert_allclose(x @ ours, y, atol=1e-9)
    assert np.linalg.norm(ours, float(order)) == pytest.approx(problem.value, rel=1e-6)


def test_a_solver_that_fails_names_itself_and_the_status() -> None:
    with pytest.raises(OracleError, match="HiGHS did not solve the basis pursuit problem: status 2"):
        basis_pursuit(np.zeros((1, 3)), np.ones(1))


def _potential(w: np.ndarray, alpha: float) -> float:
    z = w / alpha**2
    return float((alpha**2 * (2 - np.sqrt(4 + z**2) + z * np.arcsinh(z / 2))).sum())


@pytest.mark.parametrize("alpha", [0.03, 0.1, 0.3, 1.0])
def test_hyperbolic_entropy_against_scipy(alpha: float) -> None:
    x, y = interpolation(1, n=4, d=7)
    ours = hyperbolic_entropy_interpolator(x, y, alpha)
    assert_allclose(x @ ours, y, atol=1e-8)
    constraint = {"type": "eq", "fun": lambda w: x @ w - y, "jac": lambda w: x}
    theirs = minimize(
        _potential,
        min_norm_interpolator(x, y),
        args=(alpha,),
        jac=lambda w, a: np.arcsinh(w / (2 * a**2)),
        constraints=[constraint],
        method="SLSQP",
        options={"maxiter": 2_000, "ftol": 1e-15},
    )
    assert _potential(ours, alpha) <= theirs.fun + 1e-9
    assert_allclose(ours, theirs.x, atol=2e-3)


def test_hyperbolic_entropy_of_several_alphas_against_an_integrated_flow() -> None:
    """Gradient flow from u = v = alpha_j, in the coordinates log(u / v) in which it is w = 2 alpha² sinh(x' nu)."""
    x, y = interpolation(1, n=4, d=7)
    alpha = np.geomspace(0.05, 1, 7)

    def flow(_: float, state: np.ndarray) -> np.ndarray:
        u, v = state[:7], state[7:]
        slope = x.T @ (x @ (u**2 - v**2) - y) / 4
        return np.concatenate([-slope * u, slope * v])

    end = solve_ivp(flow, (0, 300), np.tile(alpha, 2), rtol=1e-10, atol=1e-12).y[:, -1]
    assert_allclose(hyperbolic_entropy_interpolator(x, y, alpha), end[:7] ** 2 - end[7:] ** 2, atol=1e-6)
    same = hyperbolic_entropy_interpolator(x, y, np.full(7, 0.3))
    assert_allclose(same, hyperbolic_entropy_interpolator(x, y, 0.3), atol=1e-9)


def test_hyperbolic_entropy_goes_from_l2_to_l1() -> None:
    x, y = interpolation(2)
    assert_allclose(hyperbolic_entropy_interpolator(x, y, 30.0), min_norm_interpolator(x, y), atol=1e-3)
    norms = [abs(hyperbolic_entropy_interpolator(x, y, alpha)).sum() for alpha in (1.0, 0.1, 1e-2, 1e-4)]
    least = abs(basis_pursuit(x, y)).sum()
    assert norms == sorted(norms, reverse=True)
    assert least <= norms[-1] <= 1.05 * least
