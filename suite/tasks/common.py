"""What several families of tasks share."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim import Adam

from suite.curvature import Hessian, Network, lanczos
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Loss, Split

RATES = LogUniform(3e-4, 3e-2)


def slot(features: int, outputs: int = 1) -> ArchitectureInterface:
    """Inputs [n, features], trained by Adam with a tuned step size.

    Adam, because its steps do not depend on the gradient's scale. The curvature of submitted networks differs by orders
    of magnitude at the start (a wide initialisation against a narrow one), and one space of step sizes for gradient
    descent would decide by it who reaches the stop. Its own bias is the same for all: what differs is the architecture.
    """
    return ArchitectureInterface((features,), outputs, Adam, {"lr": RATES})


def lipschitz_constant(model: nn.Module, data: Split, loss: Loss) -> float:
    """The largest eigenvalue of the Hessian of `loss`, any summary of the samples, to three digits.

    Gradient descent on the loss over this value has the stability limit of step size 2 there. Three digits, because the
    value goes into the data's fingerprint and further ones depend on the machine.
    """
    hessian = Hessian(Network(model), data, loss, chunk=len(data))
    return float(f"{lanczos(hessian, 1, torch_stream('smoothness')).values[0].item():.3g}")


def relative_distance(weights: Tensor, reference: Tensor) -> float:
    """``|weights - reference| / |reference|`` in the l2 norm over all entries."""
    return float(torch.linalg.vector_norm(weights - reference) / torch.linalg.vector_norm(reference))


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
