"""Stochastic traces, one for each lane, with a standard error; a single network is one lane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature.operators import Operator
from suite.estimate import Estimate


def _signs(operator: Operator, count: int, generator: torch.Generator) -> Tensor:
    """Random signs [count, P], the same for every lane and on every device."""
    signs = torch.randint(0, 2, (count, operator.size), generator=generator) * 2 - 1
    return signs.to(operator.device, operator.dtype)


def _apply(operator: Operator, vectors: Tensor) -> Tensor:
    """The products with vectors [S, r, P], for an operator with S lanes or none (then S = 1)."""
    columns = vectors.transpose(0, 1) if operator.lanes else vectors[0]
    products = operator.products(columns.contiguous())
    return products.transpose(0, 1) if operator.lanes else products[None]


def _dots(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(-1, dtype=torch.float64).cpu()


def _mean(draws: Tensor, offset: float) -> Estimate:
    """`offset` plus the mean of draws [r], with the mean's standard error."""
    count = len(draws)
    error = float(draws.std() / math.sqrt(count)) if count > 1 else math.inf
    return Estimate(offset + float(draws.mean()), "estimate", error)


def hutchinson(
    operator: Operator,
    generator: torch.Generator,
    *,
    probes: int = 10,
    offset: float = 0.0,
    precision: float | None = None,
    max_probes: int = 100,
) -> list[Estimate]:
    """The trace as the mean of ``z'Az`` over random signs z (Hutchinson 1990); its error falls like ``probes^-1/2``.

    For at most `probes` parameters the diagonal is computed entry by entry: exact.

    Args:
        operator: a symmetric matrix [P, P], or one for each of S lanes.
        generator: what the signs are drawn from, on the CPU; all lanes get the same.
        probes: vectors that are drawn at a time.
        offset: a part of the trace that is known, which is added.
        precision: if given, probes are drawn until every lane's standard error is at most this share of its value.
        max_probes: the most probes for it.

    Returns:
        One estimate for each lane, with its standard error; a single network is one lane.

    Example:
        The loss ``mean (x·w)²`` with X = diag(1, 2) has the Hessian diag(1, 4).

        >>> from torch.nn.functional import mse_loss
        >>> from suite.curvature import Hessian, Network
        >>> from suite.task import Split
        >>> data = Split(torch.diag(torch.tensor([1.0, 2.0])), torch.zeros(2, 1))
        >>> hessian = Hessian(Network(torch.nn.Linear(2, 1, bias=False)), data, mse_loss)
        >>> trace = hutchinson(hessian, torch.Generator().manual_seed(0))[0]
        >>> float(trace), trace.kind
        (5.0, 'exact')
        >>> float(hutchinson(hessian, torch.Generator().manual_seed(0), probes=1, offset=10.0)[0])
        15.0
    """
    lanes = operator.lanes or 1
    if operator.size <= probes:
        unit = torch.eye(operator.size, dtype=operator.dtype, device=operator.device).expand(lanes, -1, -1)
        return [Estimate(offset + float(trace)) for trace in _dots(unit, _apply(operator, unit)).sum(1)]
    draws = torch.empty(lanes, 0, dtype=torch.float64)
    while True:
        z = _signs(operator, probes, generator).expand(lanes, -1, -1)
        draws = torch.cat([draws, _dots(z, _apply(operator, z))], dim=1)
        traces = [_mean(draw, offset) for draw in draws]
        precise = precision is None or all(trace.error <= precision * abs(trace) for trace in traces)
        if precise or draws.shape[1] + probes > max_probes:
            return traces


def hutch_plus_plus(operator: Operator, generator: torch.Generator, *, products: int = 30) -> list[Estimate]:
    """The trace by Hutch++ (Meyer et al. 2021, arXiv:2010.09649): exact on a sketched range, Hutchinson on the rest.

    Better than `hutchinson` where few eigenvalues carry the trace: its error falls like ``1 / products``.

    Args:
        operator: a symmetric matrix [P, P], or one for each of S lanes.
        generator: what the sketch and the probes are drawn from, on the CPU; all lanes get the same.
        products: a third each for the sketch, the exact part and the rest; six at least are taken.

    Returns:
        One estimate for each lane, with its standard error; a single network is one lane.
    """
    lanes, rank = operator.lanes or 1, max(2, products // 3)
    if operator.size <= products:
        return hutchinson(operator, generator, probes=products)
    sketch = _apply(operator, _signs(operator, rank, generator).expand(lanes, -1, -1))
    basis = torch.linalg.qr(sketch.mT).Q.mT  # [S, r, P], rows orthonormal
    exact = _dots(basis, _apply(operator, basis)).sum(1)
    probes = _signs(operator, rank, generator).expand(lanes, -1, -1)
    rest = probes - (probes @ basis.mT) @ basis
    draws = _dots(rest, _apply(operator, rest))
    return [_mean(draw, float(part)) for draw, part in zip(draws, exact, strict=True)]
