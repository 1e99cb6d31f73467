"""Smoothness of the function that a network computes, in its inputs.

What is measured along paths is measured on straight segments between pairs of training inputs, the same for every
solution; for scalar inputs, on the one segment from the smallest to the largest. All of it looks at the function alone,
so nothing that leaves the function alone can move it.
"""

from __future__ import annotations

import copy

import scipy.fft
import torch
from torch import Tensor

from suite.errors import InputError
from suite.measures.context import MeasureContext
from suite.measures.registry import CANONICAL, declare
from suite.seeding import torch_stream

SEGMENTS = 10


POINTS = 1001


FREQUENCIES = 16


KINK = 1e-7
"""Share of the largest change of slope from which on a change counts as a kink."""


ROUNDING = 1e-9
"""Changes of slope below this share of the largest output are rounding: 1e-15 of it, times 1,000 points a unit."""


def _ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end of every segment, [m, ...] each, in float64."""
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


@torch.no_grad()
def along_segments(subject: MeasureContext) -> Tensor:
    """Outputs [m, POINTS, C] at equal distances along every segment, in float64, at the subject's logit scale."""
    exact = copy.deepcopy(subject.model).to(torch.float64)
    starts, ends = _ends(subject.train.x)
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=starts.device)
    t = t.view(-1, *[1] * (starts.dim() - 1))
    rows = []
    for start, end in zip(starts, ends, strict=True):
        inputs = start + t * (end - start)
        parts = torch.split(inputs, subject.network.chunk(subject.train.x))
        rows.append(torch.cat([exact(part).reshape(len(part), -1) for part in parts]))
    outputs: Tensor = subject.logit_scale * torch.stack(rows)
    return outputs


def _slope_changes(values: Tensor) -> Tensor:
    """Norms over the outputs of the changes of slope at every inner point, [m, POINTS - 2], per unit of length 1."""
    changes: Tensor = torch.linalg.vector_norm(torch.diff(values, n=2, dim=1), dim=2)
    return changes * (POINTS - 1)


@declare(
    unit="output",
    scale="log",
    higher=False,
    cost=3,
    source="Savarese et al. 2019, arXiv:1902.05040",
    invariances=CANONICAL,
)
def derivative_variation(subject: MeasureContext) -> float:
    """Total variation of the derivative along segments between data points, each of length 1; mean over segments."""
    return float(_slope_changes(along_segments(subject)).sum(1).mean())


@declare(
    unit="regions",
    scale="log",
    higher=False,
    cost=3,
    source="Hanin and Rolnick 2019, arXiv:1901.09021; Raghu et al. 2017, arXiv:1606.05336",
    invariances=CANONICAL,
)
def linear_regions(subject: MeasureContext) -> float:
    """Linear regions that a segment between data points crosses, mean over segments: 1 for a linear function.

    Counted from the function itself, as cells of a grid of 1,000 that hold a kink; two in one cell count once, and a
    smooth network bends in all of them.
    """
    values = along_segments(subject)
    changes = _slope_changes(values)
    bent = changes > torch.maximum(KINK * changes.amax(), ROUNDING * values.abs().amax())
    # A kink inside a cell bends the samples at both of its ends: a run of r bent samples holds r - 1 kinks, and a kink
    # on a sample makes a run of 1.
    starts = bent & ~torch.nn.functional.pad(bent, (1, 0))[:, :-1]
    single = starts & ~torch.nn.functional.pad(bent, (0, 1))[:, 1:]
    kinks = bent.sum(1) - starts.sum(1) + single.sum(1)
    return 1 + float(kinks.double().mean())


@declare(
    unit="share",
    scale="log",
    higher=None,
    cost=3,
    source="Rahaman et al. 2019, arXiv:1806.08734",
    invariances=CANONICAL,
)
def fourier_energy(subject: MeasureContext) -> dict[str, float]:
    """Share of the energy at each frequency (1 to 16 half waves, then the rest) along segments between data points.

    The line between a segment's ends is taken off and what is left, which is 0 at both, expanded in sines: so a segment
    need not be periodic, and no frequency leaks into another.
    """
    values = along_segments(subject)
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=values.device)[None, :, None]
    inner = (values - (1 - t) * values[:, :1] - t * values[:, -1:])[:, 1:-1]
    sines = scipy.fft.dst(inner.cpu().numpy(), type=1, axis=1)
    energy = (sines**2).sum((0, 2))
    shares = energy / max(energy.sum(), 1e-300)
    low = {str(number + 1): float(shares[number]) for number in range(FREQUENCIES)}
    return {**low, "rest": float(shares[FREQUENCIES:].sum())}


@declare(
    unit="loss / input",
    scale="log",
    higher=False,
    cost=1.5,
    source="Drucker and Le Cun 1992; Ross and Doshi-Velez 2018, arXiv:1711.09404",
    invariances=CANONICAL,
)
def input_gradient_norm(subject: MeasureContext) -> float:
    """Mean over samples of the l2 norm of the loss's gradient in the input, at matched training loss.

    Raises:
        InputError: the inputs are no floating-point numbers, or the loss is not a mean over samples.
    """
    if subject.chunk is not None:
        raise InputError("The gradient of one sample's loss needs a loss that is a mean over samples.")
    total = 0.0
    for x, y in _chunks(subject):
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            loss = subject.loss(subject.outputs(inputs), y) * len(x)
            (gradient,) = torch.autograd.grad(loss, inputs, materialize_grads=True)
        total += float(torch.linalg.vector_norm(gradient.flatten(1).double(), dim=1).sum())
    return total / len(subject.train)


@declare(
    unit="output / input",
    scale="log",
    higher=False,
    cost=10,
    source="Novak et al. 2018, arXiv:1802.08760",
    invariances=CANONICAL,
)
def jacobian_norm(subject: MeasureContext) -> float:
    """Mean over samples of the Frobenius norm of the outputs' Jacobian in the input, at matched training loss.

    One backward pass an output.
    """
    total = 0.0
    for x, _ in _chunks(subject):
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            outputs = subject.outputs(inputs).reshape(len(x), -1).sum(0)
        squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for output in outputs:
            if output.requires_grad:
                (row,) = torch.autograd.grad(output, inputs, retain_graph=True, materialize_grads=True)
                squares += row.flatten(1).double().square().sum(1)
        total += float(squares.sqrt().sum())
    return subject.logit_scale * total / len(subject.train)


def _chunks(subject: MeasureContext) -> list[tuple[Tensor, Tensor]]:
    x, y = subject.train.x, subject.train.y
    if not x.is_floating_point():
        raise InputError("A derivative in the input needs inputs that are floating-point numbers.")
    size = subject.network.chunk(x)
    return list(zip(torch.split(x, size), torch.split(y, size), strict=True))
