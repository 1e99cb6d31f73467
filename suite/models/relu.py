"""Fully connected ReLU networks for regression, and two-layer networks from the weights of an oracle or a task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from suite.models.images import mlp


@torch.no_grad()
def relu_network(
    inputs: int,
    widths: Sequence[int],
    generator: Generator,
    scale: float = 1.0,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> nn.Sequential:
    """A ReLU network with one output, [n, inputs] -> [n, 1], which leaves torch's global generator as it was.

    Weights are `scale` times N(0, 2 / fan in), those of the output `scale` times N(0, 1 / fan in): at scale 1 every
    layer keeps the mean square of its inputs (He et al. 2015, arXiv:1502.01852); the scale decides the regime (rich or
    lazy). Biases start at zero. `generator` is on the CPU, and its draws are the same for every dtype.
    """
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        network = mlp([inputs], 1, widths, bias).to(dtype)
    for module in network:
        if isinstance(module, nn.Linear):
            spread = scale * math.sqrt((1 if module is network[-1] else 2) / module.in_features)
            # Drawn in double precision, so that both precisions start from the same weights.
            module.weight.copy_(spread * torch.randn(module.weight.shape, generator=generator, dtype=torch.float64))
            if module.bias is not None:
                module.bias.zero_()
    return network


@torch.no_grad()
def balance(network: nn.Sequential) -> nn.Sequential:
    """Rescale the layers of a network without biases, in place, to equal Frobenius norms; the function stays the same.

    Gradient flow conserves the differences of the layers' squared norms (Du et al. 2018, arXiv:1806.00900).
    """
    weights = [module.weight for module in network if isinstance(module, nn.Linear)]
    norms = [float(torch.linalg.matrix_norm(weight)) for weight in weights]
    mean = math.prod(norms) ** (1 / len(norms))
    for weight, norm in zip(weights, norms, strict=True):
        weight *= mean / norm
    return network


@torch.no_grad()
def spread_knots(network: nn.Sequential, span: float, generator: Generator) -> nn.Sequential:
    """Move the kinks of the first layer of a network of one input, in place, to uniform draws from [-span, span]."""
    first = network[0]
    assert isinstance(first, nn.Linear)
    knots = span * (2 * torch.rand(first.out_features, generator=generator, dtype=torch.float64) - 1)
    first.bias.copy_(-first.weight[:, 0] * knots)
    return network


class _TwoLayerNetwork(nn.Module):
    """Starts at copies of the given weights."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())


class TwoLayerReLU(_TwoLayerNetwork):
    """``sum_j a_j relu(w_j·x)`` with weights hidden [m, d] and output [m]. x [n, d] -> [n]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.hidden.T) @ self.output


class TwoLayerQuadratic(_TwoLayerNetwork):
    """``sum_j a_j (w_j·x)²`` with weights hidden [m, d] and output [k, m]. x [n, d] -> [n, k]."""

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.hidden.T).square() @ self.output.T
