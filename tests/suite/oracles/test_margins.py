"""Margins against solvers that are not ours, and brute force."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.svm import SVC

from suite.oracles.margins import max_margin_l1, max_margin_l2, max_margin_linf
from suite.oracles.solvers import OracleError

SEEDS = range(4)


def separable(seed: int, n: int = 20, d: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return np.sign(x @ rng.normal(size=d))[:, None] * x


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
