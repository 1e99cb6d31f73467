"""Smoothness of the function that a network computes: nothing here looks at weights, so architectures compare."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

EVALUATED = 4_096
"""Inputs that go through the network at a time, so that wide ones need little memory."""


@torch.no_grad()
def slope_variation(model: nn.Module, starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Total variation of the slope along each straight segment, [m], for end points [m, d] each.

    ``∫ |g''(t)| dt`` of ``g(t) = f(start + t (end - start))`` over t in [0, 1], from `points` samples of each segment
    in double precision. The samples' slopes vary at most as much as the function's own; they miss only kinks of
    opposite sign in neighbouring cells. The model's single output is taken.

    For a network without biases of two layers, ``f(x) = sum_j a_j relu(w_j · x)``, and end points drawn from N(0, I),
    the mean is ``sqrt(2 / pi) * sum_j |a_j| |w_j|`` unless kinks coincide: a neuron bends the segment if its
    preactivations u, v at the ends differ in sign, by ``|a_j| (|u| + |v|)``. So the mean over segments is the variation
    norm, whose kinks are those of the function and not of a parametrisation.
    """
    exact = copy.deepcopy(model).double().eval()
    first, last = starts.double()[:, None], ends.double()[:, None]
    t = torch.linspace(0, 1, points, dtype=torch.float64, device=starts.device)[None, :, None]
    inputs = (first + t * (last - first)).flatten(0, 1)
    values = torch.cat([exact(part) for part in torch.split(inputs, EVALUATED)]).reshape(len(starts), points)
    slopes = torch.diff(values, dim=1) * (points - 1)
    return torch.diff(slopes, dim=1).abs().sum(dim=1)


def derivative_variation(model: nn.Module, low: float, high: float, points: int = 4001) -> float:
    """``∫ |f''|`` over [low, high] of a network of one input: the total variation of its derivative."""
    device = next(model.parameters()).device
    low_end, high_end = (torch.tensor([[end]], dtype=torch.float64, device=device) for end in (low, high))
    return float(slope_variation(model, low_end, high_end, points)) / (high - low)
