"""Exact diagonals: of the Gauss-Newton matrix of any network, of the Hessian where the two are one.

A network is piecewise multilinear in its weights if its activations are piecewise linear and no weight serves two
layers: ReLU networks, convolutional ones and batch norm with fixed statistics included. Then every output is linear in
each parameter tensor alone, the network's own curvature has a zero diagonal, and the Hessian's diagonal is that of the
Gauss-Newton matrix: one backward pass a class.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from suite.curvature.factors import output_factors
from suite.curvature.graph import each_used_once
from suite.curvature.network import Loss, Network
from suite.curvature.samples import squared_gradients, squared_norms
from suite.seeding import torch_stream
from suite.task import Split

WITNESSES = 32
ZERO = 1e-9


def gauss_newton_diagonal(network: Network, data: Split, loss: Loss) -> list[Tensor]:
    """The diagonal of ``J' S J`` for a `loss` that is a mean over samples, [*shape] for every leaf of one model."""
    squares = squared_gradients(
        network, data.x, data.y, lambda outputs, y: output_factors(loss, outputs, y)
    )  # fmt: skip
    return [square / len(data) for square in squares]


def gauss_newton_trace(network: Network, data: Split, loss: Loss) -> tuple[float, Tensor]:
    """The sum of `gauss_newton_diagonal`, without the diagonal: half of its time for a fully connected network.

    Beside it the outputs [n, ...] that were met on the way.
    """
    met: list[Tensor] = []

    def factors(outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        met.append(outputs.detach())
        return output_factors(loss, outputs, y)

    total = squared_norms(network, data.x, data.y, factors)
    return total / len(data), torch.cat(met)


def hessian_diagonal(network: Network, data: Split, loss: Loss) -> list[Tensor] | None:
    """The diagonal of the Hessian, exact; None if the network is not piecewise multilinear."""
    return gauss_newton_diagonal(network, data, loss) if is_piecewise_multilinear(network, data.x) else None


def is_piecewise_multilinear(network: Network, x: Tensor) -> bool:
    """Whether the outputs are linear in each parameter tensor alone, near the present weights.

    No parameter may enter the outputs' graph twice. And for each tensor, a random direction v in it and random weights
    c of the outputs on up to `WITNESSES` samples of `x`, spread over the data, ``(c·f)'' v`` is computed within the
    tensor, in float64. It is linear in v and in c, so it vanishes for random ones if and only if all these second
    derivatives vanish, with probability one.
    """
    module = copy.deepcopy(network.module).double()
    rows = torch.linspace(0, len(x) - 1, min(len(x), WITNESSES)).round().long()
    witnesses = x[rows].double() if x.is_floating_point() else x[rows]
    leaves = [p for p in module.parameters() if p.requires_grad]
    stream = torch_stream("multilinear")

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=stream).to(like.device, torch.float64)

    with torch.enable_grad():
        outputs = module(witnesses)
        if not each_used_once([outputs.grad_fn], leaves):
            return False
        slopes = torch.autograd.grad((outputs * draw(outputs)).sum(), leaves, create_graph=True, materialize_grads=True)
    return all(_is_linear(slope, leaf, draw(leaf)) for slope, leaf in zip(slopes, leaves, strict=True))


def _is_linear(slope: Tensor, leaf: Tensor, direction: Tensor) -> bool:
    """Whether `slope`, a gradient in `leaf`, does not change when `leaf` moves along `direction`."""
    if not slope.requires_grad:
        return True
    (change,) = torch.autograd.grad(
        (slope * direction).sum(), leaf, retain_graph=True, materialize_grads=True
    )  # fmt: skip
    scale = torch.linalg.vector_norm(slope) * torch.linalg.vector_norm(direction)
    size = torch.linalg.vector_norm(leaf)
    return bool(torch.linalg.vector_norm(change) * size <= ZERO * scale)
