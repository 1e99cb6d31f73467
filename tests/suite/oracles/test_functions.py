"""Interpolating functions and kernels against linear programs, splines of scipy, and sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.interpolate import Akima1DInterpolator, CubicSpline, PchipInterpolator
from scipy.optimize import linprog

from suite.models.relu import relu_network
from suite.oracles.functions import (
    frozen_features_interpolant,
    kernel_interpolation,
    last_centroid,
    least_variation,
    neural_tangent_kernel,
)
from suite.oracles.solvers import OracleError


def points(seed: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(-1, 1, n)), rng.normal(size=n)


@pytest.mark.parametrize("seed", range(5))
def test_least_variation_against_a_linear_program_over_kinks(seed: int) -> None:
    x, y = points(seed)
    kinks = np.unique(np.concatenate([np.linspace(-1.2, 1.2, 241), x]))
    basis = np.column_stack([np.ones_like(x), x, np.maximum(x[:, None] - kinks, 0)])
    cost = np.concatenate([np.zeros(4), np.ones(2 * len(kinks))])
    split = np.hstack([basis[:, :2], -basis[:, :2], basis[:, 2:], -basis[:, 2:]])
    solved = linprog(cost, A_eq=split, b_eq=y, bounds=(0, None), method="highs")
    assert solved.status == 0
    assert least_variation(x, y) == pytest.approx(solved.fun, rel=1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spline", [CubicSpline, PchipInterpolator, Akima1DInterpolator])
def test_no_interpolant_varies_less(seed: int, spline: type) -> None:
    x, y = points(seed)
    derivative = spline(x, y).derivative()(np.linspace(x[0], x[-1], 20_001))
    assert np.abs(np.diff(derivative)).sum() >= least_variation(x, y) * (1 - 1e-3)


def test_least_variation_of_a_line_and_of_a_tent() -> None:
    assert least_variation(np.array([0.0, 2.0, 1.0]), np.array([1.0, 5.0, 3.0])) == pytest.approx(0, abs=1e-12)
    assert least_variation(np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])) == 2
    with pytest.raises(OracleError, match="different places"):
        least_variation(np.array([0.0, 0.0]), np.array([1.0, 2.0]))


def test_frozen_features_against_gradient_descent_on_the_last_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    network = relu_network(2, [40], generator)
    x, y = (torch.randn(5, k, generator=generator, dtype=torch.float64) for k in (2, 1))
    expected = frozen_features_interpolant(network, x, y)
    last = network[-1]
    optimizer = torch.optim.LBFGS(last.parameters(), max_iter=2_000, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (network(x) - y).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    # LBFGS, like gradient descent, moves within the span of the gradients: the nearest interpolant.
    torch.testing.assert_close(expected[-1].weight, last.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(expected(x), y, rtol=1e-8, atol=1e-8)
    with pytest.raises(OracleError, match="residual"):
        frozen_features_interpolant(relu_network(2, [3], generator), *(torch.randn(9, k).double() for k in (2, 1)))


def test_tangent_kernel_against_a_wide_network() -> None:
    width, d = 200_000, 4
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(3, d)), rng.normal(size=(2, d))
    w, a = rng.normal(size=(width, d)), rng.normal(size=width)
    hidden = [np.maximum(inputs @ w.T, 0) for inputs in (x, z)]
    active = [(inputs @ w.T > 0) * a for inputs in (x, z)]
    sampled = (hidden[0] @ hidden[1].T + (active[0] @ active[1].T) * (x @ z.T)) / width
    assert_allclose(neural_tangent_kernel(x, z), sampled, atol=0.05)


def test_kernel_interpolation_interpolates_and_refuses_repeated_points() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=20)
    assert_allclose(kernel_interpolation(x, y, x), y, atol=1e-8)
    with pytest.raises(OracleError, match="condition number"):
        kernel_interpolation(np.vstack([x, x[:1]]), np.append(y, 0.0), x)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 30), min_size=2, max_size=6), st.floats(0.05, 1))
def test_last_centroid_is_the_largest_there_is(frequencies: set[int], share: float) -> None:
    k = np.array(sorted(frequencies), dtype=float)
    solved = linprog(-k, A_eq=np.ones((1, len(k))), b_eq=[share * len(k)], bounds=(0, 1), method="highs")
    assert last_centroid(sorted(frequencies), share) == pytest.approx(-solved.fun / (share * len(k)), rel=1e-6)
