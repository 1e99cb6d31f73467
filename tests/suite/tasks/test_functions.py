"""Functions of one variable: what theory says of the initial scale, and the order of frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from suite.oracles.functions import least_variation
from suite.task import Solution
from suite.tasks import find_task
from suite.tasks.common import total_slope_variation
from suite.tasks.functions import FREQUENCIES, residual_energies
from tests.suite.tasks.helpers import oracle_of, trained


def ratios(name: str, submission: str, lr: float) -> list[float]:
    return [measures["variation_ratio"] for measures in trained(find_task(name), submission, lr)]


def test_the_initial_scale_decides_between_rich_and_kernel() -> None:
    rich, middle = (ratios(f"univariate_relu[scale={scale}]", "momentum", 0.125) for scale in (0.25, 1.0))
    kernel = ratios("univariate_relu[scale=3.0]", "adam", 0.01)
    for small, medium, large, seed in zip(rich, middle, kernel, (0, 1), strict=True):
        assert 0.97 < small < 1.15
        assert small < medium < large
        # Nearly the frozen features of the same scale, which score 0.
        score_0 = oracle_of("univariate_relu", seed).values["kernel_ratio"]
        assert large == pytest.approx(score_0, rel=0.2)


def test_gradient_descent_reaches_the_target_loss() -> None:
    assert all(1 < ratio < 1.6 for ratio in ratios("univariate_relu", "sgd", 0.67))


def test_deeper_is_not_smoother() -> None:
    shallow, deep = (ratios(f"univariate_relu[depth={depth}]", "adam", 0.005) for depth in (2, 4))
    assert all(d > s for s, d in zip(shallow, deep, strict=True))


class Chords(nn.Module):
    """The piecewise linear interpolant itself, as a ReLU network of two layers."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__()
        slopes = torch.diff(y) / torch.diff(x)
        self.kinks, self.jumps = nn.Parameter(x[1:-1]), nn.Parameter(torch.diff(slopes))
        self.origin, self.height, self.slope = (nn.Parameter(value) for value in (x[0], y[0], slopes[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bends = torch.relu(x - self.kinks) @ self.jumps
        return self.height + self.slope * (x[:, 0] - self.origin) + bends


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_a_network_that_fits(seed: int) -> None:
    task = find_task("univariate_relu")
    problem, oracle = task.problem(seed), oracle_of("univariate_relu", seed)
    x, y = problem.train.x[:, 0], problem.train.y[:, 0]
    network = Chords(x, y).double()
    assert torch.allclose(network(problem.train.x), y, atol=1e-12)
    assert total_slope_variation(network, -1.2, 1.2) == pytest.approx(oracle.values["least_variation"], rel=1e-3)
    assert oracle.values["least_variation"] == least_variation(x.numpy(), y.numpy())
    assert task.measure(Solution(network, {}, problem, oracle, seed))["variation_ratio"] == pytest.approx(1, rel=1e-3)


def test_low_frequencies_come_first() -> None:
    for measures in trained(find_task("spectral_bias"), "momentum", 0.125):
        assert measures["rank_correlation"] >= 0.9
        assert measures["residual_energy_1"] < 0.1 < 0.5 < measures["residual_energy_9"]
        assert 6.5 < measures["residual_frequency"] < find_task("spectral_bias").axes[0].score_1 + 0.1


def test_residual_energies_of_known_signals() -> None:
    z = torch.arange(128, dtype=torch.float64) / 128
    waves = [torch.sin(2 * math.pi * k * z + k) for k in FREQUENCIES]
    shares = [0.0, 0.2, 0.4, 0.6, 1.0]
    residual = sum(math.sqrt(share) * wave for share, wave in zip(shares, waves, strict=True))
    assert isinstance(residual, torch.Tensor)
    assert residual_energies(residual, sum(waves, torch.zeros(128))) == pytest.approx(shares, abs=1e-10)
