"""Flatness as curvature of the training loss.

Raw curvature is shown and never scored: a rescaling that leaves the function alone can give it any value (Dinh et al.
2017, arXiv:1703.04933). The adaptive measures look at ``D H D`` with ``D = diag |theta|``, the curvature in relative
coordinates, which no such rescaling can move.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature import (
    Eigenpairs,
    GaussNewton,
    Hessian,
    NetworkCurvature,
    Scaled,
    hutchinson,
    lanczos,
    top_eigenpairs,
)
from suite.estimate import Estimate
from suite.measures.context import MeasureContext
from suite.measures.registry import CANONICAL, LAYER_RESCALING, declare
from suite.seeding import torch_stream

PRECISION = 0.05
"""Standard error, as a share of the value, up to which a stochastic trace is refined."""


MAX_PROBES = 60


FEW_PROBES = 5
"""Drawn at a time for what is left beside a part that is known: its standard error is then 1 to 3 % of the whole."""


def _leading(pairs: Eigenpairs) -> Estimate:
    return Estimate(pairs.values[0].item(), "bound", pairs.bounds[0].item())


def _largest(subject: MeasureContext, diagonal: Tensor | None = None) -> Estimate:
    stream = torch_stream("lambda_max")
    if subject.chunk is None:
        return _leading(top_eigenpairs(subject.network, subject.train, subject.loss, 1, stream, diagonal=diagonal))
    hessian = Hessian(subject.network, subject.train, subject.loss, chunk=subject.chunk)
    return _leading(lanczos(hessian if diagonal is None else Scaled(hessian, diagonal), 1, stream))


def _trace(subject: MeasureContext, diagonal: Tensor | None = None) -> Estimate:
    """The trace of H, or of ``D H D``: exact, or exact but for the network's own curvature, or stochastic.

    The Gauss-Newton part of the trace is exact for every loss that is a mean; what is left of the Hessian is small at
    a solution, so few probes are enough for it.
    """
    network, train, loss = subject.network, subject.train, subject.loss
    known = subject.gauss_newton_trace(None if diagonal is None else diagonal.square())
    if known is not None and subject.is_piecewise_multilinear:
        return Estimate(known)
    kind = Hessian if known is None else NetworkCurvature
    rest = kind(network, train, loss, chunk=subject.chunk, keep=False)  # all probes in one call
    operator = rest if diagonal is None else Scaled(rest, diagonal)
    stream = torch_stream("hessian_trace")
    estimates = hutchinson(
        operator,
        stream,
        probes=2 * FEW_PROBES if known is None else FEW_PROBES,
        offset=known or 0.0,
        precision=PRECISION,
        max_probes=MAX_PROBES,
    )
    return estimates[0]


@declare(
    unit="loss / weight²",
    scale="log",
    higher=False,
    cost=12,
    source="Keskar et al. 2017, arXiv:1609.04836",
)
def lambda_max(subject: MeasureContext) -> Estimate:
    """Largest eigenvalue of the training loss's Hessian."""
    return _largest(subject)


@declare(
    unit="loss / weight²",
    scale="linear",
    higher=None,
    cost=50,
    source="Sagun et al. 2018, arXiv:1706.04454",
)
def lambda_min(subject: MeasureContext) -> Estimate:
    """Smallest eigenvalue of the training loss's Hessian: negative away from a minimum."""
    hessian = Hessian(subject.network, subject.train, subject.loss, chunk=subject.chunk)
    return _leading(lanczos(hessian, 1, torch_stream("lambda_min"), which="smallest", tolerance=1e-2, guards=0))


