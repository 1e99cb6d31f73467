"""Orders of hidden units: what is free, and that the closest order is found, against all orders."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from suite.models.permutations import aligned, hidden_layers
from suite.task import Weights


def weights_of(model: nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def distance(one: Weights, other: Weights) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one)


class TwoLayer(nn.Module):
    """Hidden weights [m, d] and output weights [m]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.hidden.T) @ self.output


def mlp(*widths: int) -> nn.Module:
    layers = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


CONVOLUTIONS = nn.Sequential(
    *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)),
).eval()


@pytest.mark.parametrize(
    ("model", "x", "units"),
    [
        (mlp(3, 6, 7, 2), torch.randn(9, 3), [6, 7]),
        (TwoLayer(), torch.randn(9, 3), [5]),
        (nn.Linear(3, 2), torch.randn(9, 3), []),
        # Batch norm's statistics are no parameters: they stay where they are, so its channels have no free order.
        (CONVOLUTIONS, torch.randn(3, 2, 8, 8), [5]),
        # A square weight whose outputs are added to its inputs: its units are those of the inputs.
        (nn.Sequential(nn.Linear(4, 4), nn.Softshrink(0.3), nn.Linear(4, 4), nn.Softmax(1)), torch.randn(9, 4), [4]),
    ],
    ids=["mlp", "two layers", "linear", "convolutions", "square"],
)
def test_layers_whose_units_have_no_order_are_found(model: nn.Module, x: Tensor, units: list[int]) -> None:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
    layers = hidden_layers(model, x)
    assert [layer.units for layer in layers] == units
    outputs = model(x)
    for layer in layers:
        model.load_state_dict(layer.permuted(weights_of(model), torch.randperm(layer.units)), strict=False)
        torch.testing.assert_close(model(x), outputs)


def test_the_order_of_one_layer_is_the_closest_of_all() -> None:
    torch.manual_seed(1)
    one, other = TwoLayer(), TwoLayer()
    (layer,) = hidden_layers(one, torch.randn(9, 3))
    found = distance(aligned(weights_of(other), weights_of(one), [layer]), weights_of(one))
    every = (layer.permuted(weights_of(other), torch.tensor(order)) for order in itertools.permutations(range(5)))
    assert found == pytest.approx(min(distance(weights, weights_of(one)) for weights in every))


def test_a_reordered_network_comes_back_whole() -> None:
    torch.manual_seed(2)
    model, x = mlp(3, 20, 30, 2), torch.randn(9, 3)
    layers, weights = hidden_layers(model, x), weights_of(model)
    shuffled = weights
    for layer in layers:
        shuffled = layer.permuted(shuffled, torch.randperm(layer.units))
    assert distance(shuffled, weights) > 1
    assert distance(aligned(shuffled, weights, layers), weights) == 0
