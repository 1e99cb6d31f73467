"""Margins against solvers that are not ours, and brute force."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.svm import SVC

from suite.oracles.margins import (
    incremental_adam_metric,
    max_margin_l1,
    max_margin_l2,
    max_margin_layers,
    max_margin_linf,
    max_margin_mahalanobis,
    max_margin_nuclear,
    max_margin_spectral,
    pairwise_rows,
)
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


def multiclass(seed: int, n: int = 24, d: int = 6, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return 3 * rng.normal(size=(classes, d))[y] + rng.normal(size=(n, d)), y


def test_pairwise_rows_give_the_margins() -> None:
    x, y = multiclass(0)
    w = np.random.default_rng(1).normal(size=(4, 6))
    rows = pairwise_rows(x, y, 4)
    scores = x @ w.T
    expected = [scores[i, y[i]] - scores[i, c] for i in range(len(x)) for c in range(4) if c != y[i]]
    assert_allclose(rows @ w.ravel(), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_matrix_margins_against_another_conic_solver(seed: int) -> None:
    """SCS (operator splitting) on the margins written out class by class."""
    x, y = multiclass(seed)
    z = pairwise_rows(x, y, 4)
    ours = {
        "fro": max_margin_l2(z),
        "spectral": max_margin_spectral(z, (4, 6)),
        "max": max_margin_linf(z),
        "nuclear": max_margin_nuclear(z, (4, 6)),
    }
    norms = {
        "fro": lambda m: cp.norm(m, "fro"),
        "spectral": cp.sigma_max,
        "max": lambda m: cp.max(cp.abs(m)),
        "nuclear": cp.normNuc,
    }
    for name, norm in norms.items():
        w, t = cp.Variable((4, 6)), cp.Variable()
        scores = x @ w.T
        wrong = [scores[i, y[i]] - scores[i, c] >= t for i in range(len(x)) for c in range(4) if c != y[i]]
        problem = cp.Problem(cp.Maximize(t), [*wrong, norm(w) <= 1])
        problem.solve(solver=cp.SCS, eps=1e-7)
        matrix = ours[name].reshape(4, 6)
        length = {
            "fro": np.linalg.norm(matrix),
            "spectral": np.linalg.norm(matrix, 2),
            "max": abs(matrix).max(),
            "nuclear": np.linalg.norm(matrix, "nuc"),
        }[name]
        assert (z @ ours[name]).min() / length == pytest.approx(problem.value, rel=1e-4)


def test_no_spectral_margin_is_an_error() -> None:
    with pytest.raises(OracleError, match="Clarabel did not solve the spectral margin problem: status infeasible"):
        max_margin_spectral(np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]), (2, 2))


@pytest.mark.parametrize("shapes", [[(7, 3), (7, 1)], [(2, 4), (1, 3), (3, 3)]])
def test_margin_of_layers_against_another_conic_solver(shapes: list[tuple[int, int]]) -> None:
    """SCS on the layers as they are, without the columns' span."""
    sizes = [rows * columns for rows, columns in shapes]
    z = separable(3, n=6, d=sum(sizes))
    ours = np.split(max_margin_layers(z, shapes), np.cumsum(sizes)[:-1])
    layers, t = [cp.Variable(shape) for shape in shapes], cp.Variable()
    parts = np.split(z, np.cumsum(sizes)[:-1], axis=1)
    margins = sum(part @ cp.vec(layer, order="C") for part, layer in zip(parts, layers, strict=True))
    problem = cp.Problem(cp.Maximize(t), [margins >= t, *(cp.sigma_max(layer) <= 1 for layer in layers)])
    problem.solve(solver=cp.SCS, eps=1e-7)
    norms = [np.linalg.norm(w.reshape(shape), 2) for w, shape in zip(ours, shapes, strict=True)]
    assert max(norms) == pytest.approx(1)
    assert (z @ np.concatenate(ours)).min() == pytest.approx(problem.value, rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_metric_of_incremental_adam_is_a_fixed_point(seed: int) -> None:
    """The multipliers of the margin problem in the metric, by another solver, define the metric."""
    z = separable(seed)
    metric = incremental_adam_metric(z)
    w = cp.Variable(z.shape[1])
    separated = z @ w >= 1
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(metric, cp.square(w))) / 2), [separated])
    problem.solve(solver=cp.CLARABEL)
    multipliers = separated.dual_value / separated.dual_value.sum()
    assert_allclose(np.sqrt(multipliers**2 @ z**2), metric, rtol=1e-4)
    ours = max_margin_mahalanobis(z, metric)
    assert_allclose(ours / np.linalg.norm(ours), w.value / np.linalg.norm(w.value), atol=1e-6)
    assert metric @ ours**2 == pytest.approx(1)


def test_metric_of_incremental_adam_against_its_own_dynamics() -> None:
    """Steps along sum_i c_i z_i over the root of sum_i c_i² z_i², with the shares c of the exponential loss."""
    z = separable(2, n=12, d=5)
    w = np.zeros(5)
    for _ in range(60_000):
        shares = np.exp(-(z @ w) + (z @ w).min())
        w += 0.02 * (shares @ z) / np.sqrt(shares**2 @ z**2)
    limit = max_margin_mahalanobis(z, incremental_adam_metric(z))
    assert w @ limit / np.linalg.norm(w) / np.linalg.norm(limit) > 0.999
    # Neither of the other two margins is as near.
    for other in (max_margin_l2(z), max_margin_linf(z)):
        assert other @ limit / np.linalg.norm(other) / np.linalg.norm(limit) < 0.97


def test_entries_of_one_size_make_the_metric_round() -> None:
    rng = np.random.default_rng(0)
    x = np.sign(rng.normal(size=(20, 8))) * rng.uniform(0.5, 2, size=(20, 1))
    metric = incremental_adam_metric(np.sign(x @ rng.normal(size=8))[:, None] * x)
    assert_allclose(metric, metric[0])