@declare(
    unit="loss / weight²",
    scale="log",
    higher=False,
    cost=4,
    source="Blanc et al. 2020, arXiv:1904.09080",
)
def hessian_trace(subject: MeasureContext) -> Estimate:
    """Trace of the training loss's Hessian; exact for ReLU networks."""
    return _trace(subject)


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=12,
    source="Kwon et al. 2021, arXiv:2102.11600",
    invariances=CANONICAL,
)
def adaptive_lambda_max(subject: MeasureContext) -> Estimate:
    """Largest eigenvalue of the Hessian in relative coordinates."""
    return _largest(subject, subject.network.weights().abs())


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=4,
    source="Tsuzuku et al. 2020, arXiv:1901.04653",
    invariances=CANONICAL,
)
def adaptive_trace(subject: MeasureContext) -> Estimate:
    """Trace of the Hessian in relative coordinates, ``sum theta² H_ii``; exact for ReLU networks."""
    return _trace(subject, subject.network.weights().abs())


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=15,
    source="Petzka et al. 2021, arXiv:2001.00939, definition 3",
    invariances=(LAYER_RESCALING,),
)
def relative_flatness(subject: MeasureContext) -> Estimate:
    """Petzka's relative flatness, summed over layers: ``sum over neurons s, t of <w_s, w_t> tr H_st``.

    As a mean over random signs: with ``v = (W a) b'`` in every layer, the mean of ``v' H v`` is that sum.
    """
    network, stream = subject.network, torch_stream("relative_flatness")
    hessian = Hessian(network, subject.train, subject.loss, chunk=subject.chunk)
    draws = []
    for _ in range(10):
        probe = network.flatten([_petzka_direction(leaf.detach(), stream) for leaf in network.leaves])
        draws.append(float(probe @ (hessian @ probe)))
    values = torch.tensor(draws, dtype=torch.float64)
    return Estimate(values.mean().item(), "estimate", values.std().item() / len(draws) ** 0.5)


def _petzka_direction(leaf: Tensor, stream: torch.Generator) -> Tensor:
    if leaf.dim() < 2:
        return torch.zeros_like(leaf)
    matrix = leaf.flatten(1)
    signs = (torch.randint(0, 2, (2, matrix.shape[1]), generator=stream) * 2 - 1).to(matrix)
    return torch.outer(matrix @ signs[0], signs[1]).reshape(leaf.shape)


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=4,
    source="Petzka et al. 2021, arXiv:2001.00939, neuron-wise form",
    invariances=(LAYER_RESCALING,),
)
def neuron_relative_flatness(subject: MeasureContext) -> Estimate:
    """Petzka's relative flatness neuron by neuron: ``sum over neurons s of |w_s|² tr H_ss``.

    It is invariant to a rescaling of a neuron's own weights, not to one of the neurons that feed it: only
    `adaptive_trace`, weight by weight, is invariant to both.
    """

    def norms(leaf: Tensor) -> Tensor:
        if leaf.dim() < 2:
            return torch.zeros_like(leaf)
        rows: Tensor = torch.linalg.vector_norm(leaf.flatten(1), dim=1)
        return rows[:, None].expand(-1, leaf[0].numel())

    return _trace(subject, subject.network.flatten([norms(leaf.detach()) for leaf in subject.network.leaves]))


@declare(
    unit="loss^½",
    scale="log",
    higher=False,
    cost=3,
    source="Liang et al. 2019, arXiv:1711.01530",
    invariances=CANONICAL,
)
def fisher_rao_norm(subject: MeasureContext) -> float:
    """Fisher-Rao norm ``sqrt(theta' F theta)`` with the model's Fisher information (the Gauss-Newton matrix)."""
    theta = subject.network.weights()
    fisher = GaussNewton(subject.network, subject.train, subject.loss, chunk=subject.chunk)
    return math.sqrt(max(float(theta @ (fisher @ theta)), 0.0))


@declare(
    unit="loss² / weight²",
    scale="log",
    higher=False,
    cost=3,
    source="Smith and Le 2018, arXiv:1710.06451; Jiang et al. 2020, arXiv:1912.02178",
)
def gradient_noise(subject: MeasureContext) -> float:
    """Trace of the covariance of the per-sample gradients."""
    return subject.gradient_noise()
