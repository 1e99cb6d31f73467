"""Regularized minimizers against a conic solver."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from suite.oracles.margins import ball_logistic_minimizer, box_logistic_minimizer
from suite.oracles.solvers import OracleError


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("radius", [0.5, 2.0, 4.0])
def test_box_minimizer_against_a_conic_solver(seed: int, radius: float) -> None:
    z = np.random.default_rng(seed).normal(size=(15, 6))
    z *= np.sign(z @ np.ones(6))[:, None]
    w = cp.Variable(6)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.logistic(-z @ w)) / 15), [cp.norm(w, "inf") <= radius])
    problem.solve(solver=cp.CLARABEL)
    ours = box_logistic_minimizer(z, radius)
    assert abs(ours).max() <= radius
    loss = np.logaddexp(0, -z @ ours).mean()
    assert loss == pytest.approx(problem.value, rel=1e-4)
    assert_allclose(ours, w.value, atol=2e-3 * radius)


def test_the_minimizer_inside_the_box_is_that_without_it() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 3)) * np.sign(rng.normal(size=(200, 1)))
    assert_allclose(box_logistic_minimizer(z, 100.0), box_logistic_minimizer(z, 50.0), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4)])
@pytest.mark.parametrize("radius", [0.5, 4.0])
def test_ball_minimizer_against_a_conic_solver(shape: tuple[int, int], radius: float) -> None:
    size = shape[0] * shape[1]
    z = np.random.default_rng(0).normal(size=(25, size))
    z *= np.sign(z @ np.ones(size))[:, None]
    w = cp.Variable(shape)
    losses = cp.logistic(-z @ cp.vec(w, order="C"))
    problem = cp.Problem(cp.Minimize(cp.sum(losses) / len(z)), [cp.sigma_max(w) <= radius])
    problem.solve(solver=cp.SCS, eps=1e-8, max_iters=100_000)
    ours = ball_logistic_minimizer(z, shape, radius)
    assert np.linalg.norm(ours.reshape(shape), 2) <= radius * (1 + 1e-12)
    assert np.logaddexp(0, -z @ ours).mean() == pytest.approx(problem.value, rel=1e-4)
    assert_allclose(ours, w.value.ravel(), atol=5e-3 * radius)


def test_of_one_row_the_ball_is_that_of_the_l2_norm() -> None:
    """There the minimizer of a single sample is in closed form: the radius along it."""
    z = np.array([[3.0, 4.0]])
    assert_allclose(ball_logistic_minimizer(z, (1, 2), 2.0), [1.2, 1.6], rtol=1e-9)


def test_a_broken_problem_is_an_error() -> None:
    with pytest.raises(OracleError, match="L-BFGS-B did not solve the box problem"):
        box_logistic_minimizer(np.full((2, 2), np.nan), 1.0)
