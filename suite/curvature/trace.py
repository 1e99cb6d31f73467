"""The trace of the Hessian, and of any symmetric matrix: exact where possible, else random, with a standard error.

trace of the Hessian = trace of the Gauss-Newton matrix     exact, from per-sample gradients
                     + trace of the network's own curvature zero if the network is piecewise multilinear (as ReLU
                                                            networks are), else small at a solution: Hutchinson
without per-sample gradients, or for a loss that is no mean over samples: Hutchinson for the whole
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from suite.curvature.ggn_diagonal import gauss_newton_diagonal, is_piecewise_multilinear, output_factors
from suite.curvature.network import Network
from suite.curvature.operators import Hessian, NetworkCurvature, Operator, SampledCurvature, Scaled
from suite.curvature.per_sample import squared_norms
from suite.errors import InputError
from suite.estimate import Estimate
from suite.seeding import torch_stream
from suite.task import Loss, Split

PRECISION = 0.05
"""Standard error, as a share of the value, up to which a random trace of the Hessian is refined."""

MAX_PROBES = 60

SAMPLED_SHARE, MIN_SAMPLED = 64, 16
"""A random trace is taken on a random 64th of the samples at a time, but on so many at least.

The samples' parts of one product are alike: of a vision transformer on 128 digits, which sixteen of them are seen adds
0.36 of the variance over probes to the trace, and 1.0 to that in relative coordinates. So more probes of fewer samples
have the smaller error for the same work.
"""

FEWEST = 8 * MIN_SAMPLED
"""Of fewer samples every probe sees all."""

MAX_SAMPLED = 15
"""Work, in probes of all samples, up to which a trace is refined on parts of them: as small an error as with 60."""

PROBES_OF_REST = 5
"""Probes of all samples that are drawn at a time if the Gauss-Newton part is exact: the rest's standard error is then 1
to 3 % of the whole. Twice as many where each sees a part of the samples: then it is no larger."""


def hessian_trace(
    network: Network,
    data: Split,
    loss: Loss,
    *,
    diagonal: Tensor | None = None,
    chunk: int | None = None,
    once: Callable[[str, Callable[[], Any]], Any] = lambda _, compute: compute(),
) -> Estimate:
    """The trace of the Hessian H, or of ``D H D``: exact for piecewise multilinear networks, such as ReLU networks.

    Args:
        network: one model with P parameters.
        data: samples [n, ...] and targets.
        loss: a mean over samples, unless `chunk` is n.
        diagonal: the diagonal [P] of D.
        chunk: None for a loss that is a mean over samples; n for another, which then needs all samples at once.
        once: (name, compute) -> result, which may keep what several traces of one network share: whether it is
            piecewise multilinear (``is_piecewise_multilinear``); and the outputs (``train_outputs``), which are
            computed on the way without `diagonal`.
    """
    gauss_newton: float | None = None
    if chunk is None:
        try:
            if diagonal is None:
                gauss_newton, outputs = gauss_newton_trace(network, data, loss)
                once("train_outputs", lambda: outputs)
            else:
                entries = network.flatten(gauss_newton_diagonal(network, data, loss))
                gauss_newton = float(entries.double() @ diagonal.square().double())
        except InputError:
            pass  # the network cannot be differentiated sample by sample
    if gauss_newton is not None and not math.isfinite(gauss_newton):
        raise InputError("The Gauss-Newton matrix is not finite.")
    if gauss_newton is not None and once("is_piecewise_multilinear", lambda: is_piecewise_multilinear(network, data.x)):
        return Estimate(gauss_newton)

    def scaled(operator: Operator) -> Operator:
        return operator if diagonal is None else Scaled(operator, diagonal)

    if gauss_newton is None:
        whole = Hessian(network, data, loss, chunk=chunk, keep_graphs=False)  # all probes in one call
        return _refined(scaled(whole), torch_stream("hessian_trace"), probes=2 * PROBES_OF_REST)
    rest = scaled(NetworkCurvature(network, data, loss, keep_graphs=False))
    samples, stream = max(MIN_SAMPLED, len(data) // SAMPLED_SHARE), torch_stream("hessian_trace", "samples")
    drawn: Callable[[], Operator] | None = None
    probes = MAX_PROBES
    if len(data) >= FEWEST:

        @functools.cache
        def slopes() -> Tensor:
            outputs = once("train_outputs", lambda: _outputs(network, data.x))
            return sizes_of_slopes(loss, outputs, data.y)

        def draw() -> Operator:
            return scaled(SampledCurvature(network, data, loss, slopes(), samples, stream))

        drawn, probes = draw, MAX_SAMPLED * len(data) // (2 * samples)  # with its graph each costs twice its share
    return hutchinson(
        rest,
        torch_stream("hessian_trace"),
        probes=PROBES_OF_REST if drawn is None else 2 * PROBES_OF_REST,
        offset=gauss_newton,
        precision=PRECISION,
        max_probes=probes,
        drawn=drawn,
    )[0]


@torch.no_grad()
def _outputs(network: Network, x: Tensor) -> Tensor:
    return torch.cat([network.outputs(part) for part in torch.split(x, network.chunk(x))])


def sizes_of_slopes(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """The norms [n] of the loss's slopes in the outputs [n, ...] of every sample; all 1 where all are 0."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(at, y) * len(at), at)
    sizes = slope.reshape(len(at), -1).norm(dim=1)
    return sizes if bool(sizes.any()) else torch.ones_like(sizes)


