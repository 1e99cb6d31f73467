"""ReLU networks on the plane against linear programs over a grid of neurons, closed forms, bounds and an integrator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

from suite.oracles.relu import cones, flattest_interpolator, gradient_flow, variation_norm_margin
from suite.oracles.solvers import OracleError

SEEDS = range(4)


def plane(seed: int, n: int = 10) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.7, 1.3, n)[:, None]


def regression(seed: int, n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Points of the upper half plane with targets by two ReLU neurons and a little noise."""
    rng = np.random.default_rng(seed)
    angles = (np.arange(n) + rng.uniform(0.2, 0.8, n)) * np.pi / n
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.7, 1.3, n)[:, None]
    return x, np.maximum(x @ rng.normal(size=(2, 2)), 0) @ [1.0, -1.0] + 0.1 * rng.normal(size=n)


def circle(count: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + 1e-4
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def traces(x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """The trace that each neuron with output weight ±1 has after the best rescaling, sample by sample."""
    values = np.empty(len(neurons))
    for number, w in enumerate(neurons):
        outer = sum(max(float(x_i @ w), 0.0) ** 2 for x_i in x) / len(x)
        inner = sum(float(x_i @ x_i) for x_i in x if x_i @ w > 0) / len(x)
        # outer * c² + inner / c² is least at 2 sqrt(outer * inner)
        values[number] = 2 * np.sqrt(outer * inner)
    return values


@pytest.mark.parametrize("seed", SEEDS)
def test_cones_cover_every_direction_with_its_own_pattern(seed: int) -> None:
    x = plane(seed)
    active, edges = cones(x)
    assert len(active) <= 2 * len(x)
    for w in circle(777):
        begin, end = edges[:, 0], edges[:, 1]
        inside = (begin[:, 0] * w[1] - begin[:, 1] * w[0] >= 0) & (w[0] * end[:, 1] - w[1] * end[:, 0] >= 0)
        pattern = x @ w > 0
        assert inside.sum() == (1 if pattern.any() else 0)
        if pattern.any():
            assert (active[inside][0] == pattern).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_against_a_linear_program_over_the_circle(seed: int) -> None:
    x = plane(seed, n=16)
    y = np.sign(x[:, 0] * x[:, 1])
    network = variation_norm_margin(x, y)
    features = y[:, None] * np.maximum(x @ circle(4_000).T, 0)
    signed = np.hstack([features, -features])
    grid = linprog(np.ones(signed.shape[1]), A_ub=-signed, b_ub=-np.ones(16), bounds=(0, None))
    assert network.value == pytest.approx(1 / grid.fun, rel=1e-5)
    assert network.value >= 1 / grid.fun * (1 - 1e-7)
    # The network that is returned has that margin and that norm.
    assert_allclose(np.abs(network.output) @ np.linalg.norm(network.hidden, axis=1), 1, rtol=1e-5)
    assert (y * (np.maximum(x @ network.hidden.T, 0) @ network.output)).min() == pytest.approx(network.value, rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_in_the_largest_weight_against_a_linear_program_over_the_square(seed: int) -> None:
    x = plane(seed, n=16)
    y = np.sign(x[:, 0] * x[:, 1])
    side = np.linspace(-1, 1, 1_000)
    square = np.concatenate([np.stack([side, np.full(1_000, s)], axis=1) for s in (-1, 1)])
    neurons = np.concatenate([square, square[:, ::-1]])
    features = y[:, None] * np.maximum(x @ neurons.T, 0)
    signed = np.hstack([features, -features])
    grid = linprog(np.ones(signed.shape[1]), A_ub=-signed, b_ub=-np.ones(16), bounds=(0, None))
    network = variation_norm_margin(x, y, largest=True)
    assert network.value == pytest.approx(1 / grid.fun, rel=1e-5)
    assert_allclose(np.abs(network.output) @ np.abs(network.hidden).max(axis=1), 1, rtol=1e-5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_network_has_a_larger_margin(seed: int) -> None:
    x = plane(1, n=12)
    y = np.sign(x[:, 0] * x[:, 1])
    rng = np.random.default_rng(seed)
    hidden, output = rng.normal(size=(30, 2)), rng.normal(size=30)
    margin = (y * (np.maximum(x @ hidden.T, 0) @ output)).min()
    path = np.abs(output) @ np.linalg.norm(hidden, axis=1)
    assert margin / path <= variation_norm_margin(x, y).value + 1e-7


@pytest.mark.parametrize("seed", SEEDS)
def test_flattest_against_a_linear_program_over_the_circle(seed: int) -> None:
    """Neurons of a grid only: never flatter, and as flat up to the grid's width. Its dual bounds from below."""
    x, y = regression(seed)
    network = flattest_interpolator(x, y)
    neurons = circle(8_000)
    neurons = neurons[(x @ neurons.T > 0).any(axis=0)]
    features, cost = np.maximum(x @ neurons.T, 0), traces(x, neurons)
    grid = linprog(np.tile(cost, 2), A_eq=np.hstack([features, -features]), b_eq=y, bounds=(0, None))
    assert grid.fun * (1 - 2e-3) <= network.value <= grid.fun * (1 + 1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_flattest_network_interpolates_and_has_that_trace(seed: int) -> None:
    x, y = regression(seed)
    network = flattest_interpolator(x, y)
    pre = x @ network.hidden.T
    assert_allclose(np.maximum(pre, 0) @ network.output, y, atol=1e-4)
    on = pre > 1e-5 * np.abs(pre).max(axis=0)  # on a cone's boundary a sample is not active
    squares = (x**2).sum(axis=1)
    trace = (np.where(on, pre, 0) ** 2).sum() + (squares @ on) @ network.output**2
    assert trace / len(x) == pytest.approx(network.value, rel=1e-4)
    assert len(network.output) <= len(x) + 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_interpolator_is_flatter(seed: int) -> None:
    x, y = regression(0)
    rng = np.random.default_rng(seed)
    neurons = rng.normal(size=(30, 2))
    features = np.maximum(x @ neurons.T, 0)
    output = np.linalg.lstsq(features, y, rcond=None)[0]
    if np.abs(features @ output - y).max() < 1e-9:
        assert np.abs(output) @ traces(x, neurons) >= flattest_interpolator(x, y).value * (1 - 1e-6)


def test_closed_forms() -> None:
    """One sample; and two orthogonal ones, each of which has a neuron of its own at the flattest point."""
    assert flattest_interpolator(np.array([[0.6, 0.8]]), np.array([3.0])).value == pytest.approx(6, rel=1e-6)
    x, y = np.diag([2.0, 0.5]), np.array([1.0, -3.0])
    expected = 2 * (2 * 1 + 0.5 * 3) / 2
    assert flattest_interpolator(x, y).value == pytest.approx(expected, rel=1e-6)
    # Opposite points of lengths 2 and 1 and other labels: one neuron each, with margins 2 a = 1 b and a + b = 1.
    assert variation_norm_margin(np.array([[2.0, 0], [-1.0, 0]]), np.array([1.0, -1.0])).value == pytest.approx(2 / 3)


def test_rescaling_of_the_data() -> None:
    x, y = regression(2)
    assert flattest_interpolator(x, 3 * y).value == pytest.approx(3 * flattest_interpolator(x, y).value, rel=1e-5)
    assert flattest_interpolator(2 * x, y).value == pytest.approx(2 * flattest_interpolator(x, y).value, rel=1e-5)


def test_flow_against_an_integrator() -> None:
    x, y = regression(1, n=4)
    rng = np.random.default_rng(0)
    hidden, output = rng.normal(size=(6, 2)), rng.normal(size=6)

    def flow(_: float, state: np.ndarray) -> np.ndarray:
        w, a = state[:12].reshape(6, 2), state[12:]
        pre = x @ w.T
        residual = (np.maximum(pre, 0) @ a - y) / 4
        return -np.concatenate([((residual[:, None] * (pre > 0) * a).T @ x).ravel(), np.maximum(pre, 0).T @ residual])

    def met(_: float, state: np.ndarray) -> float:
        outputs = np.maximum(x @ state[:12].reshape(6, 2).T, 0) @ state[12:]
        return float(np.mean((outputs - y) ** 2) / 2 - 1e-3)

    met.terminal = True  # type: ignore[attr-defined]
    start = np.concatenate([hidden.ravel(), output])
    theirs = solve_ivp(flow, (0, 1e4), start, events=met, rtol=1e-8, atol=1e-10, max_step=0.1).y[:, -1]
    ours = gradient_flow(x, y, hidden, output, loss=1e-3, step=1e-3)
    assert ours.value <= 1e-3
    assert_allclose(ours.hidden, theirs[:12].reshape(6, 2), atol=5e-3)
    assert_allclose(ours.output, theirs[12:], atol=5e-3)


def test_flow_that_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.oracles.relu.MAX_STEPS", 3)
    x, y = regression(0)
    with pytest.raises(OracleError, match="Euler's method did not bring gradient flow to a loss of 0 in 3 steps"):
        gradient_flow(x, y, np.ones((2, 2)), np.ones(2), loss=0, step=1e-3)


def test_targets_that_no_network_has_are_an_error() -> None:
    """Without biases f(0) = 0 and f(2x) = 2 f(x)."""
    with pytest.raises(
        OracleError, match="Clarabel did not solve the flattest interpolator problem: status infeasible"
    ):
        flattest_interpolator(np.array([[1.0, 0], [2.0, 0]]), np.array([1.0, 1.0]))
