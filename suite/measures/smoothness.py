"""Smoothness of the function that a network computes, in its inputs.

Three measures follow the outputs along straight segments between random pairs of training inputs, the same for every
solution; for scalar inputs, along the one segment from the smallest to the largest. All measures here depend on the
function alone, so no change of weights that keeps it can move them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import scipy.fft
import torch
from torch import Tensor

from suite.errors import InputError
from suite.estimate import Estimate
from suite.measures.context import MeasureContext, sample_mean
from suite.measures.registry import CANONICAL, declare
from suite.models import in_double
from suite.seeding import torch_stream
from suite.task import Split

SEGMENTS = 10
POINTS = 1001
"""Points along a segment."""
FREQUENCIES = 16
KINK = 1e-7
"""Share of the largest change of slope from which on a change counts as a kink."""
SLOPE_ROUNDING = 1e-9
"""Changes of slope below this share of the largest output are rounding: 1e-15 of it, times 1,000 points a unit."""

declare_along_segments = partial(declare, kind="estimate", cost=3, invariances=CANONICAL)
declare_derivative = partial(declare, kind="exact", invariances=CANONICAL)


def _ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end of every segment, [m, ...] each, in float64."""
    if not x.is_floating_point():
        raise InputError("Segments between inputs need inputs that are floating-point numbers.")
    exact = x.double()
    if exact[0].numel() == 1:
        order = exact.flatten().argsort()
        return exact[order[:1]], exact[order[-1:]]
    if len(x) < 2:
        raise InputError("Segments between data points need at least two samples.")
    stream = torch_stream("segments")
    firsts = torch.randint(0, len(x), (SEGMENTS,), generator=stream)
    others = (firsts + torch.randint(1, len(x), (SEGMENTS,), generator=stream)) % len(x)
    return exact[firsts], exact[others]


def along_segments(context: MeasureContext) -> Tensor:
    """Outputs [m, POINTS, C] at equal distances along every segment, in float64, times the inverse temperature."""
    outputs = context.once("along_segments", lambda: _along_segments(context))
    return context.inverse_temperature * outputs


@torch.no_grad()
def _along_segments(context: MeasureContext) -> Tensor:
    starts, ends = _ends(context.train.x)
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=starts.device).view(-1, *[1] * (starts.dim() - 1))
    exact, dtype = in_double(context.model, starts[:1])
    rows = []
    for start, end in zip(starts, ends, strict=True):
        inputs = (start + t * (end - start)).to(dtype)
        parts = torch.split(inputs, context.network.chunk(context.train.x))
        rows.append(torch.cat([exact(part).reshape(len(part), -1) for part in parts]).double())
    return torch.stack(rows)


def _slope_changes(values: Tensor) -> Tensor:
    """Norms over the outputs of the changes of slope at every inner point, [m, POINTS - 2], per unit of length 1."""
    return torch.linalg.vector_norm(torch.diff(values, n=2, dim=1), dim=2) * (POINTS - 1)


@declare_along_segments(unit="output", source="Savarese et al. 2019, arXiv:1902.05040")
def derivative_variation(context: MeasureContext) -> Estimate:
    """Total variation of the derivative along segments between data points, each of length 1; mean over segments.

    Slopes are those of chords between neighbouring points, whose variation is at most the derivative's: a lower bound
    on the one segment of scalar inputs.
    """
    variations = _slope_changes(along_segments(context)).sum(1)
    return sample_mean(variations) if len(variations) > 1 else Estimate(variations.item(), "bound")


@declare_along_segments(
    unit="regions", source="Hanin and Rolnick 2019, arXiv:1901.09021; Raghu et al. 2017, arXiv:1606.05336"
)
def linear_regions(context: MeasureContext) -> Estimate:
    """Linear regions that a segment between data points crosses, mean over segments: 1 for a linear function.

    Counted from the function itself, as cells of a grid of 1,000 that hold a kink. Kinks in one cell count once, a cell
    between two neighbours with kinks counts too, and a smooth network bends in all cells.
    """
    values = along_segments(context)
    changes = _slope_changes(values)
    bent = changes > torch.maximum(KINK * changes.amax(), SLOPE_ROUNDING * values.abs().amax())
    # A kink inside a cell bends the samples at both of its ends: a run of r bent samples holds r - 1 kinks, and a kink
    # on a sample makes a run of 1.
    starts = bent & ~torch.nn.functional.pad(bent, (1, 0))[:, :-1]
    single = starts & ~torch.nn.functional.pad(bent, (0, 1))[:, 1:]
    kinks = bent.sum(1) - starts.sum(1) + single.sum(1)
    return sample_mean(kinks.double(), offset=1.0)


@declare_along_segments(unit="share", higher=None, source="Rahaman et al. 2019, arXiv:1806.08734")
def fourier_energy(context: MeasureContext) -> dict[str, float]:
    """Share of the energy at each frequency (1 to 16 half waves, then the rest) along segments between data points.

    The line between a segment's ends is subtracted; the rest, which is 0 at both ends, is expanded in sines. So a
    segment need not be periodic, and no frequency leaks into another.
    """
    values = along_segments(context)
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=values.device)[None, :, None]
    inner = (values - (1 - t) * values[:, :1] - t * values[:, -1:])[:, 1:-1]
    sines = scipy.fft.dst(inner.cpu().numpy(), type=1, axis=1)
    energy = (sines**2).sum((0, 2))
    shares = energy / max(energy.sum(), 1e-300)
    low = {str(number + 1): float(shares[number]) for number in range(FREQUENCIES)}
    return {**low, "rest": float(shares[FREQUENCIES:].sum())}


@declare_derivative(
    unit="loss / input", cost=1.5, source="Drucker and Le Cun 1992; Ross and Doshi-Velez 2018, arXiv:1711.09404"
)
def input_gradient_norm(context: MeasureContext) -> float:
    """Mean over samples of the l2 norm of the loss's gradient in the input, at matched training loss.

    Of a loss that is no plain mean, a sample's loss is its share of the whole times the number of samples.
    """
    if context.at_once is not None:
        raise InputError("The gradient of one sample's loss needs a loss that is a sum or a mean over samples.")
    total = 0.0
    for x, y in _chunks(context, context.samples):
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            loss = context.sample_loss(context.network.outputs(inputs), y) * len(x)
            (gradient,) = torch.autograd.grad(loss, inputs, materialize_grads=True)
        total += float(torch.linalg.vector_norm(gradient.flatten(1).double(), dim=1).sum())
    return total / len(context.train)


@declare_derivative(unit="output / input", cost=10, source="Novak et al. 2018, arXiv:1802.08760")
def jacobian_norm(context: MeasureContext) -> float:
    """Mean over samples of the Frobenius norm of the outputs' Jacobian in the input, at matched training loss.

    It takes one backward pass for each output.
    """
    total = 0.0
    for x, _ in _chunks(context, context.train):
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            outputs = context.network.outputs(inputs).reshape(len(x), -1).sum(0)
        squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for output in outputs:
            if output.requires_grad:
                (row,) = torch.autograd.grad(output, inputs, retain_graph=True, materialize_grads=True)
                squares += row.flatten(1).double().square().sum(1)
        total += float(squares.sqrt().sum())
    return context.inverse_temperature * total / len(context.train)


def _chunks(context: MeasureContext, data: Split) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = data.x, data.y
    if not x.is_floating_point():
        raise InputError("A derivative in the input needs inputs that are floating-point numbers.")
    size = context.network.chunk(x)
    return zip(torch.split(x, size), torch.split(y, size), strict=True)
