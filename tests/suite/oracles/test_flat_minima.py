"""The flattest minima against an integrated flow, cutting planes, brute force and a general-purpose solver."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import linprog, minimize

from suite.oracles.flat_minima import (
    flow_on_hyperbola,
    least_lambda_max_interpolator,
    least_trace_interpolator,
    low_root_trace_interpolator,
)
from suite.tasks import find_task
from suite.tasks.common import arrays

SEEDS = range(3)


def interpolation(seed: int, n: int = 6, d: int = 15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, d)) * rng.uniform(0.3, 2, size=d), np.zeros(d)
    w[:2] = [1, -1]
    return x, x @ w + 0.1 * rng.normal(size=n)


@pytest.mark.parametrize("seed", SEEDS)
def test_flow_on_the_hyperbola_against_an_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=4) * 1.5, rng.normal(size=4) * 0.3

    def flow(_: float, state: np.ndarray) -> np.ndarray:
        residual = state[:4] @ state[4:] - 1
        return -residual * np.concatenate([state[4:], state[:4]])

    end = solve_ivp(flow, (0, 60), np.concatenate([u, v]), rtol=1e-11, atol=1e-12).y[:, -1]
    assert end[:4] @ end[4:] == pytest.approx(1, abs=1e-9)
    assert flow_on_hyperbola(u, v) == pytest.approx(end @ end, rel=1e-8)


def test_flattest_point_of_the_hyperbola_is_where_flow_stays() -> None:
    u = np.array([0.6, 0.8])
    assert flow_on_hyperbola(u, u) == pytest.approx(2)


def _trace(x: np.ndarray, spread: np.ndarray) -> float:
    return float(np.trace((x * spread) @ x.T))


def _top(x: np.ndarray, spread: np.ndarray) -> float:
    return float(np.linalg.eigvalsh((x * spread) @ x.T)[-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_least_trace_beats_every_other_interpolator(seed: int) -> None:
    x, y = interpolation(seed)
    w = least_trace_interpolator(x, y)
    np.testing.assert_allclose(x @ w, y, atol=1e-9)
    # The dual certificate: nu with |x_j·nu| <= |X_j|² bounds every interpolator's trace from below by y·nu.
    squares = (x**2).sum(axis=0)
    dual = linprog(-y, A_ub=np.vstack([x.T, -x.T]), b_ub=np.tile(squares, 2), bounds=(None, None))
    assert _trace(x, abs(w)) == pytest.approx(-dual.fun, rel=1e-9)


def cutting_planes(x: np.ndarray, y: np.ndarray, rounds: int = 400) -> tuple[float, float]:
    """Bounds from below and above of the least largest eigenvalue of X diag(D) X' over X w = y, D >= |w|.

    The eigenvalue is the maximum of z'X diag(D) X'z over unit vectors z: a linear program for the vectors found so far
    bounds it from below, its solution from above, and its top eigenvectors are the next cuts.
    """
    n, d = x.shape
    cost = np.zeros(2 * d + 1)
    cost[-1] = 1
    equalities = np.hstack([x, -x, np.zeros((n, 1))])
    cuts = [np.append(np.tile((z @ x) ** 2, 2), -1.0) for z in np.eye(n)]
    low, high = 0.0, np.inf
    for _ in range(rounds):
        result = linprog(cost, A_ub=np.array(cuts), b_ub=np.zeros(len(cuts)), A_eq=equalities, b_eq=y, bounds=(0, None))
        spread = result.x[:d] + result.x[d:-1]
        values, vectors = np.linalg.eigh((x * spread) @ x.T)
        low, high = result.fun, min(high, values[-1])
        if high - low < 1e-6 * high:
            break
        cuts += [np.append(np.tile((z @ x) ** 2, 2), -1.0) for z in vectors.T[-3:]]
    return low, high


@pytest.mark.parametrize("seed", SEEDS)
def test_least_lambda_max_against_cutting_planes(seed: int) -> None:
    x, y = interpolation(seed)
    w = least_lambda_max_interpolator(x, y)
    np.testing.assert_allclose(x @ w, y, atol=1e-8)
    low, high = cutting_planes(x, y)
    assert low * (1 - 1e-6) <= _top(x, abs(w)) <= high * (1 + 1e-6)
    assert high - low < 1e-5 * high


def test_both_by_brute_force_on_a_line() -> None:
    """Two samples, three features: the interpolators are a line, and every point of it is tried."""
    x, y = np.array([[1.0, 0.5, -0.3], [0.2, 1.4, 0.9]]), np.array([1.0, -0.5])
    start, along = np.linalg.pinv(x) @ y, np.linalg.svd(x)[2][-1]
    line = [start + t * along for t in np.linspace(-3, 3, 60_001)]
    for value, w in ((_trace, least_trace_interpolator(x, y)), (_top, least_lambda_max_interpolator(x, y))):
        assert value(x, abs(w)) == pytest.approx(min(value(x, abs(other)) for other in line), rel=1e-3)
        assert value(x, abs(w)) <= min(value(x, abs(other)) for other in line) * (1 + 1e-7)


def test_least_trace_over_the_weights_themselves() -> None:
    """A general-purpose solver over u and v, with the interpolation as its constraint, finds nothing flatter."""
    x, y = interpolation(0, n=3, d=5)
    squares = (x**2).sum(axis=0)

    def best_of(start: np.ndarray) -> float:
        result = minimize(
            lambda s: squares @ (s[:5] ** 2 + s[5:] ** 2),
            start,
            jac=lambda s: 2 * np.tile(squares, 2) * s,
            constraints=[{"type": "eq", "fun": lambda s: x @ (s[:5] ** 2 - s[5:] ** 2) - y}],
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-12},
        )
        return result.fun if result.success else np.inf

    rng = np.random.default_rng(0)
    theirs = min(best_of(rng.normal(size=10)) for _ in range(20))
    assert _trace(x, abs(least_trace_interpolator(x, y))) == pytest.approx(theirs, rel=1e-4)


def _root_trace(x: np.ndarray, w: np.ndarray) -> float:
    return float(np.linalg.norm(x, axis=0) @ np.sqrt(abs(w)))


def _least_root_trace(x: np.ndarray, y: np.ndarray) -> float:
    """The least among all basic solutions, one of which is the minimum."""
    n, d = x.shape
    columns = [list(chosen) for chosen in itertools.combinations(range(d), n)]
    return min(_root_trace(x[:, chosen], np.linalg.solve(x[:, chosen], y)) for chosen in columns)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_root_trace_against_all_basic_solutions(noise: float) -> None:
    """A bound: never below the least, in most cases at it, and never above the interpolator of least trace."""
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, teacher = rng.normal(size=(6, 12)) * rng.uniform(0.3, 2, size=12), np.zeros(12)
        teacher[:2] = [1, -1]
        y = x @ teacher + noise * rng.normal(size=6)
        w = low_root_trace_interpolator(x, y)
        np.testing.assert_allclose(x @ w, y, atol=1e-9)
        least, start = _least_root_trace(x, y), _root_trace(x, least_trace_interpolator(x, y))
        # The root of a rounding error of 1e-16 is 1e-8.
        assert least * (1 - 1e-6) <= _root_trace(x, w) <= start * (1 + 1e-6)
        ratios.append(_root_trace(x, w) / least)
    assert np.median(ratios) < 1.02


def _certified(x: np.ndarray, w: np.ndarray) -> bool:
    """Whether linear programs prove that no interpolator has a smaller ``sum_j |X_j| |w_j|^(1/2)`` than w.

    In ``z_j = |X_j|² w_j`` the sum is that of ``|z_j|^(1/2)``, over z + h with ``A h = 0``. With k entries of z in S
    and the others in T, ``sum_S |z_j|^(1/2) - |z_j + h_j|^(1/2) <= sum_S |h_j|^(1/2) <= (k sum_S |h_j|)^(1/2)``, and
    ``sum_T |h_j|^(1/2) >= sum_T |h_j| / max_T |h_j|^(1/2)``. Where ``sum_T |h_j| = 1`` let rho be the largest sum over
    S and beta the largest entry in T: no h lowers the sum if ``k rho beta <= 1``.
    """
    scale = (x**2).sum(axis=0)
    z = abs(w) * scale
    support, others = np.flatnonzero(z > 1e-6 * z.max()), np.flatnonzero(z <= 1e-6 * z.max())
    k, m, a = len(support), len(others), x / scale
    within = {
        "A_ub": np.append(np.zeros(k), np.ones(2 * m))[None],
        "b_ub": [1.0],
        "A_eq": np.hstack([a[:, support], a[:, others], -a[:, others]]),
        "b_eq": np.zeros(len(x)),
        "bounds": [(None, None)] * k + [(0, None)] * (2 * m),
    }

    def largest(goals: Iterable[np.ndarray]) -> float:
        most = 0.0
        for goal in goals:
            result = linprog(-goal, **within, method="highs")
            if not result.success:  # unbounded: the columns of S are dependent
                return np.inf
            most = max(most, -result.fun)
        return most

    signs = [np.array([1, *rest]) for rest in itertools.product([1, -1], repeat=k - 1)]
    rho = largest([np.append(sign, np.zeros(2 * m)) for sign in signs])
    if rho == np.inf:
        return False
    rows = np.hstack([np.zeros((m, k)), np.eye(m), -np.eye(m)])
    return k * rho * largest(rows) <= 1


def test_the_certificate_of_the_least_root_trace() -> None:
    """Where it is given all basic solutions agree; it is never given to another interpolator."""
    given = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, teacher = rng.normal(size=(5, 8)), np.zeros(8)
        teacher[0] = 1
        y = x @ teacher
        w = low_root_trace_interpolator(x, y)
        if _certified(x, w):
            given += 1
            assert _root_trace(x, w) == pytest.approx(_least_root_trace(x, y), rel=1e-6)
        assert not _certified(x, np.linalg.pinv(x) @ y)
    assert given > 3


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_the_root_trace_of_the_valley_is_the_least(seed: int) -> None:
    problem = find_task("valley_sparse").problem(seed)
    x, w = problem.train.x.numpy(), low_root_trace_interpolator(*arrays(problem.train))
    np.testing.assert_allclose(w, problem.ground_truth["teacher"], atol=1e-9)
    assert _certified(x, w)
