"""Gradient flow against its closed form on a quadratic, and what it conserves on a product."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from suite.oracles.gradient_flow import Array, flow_at_losses

CURVATURES, LIMIT, START = np.array([1.0, 10.0, 0.1]), np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 3.0])


def quadratic(w: Array) -> tuple[float, Array]:
    return float(CURVATURES @ (w - LIMIT) ** 2) / 2, CURVATURES * (w - LIMIT)


def at_time(t: float) -> Array:
    place: Array = LIMIT + np.exp(-CURVATURES * t) * (START - LIMIT)
    return place


def test_a_quadratic_has_its_closed_form() -> None:
    losses = [1.0, 20.0, 1e-3, 0.4, 30.0, 1e-6]  # in no order
    places = flow_at_losses(quadratic, START, losses)
    for loss, place in zip(losses, places, strict=True):
        time = brentq(lambda t, loss=loss: quadratic(at_time(t))[0] - loss, 0.0, 200.0)
        assert place == pytest.approx(at_time(time), rel=1e-4, abs=1e-6)


def test_losses_that_the_flow_never_has_or_does_not_reach_in_time() -> None:
    initial = quadratic(START)[0]
    assert flow_at_losses(quadratic, START, [initial, 2 * initial, -1.0], max_evaluations=500) == [None, None, None]
    below, beyond = flow_at_losses(quadratic, START, [1.0, 1e-12], max_evaluations=400)
    assert below is not None
    assert beyond is None


def test_a_product_keeps_the_difference_of_squares() -> None:
    """``L = (u v - 1)² / 2``: ``u² - v²`` stays, so the flow ends on a known point of the hyperbola."""

    def objective(w: Array) -> tuple[float, Array]:
        rest = w[0] * w[1] - 1
        return rest**2 / 2, rest * w[::-1]

    (end,) = flow_at_losses(objective, np.array([2.0, 0.1]), [1e-14])
    assert end is not None
    assert end[0] ** 2 - end[1] ** 2 == pytest.approx(4 - 0.01, rel=1e-6)
    assert end[0] * end[1] == pytest.approx(1, abs=1e-6)
