"""The collapsed minimum against a minimizer that knows nothing of it, and what an ETF is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from suite.oracles.collapse import collapsed_minimum, etf_distance, simplex_etf


@pytest.mark.parametrize(("classes", "samples", "d", "decay"), [(3, 6, 4, 0.02), (4, 12, 3, 0.01), (2, 8, 5, 0.05)])
def test_the_minimum_is_that_of_l_bfgs(classes: int, samples: int, d: int, decay: float) -> None:
    labels = np.arange(samples) % classes
    right = np.eye(classes)[labels].T  # [classes, samples]
    cut = classes * d

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, h = flat[:cut].reshape(classes, d), flat[cut:].reshape(d, samples)
        logits = w @ h
        error = (softmax(logits, axis=0) - right) / samples
        value = -(right * log_softmax(logits, axis=0)).sum() / samples + decay / 2 * (flat @ flat)
        return float(value), np.concatenate([(error @ h.T).ravel(), (w.T @ error).ravel()]) + decay * flat

    start = np.random.default_rng(0).normal(size=cut + d * samples)
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 20_000, "ftol": 0, "gtol": 1e-9}
    )
    least = collapsed_minimum(classes, samples, decay)
    assert found.fun == pytest.approx(least.loss + decay * least.squared_norm, rel=1e-8)
    w, h = found.x[:cut].reshape(classes, d), found.x[cut:].reshape(d, samples)
    assert (w**2).sum() == pytest.approx(least.squared_norm, rel=1e-4)
    assert (h**2).sum() == pytest.approx(least.squared_norm, rel=1e-4)
    logits = w @ h
    gaps = (logits * right).sum(0) - np.where(right == 1, -np.inf, logits).max(0)
    np.testing.assert_allclose(gaps, least.gap, rtol=1e-4)
    assert etf_distance(w @ w.T) < 1e-3


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_no_decay_has_no_minimum_and_a_strong_one_leaves_nothing(decay: float) -> None:
    with pytest.raises(ValueError, match="no minimum with features"):
        collapsed_minimum(4, 40, decay)


def test_an_etf_is_equiangular_and_its_distance_is_one_of_directions() -> None:
    gram = simplex_etf(5)
    assert np.linalg.norm(gram) == pytest.approx(1)
    cosines = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    np.testing.assert_allclose(cosines[~np.eye(5, dtype=bool)], -1 / 4)
    assert etf_distance(7 * gram) == pytest.approx(0, abs=1e-12)
    assert etf_distance(-gram) == pytest.approx(2)
    assert etf_distance(np.zeros((5, 5))) == 1.0
    assert etf_distance(np.ones((5, 5))) == pytest.approx(np.sqrt(2))  # orthogonal to it
