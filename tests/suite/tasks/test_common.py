"""Lipschitz constants against dense Hessians, variation of the slope against exact kinks and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from suite.curvature import Hessian, Network
from suite.curvature.operators import dense
from suite.models import LinearPredictor, balance, relu_network, spread_knots
from suite.task import Loss, Split
from suite.tasks.common import (
    exponential_lipschitz,
    hessian_norm,
    least_squares_lipschitz,
    logistic_lipschitz,
    slope_variation,
    total_slope_variation,
)
from suite.tasks.losses import logistic, mean_squared_error


def mean_exponential(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.exp(-outputs * targets).mean()


@pytest.mark.parametrize(
    ("lipschitz", "loss"),
    [
        (least_squares_lipschitz, mean_squared_error),
        (exponential_lipschitz, mean_exponential),
        (logistic_lipschitz, logistic),
    ],
)
def test_closed_forms_are_the_largest_eigenvalue_at_zero(lipschitz: Callable[..., float], loss: Loss) -> None:
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([1.0, -1, 1, 1, -1, 1, -1], dtype=torch.float64)
    model = LinearPredictor(4)
    top = torch.linalg.eigvalsh(dense(Hessian(Network(model), Split(x, y), loss)))[-1].item()
    assert lipschitz(x) == pytest.approx(top, rel=1e-12)
    assert hessian_norm(model, Split(x, y), loss) == float(f"{top:.3g}")


class Parabola(nn.Module):
    """``x²`` with a parameter, so that it has a device and a dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.square()


def test_of_a_parabola() -> None:
    # f'' = 2: the two outer cells lack half a cell each.
    assert total_slope_variation(Parabola(), -1.0, 2.0) == pytest.approx(6, rel=1e-3)


def test_of_a_network_whose_kinks_are_known() -> None:
    generator = torch.Generator().manual_seed(0)
    network = spread_knots(relu_network(1, [50], generator), 1.2, generator)
    network.requires_grad_(False)
    w, b, a = network[0].weight[:, 0], network[0].bias, network[-1].weight[0]
    kinks, jumps = -b / w, (a * w.abs())
    assert kinks.abs().max() <= 1.2
    for low, high in ((-2.0, 2.0), (-0.5, 0.7)):
        inside = (kinks > low) & (kinks < high)
        variation = total_slope_variation(network, low, high, points=200_001)
        assert variation == pytest.approx(float(jumps[inside].abs().sum()), rel=1e-3)


def test_mean_over_segments_is_the_variation_norm() -> None:
    generator = torch.Generator().manual_seed(1)
    network = relu_network(6, [5], generator, bias=False).requires_grad_(False)
    starts, ends = (torch.randn(4_000, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    norm = float((network[-1].weight[0].abs() * network[0].weight.norm(dim=1)).sum())
    mean = float(slope_variation(network, starts, ends, 1_001).mean())
    assert mean == pytest.approx(math.sqrt(2 / math.pi) * norm, rel=0.03)


def test_rescaling_and_precision_do_not_move_it() -> None:
    generator = torch.Generator().manual_seed(2)
    network = relu_network(1, [30, 30], generator, bias=False).requires_grad_(False)
    before = total_slope_variation(network, -1.0, 1.0)
    balance(network)
    norms = [float(m.weight.norm()) for m in network if isinstance(m, nn.Linear)]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-9)
    assert total_slope_variation(network, -1.0, 1.0) == pytest.approx(before, rel=1e-9)
    assert total_slope_variation(network.float(), -1.0, 1.0) == pytest.approx(before, rel=1e-4)
    assert next(network.parameters()).dtype == torch.float32