def estimated_trace(operator: Operator, generator: torch.Generator) -> Estimate:
    """The trace of any symmetric matrix: exact for at most `MAX_PROBES` rows, else refined up to as many probes."""
    if operator.size == 0:
        return Estimate(0.0)
    probes = operator.size if operator.size <= MAX_PROBES else 2 * PROBES_OF_REST
    return _refined(operator, generator, probes)


def _refined(operator: Operator, generator: torch.Generator, probes: int) -> Estimate:
    return hutchinson(operator, generator, probes=probes, precision=PRECISION, max_probes=MAX_PROBES)[0]


def gauss_newton_trace(network: Network, data: Split, loss: Loss) -> tuple[float, Tensor]:
    """The trace of the Gauss-Newton matrix, in half the time of its diagonal for a fully connected network.

    Also the outputs [n, ...], which are computed on the way. Errors are those of `squared_norms`.
    """
    chunks: list[Tensor] = []

    def factors(outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        chunks.append(outputs.detach())
        return output_factors(loss, outputs, y)

    total = squared_norms(network, data.x, data.y, factors)
    return total / len(data), torch.cat(chunks)


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
    drawn: Callable[[], Operator] | None = None,
) -> list[Estimate]:
    """The trace as the mean of ``z'Az`` over random signs z (Hutchinson 1990); its error falls like ``probes^-1/2``.

    For at most `probes` parameters the diagonal is computed entry by entry: exact.

    Signs are drawn on the CPU, the same for all lanes, `probes` at a time; each lane gets one estimate. With a
    `precision`, up to `max_probes` are drawn until every standard error is at most that share of its value. `offset` is
    a part of the trace that is known, which is added. `drawn` gives random matrices whose expectation is the operator:
    every probe is taken with another of them. The estimate stays without bias, and its error holds both kinds of
    chance.

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
        if drawn is None:
            products = _apply(operator, z)
        else:
            products = torch.cat([_apply(drawn(), probe[:, None]) for probe in z.unbind(1)], dim=1)
        draws = torch.cat([draws, _dots(z, products)], dim=1)
        traces = [_mean(draw, offset) for draw in draws]
        precise = precision is None or all(trace.error <= precision * abs(trace) for trace in traces)
        if precise or draws.shape[1] + probes > max_probes:
            return traces
