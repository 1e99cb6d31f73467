"""Fully connected ReLU networks whose initial scale and depth are a task's variants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def relu_network(
    inputs: int,
    widths: Sequence[int],
    generator: torch.Generator,
    scale: float = 1.0,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> nn.Sequential:
    """Hidden layers of `widths` and one output: [n, inputs] -> [n, 1].

    Weights are `scale` times N(0, 2 / fan in), those of the output `scale` times N(0, 1 / fan in): at scale 1 every
    layer keeps the mean square of its inputs (He et al. 2015, arXiv:1502.01852). Biases start at zero.
    """
    sizes = [inputs, *widths]
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # layers draw weights of their own when they are made
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(sizes[-1], 1, bias=bias, dtype=dtype))
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
    """Rescale the layers of a network without biases to equal Frobenius norms; the function stays the same.

    Gradient flow keeps the difference of the layers' squared norms (Du et al. 2018, arXiv:1806.00900).
    """
    weights = [module.weight for module in network if isinstance(module, nn.Linear)]
    norms = [float(torch.linalg.matrix_norm(weight)) for weight in weights]
    mean = math.prod(norms) ** (1 / len(norms))
    for weight, norm in zip(weights, norms, strict=True):
        weight *= mean / norm
    return network


@torch.no_grad()
def spread_knots(network: nn.Sequential, span: float, generator: torch.Generator) -> nn.Sequential:
    """Move the kinks of the first layer of a network of one input to uniform draws from [-span, span]."""
    first = network[0]
    assert isinstance(first, nn.Linear)
    knots = span * (2 * torch.rand(first.out_features, generator=generator, dtype=torch.float64) - 1)
    first.bias.copy_(-first.weight[:, 0] * knots)
    return network


class TwoLayerReLU(nn.Module):
    """``sum_j a_j relu(w_j·x)`` from given weights: hidden [m, d] and output [m]. x [n, d] -> [n]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.hidden.T) @ self.output


class TwoLayerQuadratic(nn.Module):
    """``sum_j a_j (w_j·x)²`` from given weights: hidden [m, d] and output [k, m]. x [n, d] -> [n, k]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.hidden.T).square() @ self.output.T
