"""Exact diagonals: of the Gauss-Newton matrix of any network, of the Hessian where the two are one.

A network is piecewise multilinear in its weights if its activations are piecewise linear and no weight serves two
layers: ReLU networks, convolutional ones and batch norm with fixed statistics included. Then every output is linear in
each parameter tensor alone, the network's own curvature has a zero diagonal, and the Hessian's diagonal is that of the
Gauss-Newton matrix: one backward pass a class.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature.network import Network, each_used_once
from suite.curvature.per_sample import squared_gradients, squared_norms
from suite.seeding import torch_stream
from suite.task import Loss, Split


@dataclass(frozen=True)
class TemperedCrossEntropy:
    """Cross-entropy (nats) of logits times `factor`."""

    factor: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.factor * logits, labels)


def output_factors(loss: Loss, outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Vectors b like `outputs` and signs [n], for a loss that is a mean; as many pairs as S has rank.

    For cross-entropy ``S = diag(p) - p p'``, the covariance of a draw from the classes. Drawn as a row of yes-or-no
    decisions (class 1 or a later one? class 2 or a later one?) it splits, by the law of total variance, into the C - 1
    parts ``b_c = sqrt(p_c r_c / (p_c + r_c)) (e_c - p_{later} / r_c)``, r_c the probability of all classes after c. For
    other losses they are the eigenvectors of every sample's S.
    """
    tempered = TemperedCrossEntropy(1.0) if loss is cross_entropy else loss
    if isinstance(tempered, TemperedCrossEntropy):
        yield from _softmax_factors(outputs, tempered.factor)
        return
    flat = outputs.detach().reshape(len(outputs), -1)
    values, vectors = torch.linalg.eigh(_output_hessians(loss, outputs, y))
    for index in range(flat.shape[1]):
        factor = values[:, index].abs().sqrt()[:, None] * vectors[:, :, index]
        yield factor.reshape(outputs.shape), values[:, index].sign()


def _softmax_factors(logits: Tensor, factor: float) -> Iterator[tuple[Tensor, Tensor]]:
    shares = torch.softmax(factor * logits.detach(), dim=1)
    signs = torch.ones_like(shares[:, 0])
    from_here = shares.flip(1).cumsum(1).flip(1)  # summed from the end: nothing cancels
    smallest = torch.finfo(shares.dtype).tiny
    for index in range(shares.shape[1] - 1):
        own, later = shares[:, index], from_here[:, index + 1]
        root = factor * (own * (later / from_here[:, index].clamp_min(smallest))).sqrt()
        away = torch.zeros_like(shares)
        away[:, index] = root
        away[:, index + 1 :] = shares[:, index + 1 :] * (-root / later.clamp_min(smallest))[:, None]
        yield away, signs


def _output_hessians(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """Every sample's S, [n, C, C]."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(at, y) * len(at), at, create_graph=True)
        rows = [
            torch.autograd.grad(part, at, retain_graph=True, materialize_grads=True)[0].reshape(len(at), -1)
            if slope.requires_grad
            else torch.zeros_like(at).reshape(len(at), -1)
            for part in slope.reshape(len(at), -1).sum(0)
        ]
    return torch.stack(rows, dim=1)


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
