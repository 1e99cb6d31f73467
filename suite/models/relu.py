"""Fully connected ReLU networks for regression, and two-layer networks from given weights.

* `relu_network`: any depth, with an initial scale that decides the regime; `balance` and `spread_knots` change its
  initial weights.
* `TwoLayerReLU`, `TwoLayerQuadratic`: two layers without biases, from the weights of an oracle or a task.
"""

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
    """A ReLU network with one output, [n, inputs] -> [n, 1], which leaves torch's global generator as it was.

    Weights are `scale` times N(0, 2 / fan in), those of the output `scale` times N(0, 1 / fan in): at scale 1 every
    layer keeps the mean square of its inputs (He et al. 2015, arXiv:1502.01852). Biases start at zero.

    Args:
        inputs: the number of inputs.
        widths: of the hidden layers.
        generator: what the weights are drawn from, on the CPU; the draws are the same for every dtype.
        scale: of all weights.
        bias: whether layers have biases.
        dtype: of the weights.
    """
    sizes = [inputs, *widths]
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
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
def spread_knots(network: nn.Sequential, span: float, generator: torch.Generator) -> nn.Sequential:
    """Move the kinks of the first layer of a network of one input, in place, to uniform draws from [-span, span]."""
    first = network[0]
    assert isinstance(first, nn.Linear)
    knots = span * (2 * torch.rand(first.out_features, generator=generator, dtype=torch.float64) - 1)
    first.bias.copy_(-first.weight[:, 0] * knots)
    return network


class TwoLayerReLU(nn.Module):
    """``sum_j a_j relu(w_j·x)`` with weights hidden [m, d] and output [m]. x [n, d] -> [n]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        """Start at copies of the given weights."""
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.hidden.T) @ self.output


class TwoLayerQuadratic(nn.Module):
    """``sum_j a_j (w_j·x)²`` with weights hidden [m, d] and output [k, m]. x [n, d] -> [n, k]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        """Start at copies of the given weights."""
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.hidden.T).square() @ self.output.T
