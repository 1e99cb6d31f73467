"""modular_margin: the oracle's network measures 1, and nothing has more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from suite.models import TwoLayerQuadratic
from suite.oracles.arithmetic import (
    frequency_shares,
    largest_addition_margin,
    largest_margin_addition_network,
    neuron_norms,
)
from suite.task import Oracle, Solution
from suite.tasks import find_task


@pytest.mark.parametrize("p", [3, 5, 7, 11])
def test_the_network_has_the_largest_margin_at_every_pair(p: int) -> None:
    hidden, output = largest_margin_addition_network(p)
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    code = torch.eye(p, dtype=torch.float64)[pairs].flatten(1)
    outputs, classes = (code @ hidden.T).square() @ output.T, pairs.sum(1) % p
    right = outputs.gather(1, classes[:, None])
    wrong = outputs.scatter(1, classes[:, None], -torch.inf).max(1).values
    ratio = (right[:, 0] - wrong) / neuron_norms(hidden, output).sum()
    assert torch.allclose(ratio, torch.full_like(ratio, largest_addition_margin(p)), rtol=1e-10)
    shares = frequency_shares(hidden, output)
    assert torch.allclose(shares.max(1).values, torch.ones(len(shares), dtype=torch.float64))
    assert len(shares.argmax(1).unique()) == (p - 1) // 2


@pytest.mark.parametrize("p", [3, 5, 7])
def test_no_single_neuron_does_better_on_average(p: int) -> None:
    """The mean over pairs and wrong classes bounds the least margin, and is a sum over neurons: a dual certificate."""
    a, b = np.meshgrid(np.arange(p), np.arange(p), indexing="ij")

    def negative_mean(flat: np.ndarray) -> float:
        u, v, w = (flat / np.linalg.norm(flat)).reshape(3, p)
        square = (u[a] + v[b]) ** 2
        right = w[(a + b) % p]
        return -float((square * (right - (w.sum() - right) / (p - 1))).mean())

    rng = np.random.default_rng(0)
    found = [
        minimize(negative_mean, rng.normal(size=3 * p), method="BFGS", options={"gtol": 1e-8}).fun for _ in range(12)
    ]
    assert -min(found) == pytest.approx(largest_addition_margin(p), rel=1e-6)


def test_the_oracle_measures_one() -> None:
    task = find_task("modular_margin")
    hidden, output = largest_margin_addition_network(11)
    model = TwoLayerQuadratic(2 * hidden, 2 * output)
    measures = task.measure(Solution(model, {}, task.problem(0), Oracle(), 0))
    assert measures["margin_ratio"] == pytest.approx(1, rel=1e-10)
    assert measures["frequency_share"] == pytest.approx(1, rel=1e-10)
    assert measures["frequencies"] == 5
    random = task.measure(Solution(task.model(task.problem(0), 0), {}, task.problem(0), Oracle(), 0))
    assert random["margin_ratio"] < 0
    assert random["frequency_share"] < 0.8


def test_even_numbers_have_no_such_network() -> None:
    for function in (largest_addition_margin, largest_margin_addition_network):
        with pytest.raises(ValueError, match="odd"):
            function(4)
    assert math.isclose(largest_addition_margin(11), 0.0082061, rel_tol=1e-4)
