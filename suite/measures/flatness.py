"""Flatness as curvature of the training loss.

Raw curvature is reported and never scored: a rescaling that keeps the function can give it any value (Dinh et al. 2017,
arXiv:1703.04933). The adaptive measures use ``D H D`` with ``D = diag |theta|``, the curvature in relative coordinates,
which no such rescaling can move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from suite import curvature
from suite.curvature import (
    Eigenpairs,
    GaussNewton,
    Hessian,
    Network,
    Operator,
    Scaled,
    lanczos,
    squared_norms,
    top_eigenpairs,
)
from suite.errors import InputError
from suite.estimate import Estimate
from suite.measures.context import MeasureContext
from suite.measures.registry import LAYER_RESCALING, RELATIVE, declare
from suite.seeding import torch_stream

declare_layerwise = partial(declare, kind="estimate", unit="loss", invariances=(LAYER_RESCALING,))


def _leading(pairs: Eigenpairs) -> Estimate:
    return Estimate(pairs.values[0].item(), "bound", pairs.bounds[0].item())


def _largest(context: MeasureContext, diagonal: Tensor | None = None) -> Estimate:
    context.check_second_derivatives()
    stream = torch_stream("lambda_max")
    if context.at_once is None:
        return _leading(
            top_eigenpairs(context.network, context.samples, context.sample_loss, 1, stream, diagonal=diagonal)
        )
    hessian = Hessian(context.network, context.samples, context.sample_loss, chunk=context.at_once)
    return _leading(lanczos(hessian if diagonal is None else Scaled(hessian, diagonal), 1, stream))


def _trace(context: MeasureContext, diagonal: Tensor | None = None) -> Estimate:
    """The trace of H, or of ``D H D``, with what the traces of one network share computed once."""
    context.check_second_derivatives()
    return curvature.hessian_trace(
        context.network,
        context.samples,
        context.sample_loss,
        diagonal=diagonal,
        chunk=context.at_once,
        once=context.once,
    )


@declare(kind="bound", unit="loss / weight²", cost=12, source="Keskar et al. 2017, arXiv:1609.04836")
def lambda_max(context: MeasureContext) -> Estimate:
    """Largest eigenvalue of the training loss's Hessian."""
    return _largest(context)


@declare(
    kind="bound",
    unit="loss / weight²",
    scale="linear",
    higher=None,
    cost=50,
    source="Sagun et al. 2018, arXiv:1706.04454",
)
def lambda_min(context: MeasureContext) -> Estimate:
    """Smallest eigenvalue of the training loss's Hessian: negative away from a minimum."""
    context.check_second_derivatives()
    hessian = Hessian(context.network, context.samples, context.sample_loss, chunk=context.at_once)
    return _leading(lanczos(hessian, 1, torch_stream("lambda_min"), which="SA"))


@declare(kind="estimate", unit="loss / weight²", cost=4, source="Blanc et al. 2020, arXiv:1904.09080")
def hessian_trace(context: MeasureContext) -> Estimate:
    """Trace of the training loss's Hessian; exact for ReLU networks."""
    return _trace(context)


@declare(kind="bound", unit="loss", cost=12, source="Kwon et al. 2021, arXiv:2102.11600", invariances=RELATIVE)
def adaptive_lambda_max(context: MeasureContext) -> Estimate:
    """Largest eigenvalue of the Hessian in relative coordinates."""
    return _largest(context, context.network.weights().abs())


@declare(kind="estimate", unit="loss", cost=4, source="Tsuzuku et al. 2020, arXiv:1901.04653", invariances=RELATIVE)
def adaptive_trace(context: MeasureContext) -> Estimate:
    """Trace of the Hessian in relative coordinates, ``sum theta² H_ii``; exact for ReLU networks."""
    return _trace(context, context.network.weights().abs())


@declare_layerwise(cost=15, source="Petzka et al. 2021, arXiv:2001.00939, definition 3")
def relative_flatness(context: MeasureContext) -> Estimate:
    """Petzka's relative flatness, summed over layers: ``sum over neurons s, t of <w_s, w_t> tr H_st``.

    It is a trace (see `_NeuronPairs`), exact for small networks and estimated from random signs for others.
    """
    context.check_second_derivatives()
    hessian = Hessian(context.network, context.samples, context.sample_loss, chunk=context.at_once, keep_graphs=False)
    return curvature.estimated_trace(_NeuronPairs(hessian, context.network), torch_stream("relative_flatness"))


