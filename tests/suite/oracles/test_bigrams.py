"""Flows of bigrams against descent with tiny steps, and against a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import rel_entr, softmax

from suite.oracles.bigrams import cross_entropy_flow, squared_flow, zipf_flow

LAW = 1 / np.arange(1, 13)
LAW /= LAW.sum()


def test_flows_against_descent_with_tiny_steps() -> None:
    step, distance, logits = 1e-3, LAW.copy(), np.zeros(12)
    squared, entropy = [1.0], [1.0]
    for _ in range(4_000):
        distance -= step * distance
        logits += step * (LAW - softmax(logits))
        squared.append(float(distance @ distance / (LAW @ LAW)))
        entropy.append(float(rel_entr(LAW, softmax(logits)).sum() / rel_entr(LAW, 1 / 12).sum()))
    times = step * np.arange(4_001)[::-250]
    assert_allclose(squared_flow(times), np.array(squared)[::-250], rtol=5e-3)
    assert_allclose(cross_entropy_flow(LAW, 5.0)(times), np.array(entropy)[::-250], rtol=5e-3)


def test_two_equal_logits_have_a_closed_form() -> None:
    """Two tokens, z = (u, -u): u' = p - 1/2 - tanh(u)/2.

    At p near 1/2 this is (p - 1/2) - u/2, and the excess a parabola around its end, so that the share is exp(-t).
    """
    law = np.array([0.501, 0.499])
    times = np.linspace(0, 3, 7)
    assert_allclose(cross_entropy_flow(law, 4.0)(times), np.exp(-times), rtol=1e-3)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_the_whole_excess_is_the_share_asked_for(loss: str) -> None:
    for remaining in (0.5, 0.1, 0.01):
        left = zipf_flow(LAW, remaining, loss)
        assert LAW @ left == pytest.approx(remaining, rel=1e-6)
        assert np.all(np.diff(left) > 0)


@pytest.mark.parametrize("remaining", [0.5, 0.3, 0.1])
def test_steps_grow_as_a_power_of_the_vocabulary(remaining: float) -> None:
    """Of 1 less the share that remains (Kunstner and Bach 2025, arXiv:2505.19227), in steps of 1 over the Hessian."""
    steps = []
    for tokens in (10**5, 10**6):
        law = 1 / np.arange(1, tokens + 1)
        law /= law.sum()
        steps.append(-np.log(zipf_flow(law, remaining, "squared")[-1]) / law[-1] * law[0])
    assert np.log10(steps[1] / steps[0]) == pytest.approx(1 - remaining, abs=0.03)
