"""Oracles against solvers that are not ours, closed forms and brute force."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.svm import SVC

from suite.oracles import (
    OracleError,
    basis_pursuit,
    hyperbolic_entropy_interpolator,
    max_margin_l1,
    max_margin_l2,
    max_margin_linf,
    min_norm_interpolator,
)

SEEDS = range(4)


def separable(seed: int, n: int = 20, d: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return np.sign(x @ rng.normal(size=d))[:, None] * x


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
@pytest.mark.parametrize(("solve", "order"), [(max_margin_l2, 2), (max_margin_linf, np.inf), (max_margin_l1, 1)])
def test_margins_against_a_conic_solver(seed: int, solve: object, order: float) -> None:
    z = separable(seed)
    w, t = cp.Variable(z.shape[1]), cp.Variable()
    problem = cp.Problem(cp.Maximize(t), [z @ w >= t, cp.norm(w, order if order != np.inf else "inf") <= 1])
    problem.solve(solver=cp.CLARABEL)
    ours = solve(z)  # type: ignore[operator]
    assert (z @ ours).min() / np.linalg.norm(ours, order) == pytest.approx(problem.value, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_l2_margin_against_a_support_vector_machine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 5))
    y = np.sign(x @ rng.normal(size=5))
    # Without an intercept: add each point's mirror image, which makes the intercept zero.
    svm = SVC(kernel="linear", C=1e9, tol=1e-10).fit(np.vstack([x, -x]), np.append(y, -y))
    theirs = svm.coef_[0] / np.linalg.norm(svm.coef_[0])
    assert_allclose(max_margin_l2(y[:, None] * x), theirs, atol=1e-4)


def test_margin_in_the_plane_by_brute_force() -> None:
    z = separable(5, n=9, d=2)
    angles = np.linspace(0, 2 * np.pi, 200_001)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    best = (z @ circle).min(axis=0).max()
    # The grid is 3e-5 rad wide.
    assert (z @ max_margin_l2(z)).min() == pytest.approx(best, abs=2e-4)


def test_no_margin_is_an_error() -> None:
    with pytest.raises(OracleError, match="not separable"):
        max_margin_l2(np.array([[1.0, 0.0], [-1.0, 0.0]]))


@pytest.mark.parametrize("seed", SEEDS)
def test_basis_pursuit(seed: int) -> None:
    x, y = interpolation(seed)
    w = cp.Variable(x.shape[1])
    problem = cp.Problem(cp.Minimize(cp.norm1(w)), [x @ w == y])
    problem.solve(solver=cp.CLARABEL)
    ours = basis_pursuit(x, y)
    assert_allclose(x @ ours, y, atol=1e-9)
    assert abs(ours).sum() == pytest.approx(problem.value, rel=1e-6)


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


def test_hyperbolic_entropy_goes_from_l2_to_l1() -> None:
    x, y = interpolation(2)
    assert_allclose(hyperbolic_entropy_interpolator(x, y, 30.0), min_norm_interpolator(x, y), atol=1e-3)
    norms = [abs(hyperbolic_entropy_interpolator(x, y, alpha)).sum() for alpha in (1.0, 0.1, 1e-2, 1e-4)]
    least = abs(basis_pursuit(x, y)).sum()
    assert norms == sorted(norms, reverse=True)
    assert least <= norms[-1] <= 1.05 * least