class _NeuronPairs(Operator):
    """``A' H A``, where A takes a matrix Z to ``F Z`` for the weights W [neurons, inputs] of every layer, F F' = W W'.

    Its trace is the sum over neurons s, t of ``<w_s, w_t> tr H_st``, without products between layers.
    """

    def __init__(self, hessian: Operator, network: Network) -> None:
        self.like(hessian)
        self._hessian, self._network = hessian, network
        weights = [leaf.detach().flatten(1) if leaf.dim() > 1 else None for leaf in network.leaves]
        self._factors = [None if weight is None else _factor(weight) for weight in weights]
        self._shapes = [
            (0, 0) if weight is None or factor is None else (factor.shape[1], weight.shape[1])
            for weight, factor in zip(weights, self._factors, strict=True)
        ]
        self.size = sum(rows * columns for rows, columns in self._shapes)

    def products(self, vectors: Tensor) -> Tensor:
        images = self._hessian.products(torch.stack([self._directions(vector) for vector in vectors]))
        return torch.stack([self._transposed(image) for image in images])

    def _directions(self, vector: Tensor) -> Tensor:
        """A times a vector."""
        parts = torch.split(vector, [rows * columns for rows, columns in self._shapes])
        return self._network.flatten([
            torch.zeros_like(leaf) if factor is None else (factor @ part.view(shape)).view(leaf.shape)
            for leaf, factor, part, shape in zip(self._network.leaves, self._factors, parts, self._shapes, strict=True)
        ])  # fmt: skip

    def _transposed(self, image: Tensor) -> Tensor:
        """A' times a vector."""
        return torch.cat([
            (factor.T @ piece.flatten(1)).flatten()
            for factor, piece in zip(self._factors, self._network.split(image), strict=True) if factor is not None
        ])  # fmt: skip


def _factor(weight: Tensor) -> Tensor:
    """The narrowest matrix F with F F' = W W': W itself, or of a wide one the transposed triangle of its QR."""
    rows, columns = weight.shape
    return weight if columns <= rows else torch.linalg.qr(weight.T).R.T


@declare_layerwise(cost=4, source="Petzka et al. 2021, arXiv:2001.00939, neuron-wise form")
def neuron_relative_flatness(context: MeasureContext) -> Estimate:
    """Petzka's relative flatness neuron by neuron: ``sum over neurons s of |w_s|² tr H_ss``.

    It is invariant to a rescaling of a neuron's own weights, not to one of the neurons that feed it: only
    `adaptive_trace`, weight by weight, is invariant to both.
    """

    def norms(leaf: Tensor) -> Tensor:
        if leaf.dim() < 2:
            return torch.zeros_like(leaf)
        return torch.linalg.vector_norm(leaf.flatten(1), dim=1)[:, None].expand(-1, leaf[0].numel())

    return _trace(context, context.network.flatten([norms(leaf.detach()) for leaf in context.network.leaves]))


@declare(kind="exact", unit="loss^½", cost=3, source="Liang et al. 2019, arXiv:1711.01530", invariances=RELATIVE)
def fisher_rao_norm(context: MeasureContext) -> float:
    """Fisher-Rao norm ``sqrt(theta' F theta)`` with the model's Fisher information (the Gauss-Newton matrix)."""
    context.check_second_derivatives()
    theta = context.network.weights()
    fisher = GaussNewton(context.network, context.samples, context.sample_loss, chunk=context.at_once)
    return math.sqrt(max(float(theta @ (fisher @ theta)), 0.0))


@declare(
    kind="exact",
    unit="loss² / weight²",
    cost=3,
    source="Smith and Le 2018, arXiv:1710.06451; Jiang et al. 2020, arXiv:1912.02178",
)
def gradient_noise(context: MeasureContext) -> float:
    """Trace of the covariance of the per-sample gradients.

    Of a loss that is no plain mean, a sample's loss is its share of the whole times the number of samples.
    """
    if context.at_once is not None:
        raise InputError("The gradient noise needs a loss that is a sum or a mean over samples.")

    def slopes(outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        at = outputs.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(context.sample_loss(at, y) * len(at), at)
        yield slope, slope.new_ones(len(at))

    squares = squared_norms(context.network, context.samples.x, context.samples.y, slopes)
    _, mean = context.loss_and_gradient()
    return max(squares / len(context.train) - float(mean.double() @ mean.double()), 0.0)
