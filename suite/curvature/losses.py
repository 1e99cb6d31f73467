"""Losses as sums over samples, and as cross-entropy: proved on the data, since a loss does not say what it is.

Curvature is summed over chunks of samples. A plain mean over samples is the mean of its chunks; a mean with weights
(class weights, ignored labels) or a plain sum is not, and a loss that couples samples is no sum over chunks at all.

    points = the outputs, and mixtures of outputs of different samples, at which no slope vanishes by chance
    whole  = slopes of the loss at the points, and its second derivatives along a random direction
    chunk  = the same of the loss on the chunk alone
    if whole, on the chunk's samples, is a factor times chunk: the chunk counts with that factor
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Loss

SINGLE = 8
"""Samples that are tested one by one, before a loss counts as a sum over samples; the others are tested in halves."""


@dataclass(frozen=True)
class Tempered:
    """A loss of outputs times `inverse_temperature`."""

    loss: Loss
    inverse_temperature: float

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.loss(self.inverse_temperature * outputs, y)


class SampleSum:
    """A loss that is a sum over samples, as a mean over them that any chunk of samples enters with its right weight.

    It is called on the outputs of some samples and their numbers, in place of the targets: the mean over chunks,
    weighted by their lengths, has the first and second derivatives of the whole loss, and its value up to a constant.
    """

    def __init__(self, loss: Loss, outputs: Tensor, y: Tensor) -> None:
        """Test `loss` on samples with `outputs` [n, ...] and targets `y` [n, ...].

        Raises:
            InputError: it is no sum over these samples, or cannot be evaluated on some of them.
        """
        self._loss, self._y, self._points = loss, y, _points(outputs)
        self._directions = _draw(outputs, "loss directions") * outputs.std(correction=0).clamp_min(1e-3)
        self._whole = self._derivatives(slice(None))
        self._factors: dict[bytes, float] = {}
        self._tolerance = torch.finfo(outputs.dtype).eps ** 0.6
        if not torch.isfinite(self._whole).all():
            raise InputError("The loss has slopes that are not finite.")
        order = torch.randperm(len(y), generator=torch_stream("loss parts")).to(y.device)
        halves = torch.split(order, (len(y) + 1) // 2)
        for rows in (*halves, *torch.split(order[:SINGLE], 1)):
            self._factor(rows)

    def __call__(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """The loss of the samples numbered `rows` [m], of outputs [m, ...]."""
        factor = self._factor(rows)
        # A chunk of ignored labels has no mean.
        return factor * self._loss(outputs, self._y[rows]) if factor else 0 * outputs.sum()

    def _factor(self, rows: Tensor) -> float:
        """The weight of a chunk in the whole, times n over its length."""
        key = rows.cpu().numpy().tobytes()
        if key not in self._factors:
            self._factors[key] = self._proved_factor(rows)
        return self._factors[key]

    def _proved_factor(self, rows: Tensor) -> float:
        whole, share = self._whole[rows], len(rows) / len(self._y)
        if not whole.any():
            return 0.0
        try:
            part = self._derivatives(rows)
        except Exception as error:
            raise InputError("The loss cannot be evaluated on a part of the samples.") from error
        ratio = float((whole * part).sum() / part.square().sum())
        # A plain mean is one to the last bit.
        for factor in (share, ratio):
            difference = torch.linalg.vector_norm(part * factor - whole)
            if difference <= self._tolerance * torch.linalg.vector_norm(whole):
                return factor / share
        raise InputError("The loss is no sum over samples.")

    def _derivatives(self, rows: Tensor | slice) -> Tensor:
        """Slopes and curvature along the random direction at all points, [m, ...] flattened, in one unit."""
        parts = []
        for point in self._points:
            slope, curved = _slope_and_curvature(self._loss, point[rows], self._y[rows], self._directions[rows])
            parts += [slope, curved]
        return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1).double()


def cross_entropy_weights(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor | None:
    """The weights of a loss that is a weighted sum of the samples' (or positions') cross-entropies; None for another.

    Args:
        loss: any loss.
        outputs: logits [n, classes, ...].
        y: integer labels [n, ...]; those outside the classes are ignored by such a loss.

    Returns:
        Weights like `y`: ``1 / len(y)`` for the plain mean over samples.
    """
    if y.is_floating_point() or outputs.dim() < 2 or y.shape != (len(outputs), *outputs.shape[2:]):
        return None
    known, labels = valid_labels(outputs, y)
    eps = torch.finfo(outputs.dtype).eps
    weights = torch.zeros(y.shape, dtype=torch.float64, device=y.device)
    squares, found = weights.clone(), []
    try:
        # Random logits too: where outputs are confident, cross-entropy has no slope to compare.
        for point in (*_points(outputs), _draw(outputs, "loss logits")):
            at = point.detach().requires_grad_()
            with torch.enable_grad():
                value = loss(at, y)
                (slope,) = torch.autograd.grad(value, at, materialize_grads=True)
            residual = torch.softmax(point.double(), 1)
            residual.scatter_add_(1, labels[:, None], -torch.ones_like(residual[:, :1]))
            weights += (slope * residual).sum(1)
            squares += residual.square().sum(1)
            found.append((slope, residual, value.item(), cross_entropy(point.double(), labels, reduction="none")))
    except Exception:  # a loss that needs other outputs or targets
        return None
    weights = (weights / squares.clamp_min(1e-300)).masked_fill(~known, 0.0)
    largest = float(weights.max())
    for slope, residual, mean, entropies in found:
        total = float((weights * entropies).sum())
        differences = torch.linalg.vector_norm(slope - weights[:, None] * residual, dim=1)
        if not (
            bool((differences <= eps**0.5 * largest).all())
            and math.isclose(mean, total, rel_tol=eps**0.5, abs_tol=100 * eps * float(weights.sum()))
        ):
            return None
    return weights.clamp_min(0.0) if largest > 0 and float(weights.min()) >= -(eps**0.5) * largest else None


def valid_labels(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Which labels are numbers of classes, and the labels with 0 in place of the others."""
    known = (y >= 0) & (y < outputs.shape[1])
    return known, y.masked_fill(~known, 0)


def _points(outputs: Tensor) -> list[Tensor]:
    """The outputs, and two mixtures of the outputs of different samples: they lie in every convex set that those do."""
    points = [outputs.detach()]
    for number, share in enumerate((0.6, 0.9)):
        order = torch.randperm(len(outputs), generator=torch_stream("loss points", number)).to(outputs.device)
        points.append((1 - share) * points[0] + share * points[0][order])
    return points


def _draw(like: Tensor, name: str) -> Tensor:
    return torch.randn(like.shape, generator=torch_stream(name)).to(like)


def _slope_and_curvature(loss: Loss, outputs: Tensor, y: Tensor, direction: Tensor) -> Iterator[Tensor]:
    """The gradient of a loss in the outputs, and its Hessian times `direction`: zeros where torch has none."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(at, y), at, create_graph=True, materialize_grads=True)
    yield slope.detach()
    curved = torch.zeros_like(slope)
    if slope.requires_grad:
        with contextlib.suppress(RuntimeError):  # a loss without a second derivative: measures that need one say so
            (curved,) = torch.autograd.grad(slope, at, direction, materialize_grads=True)
    yield curved.detach()
