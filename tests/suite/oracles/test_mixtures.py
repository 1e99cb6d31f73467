"""Gaussian clusters: log-odds, errors and losses against scipy's densities on a grid of the plane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from suite.oracles.mixtures import ThreeClusters

AXIS = np.linspace(-12, 12, 601)
POINTS = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
CELL = (AXIS[1] - AXIS[0]) ** 2


def densities(clusters: ThreeClusters, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of both classes at the points, the negative one first."""
    negative = multivariate_normal([-clusters.behind, 0]).pdf(points)
    up, down = (multivariate_normal([clusters.near, side * clusters.far]).pdf(points) for side in (1, -1))
    return negative, (up + down) / 2


@pytest.mark.parametrize("shape", [(2 / 3, 2.0, 2.1), (1.0, 3.0, 1.0), (0.5, 0.0, 1.5)])
def test_the_best_classifier_and_the_best_line(shape: tuple[float, float, float]) -> None:
    clusters = ThreeClusters(*shape)
    negative, positive = densities(clusters, POINTS)
    some = slice(None, None, 499)
    likely = (negative[some] > 1e-250) & (positive[some] > 1e-250)
    expected = np.log(positive[some][likely] / negative[some][likely])
    np.testing.assert_allclose(clusters.log_odds(POINTS[some][likely]), expected, rtol=1e-9, atol=1e-9)
    assert clusters.bayes_error == pytest.approx(CELL * np.minimum(negative, positive).sum() / 2, rel=1e-3)
    wrong = CELL / 2 * (negative[POINTS[:, 0] > 0].sum() + positive[POINTS[:, 0] < 0].sum())
    on_the_line = CELL / 4 * (negative + positive)[POINTS[:, 0] == 0].sum()
    assert clusters.linear_error == pytest.approx(wrong + on_the_line, rel=1e-3)

    def loss(w: np.ndarray) -> float:
        outputs = POINTS @ w
        return float(CELL / 2 * (positive @ np.logaddexp(0, -outputs) + negative @ np.logaddexp(0, outputs)))

    best = minimize(loss, [0.5, 0.3], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-12})
    assert clusters.linear_loss == pytest.approx(best.fun, rel=1e-6)
    assert abs(best.x[1]) < 1e-3
