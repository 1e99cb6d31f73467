"""What a network computes as a linear function, and how its layers share the work."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from suite.models.linear_networks import Diagonal, FullyConnected, LinearNetwork
from suite.task import Oracle


@torch.no_grad()
def linear_part(model: nn.Module, inputs: Tensor) -> Tensor:
    """The weights [d] of the affine function that is nearest to the network on `inputs` [n, d], by least squares.

    Those of the network itself where it is linear.
    """
    with_bias = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    weights: Tensor = torch.linalg.lstsq(with_bias, model(inputs)).solution
    return weights[:-1, 0]


def own_geometry(model: nn.Module) -> str | None:
    """The norm that the squared norm of the parameters bounds: ``|w| <= (|theta|²/L)^(L/2)``; None if not convex."""
    if isinstance(model, FullyConnected) or (isinstance(model, LinearNetwork) and not len(model.layers)):
        return "l2"
    if isinstance(model, LinearNetwork) and len(model.layers) == 1:
        return "l1" if isinstance(model, Diagonal) else "fourier_l1"
    return None


@torch.no_grad()
def parameter_measures(model: nn.Module, margin: float, oracle: Oracle) -> dict[str, float]:
    """What can be said of the weights themselves, for the networks of `suite.models.linear_networks`."""
    found = {}
    geometry = own_geometry(model)
    if geometry is not None:
        depth = len(list(model.parameters()))
        squared = sum(float(p.square().sum()) for p in model.parameters())
        best = oracle.values[f"{geometry}_margin"]
        found["parameter_margin_ratio"] = margin / (squared / depth) ** (depth / 2) / best
    if isinstance(model, FullyConnected) and len(model.layers):
        factors = [torch.linalg.svd(matrix, full_matrices=False) for matrix in (*model.layers, model.head)]
        inner = [(low[0][:, 0] @ high[2][0]).abs() for low, high in itertools.pairwise(factors)]
        found["alignment"] = torch.stack(inner).mean().item()
    return found
