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
    """`offset` plus the mean of draws [r], as an estimate."""
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
    """`offset` (a part that is known) plus the trace, as the mean of ``z'Az`` over random signs z (Hutchinson 1990).

    With `precision` more probes are drawn until every lane's standard error is at most that share of its value, or
    `max_probes` are spent. For at most `probes` parameters the diagonal is taken entry by entry: exact.
    """
    lanes = operator.lanes or 1
    if operator.size <= probes:
        unit = torch.eye(operator.size, dtype=operator.dtype, device=operator.device).expand(lanes, -1, -1)
        return [Estimate(offset + float(each)) for each in _dots(unit, _apply(operator, unit)).sum(1)]
    draws = torch.empty(lanes, 0, dtype=torch.float64)
    while True:
        z = _signs(operator, probes, generator).expand(lanes, -1, -1)
        draws = torch.cat([draws, _dots(z, _apply(operator, z))], dim=1)
        values = [_mean(each, offset) for each in draws]
        precise = precision is None or all(value.error <= precision * abs(value) for value in values)
        if precise or draws.shape[1] + probes > max_probes:
            return values


def hutch_plus_plus(operator: Operator, generator: torch.Generator, *, products: int = 30) -> list[Estimate]:
    """The trace by Hutch++ (Meyer et al. 2021, arXiv:2010.09649): exact on a sketched range, Hutchinson on the rest.

    Better than `hutchinson` where few eigenvalues carry the trace: its error falls like ``1 / products``. At least six
    products.
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
    return [_mean(each, float(known)) for each, known in zip(draws, exact, strict=True)]
