"""Sharpness: how much the training loss rises when the weights are perturbed, at worst or on average.

The adaptive measures perturb relative to each weight: such perturbations commute with every rescaling between the
layers or neurons of a ReLU network (Kwon et al. 2021, arXiv:2102.11600).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from suite.estimate import Estimate
from suite.measures.canonical import Form, Unproved, canonical_form
from suite.measures.context import MeasureContext, sample_mean
from suite.measures.registry import CANONICAL, LOGIT_SHIFT, RELATIVE, declare
from suite.seeding import torch_stream

RADIUS = 0.05
"""The ball of Foret et al. 2021: the default rho of SAM."""
ADAPTIVE_RADIUS = 0.5
"""The default rho of adaptive SAM (Kwon et al. 2021)."""
STEPS = 20
"""Steps of the ascent."""

NOISE = 0.01
RELATIVE_NOISE = 0.2
DRAWS = 20
"""Perturbations over which a rise is averaged."""

declare_adaptive = partial(
    declare,
    unit="loss",
    source="Kwon et al. 2021, arXiv:2102.11600; Andriushchenko et al. 2023, arXiv:2302.07011",
    invariances=RELATIVE,
)
declare_canonical = partial(
    declare,
    kind="estimate",
    unit="loss",
    cost=DRAWS / 2,
    source="Andriushchenko et al. 2023, arXiv:2302.07011; da Silva et al. 2025, arXiv:2505.05409",
)


@contextlib.contextmanager
def _perturbed(context: MeasureContext) -> Iterator[Tensor]:
    """The weights as a vector [P]; afterwards every weight is as it was."""
    start = context.network.weights()  # a copy
    try:
        yield start
    finally:
        _move(context, start)


@torch.no_grad()
def _move(context: MeasureContext, weights: Tensor) -> None:
    for leaf, value in zip(context.network.leaves, context.network.split(weights), strict=True):
        leaf.copy_(value)


def _rise_in_ball(context: MeasureContext, scale: Tensor, radius: float) -> float:
    """A lower bound of the largest rise of the loss over ``theta + scale * d`` with ``|d| <= radius``.

    Projected ascent: `STEPS` normalised gradient steps, the first as long as the radius (SAM's step), the others a
    quarter of it, each projected to the ball. The best point counts.
    """
    with _perturbed(context) as start:
        direction = torch.zeros_like(start)
        base, gradient = context.loss_and_gradient()
        best = 0.0
        for step in range(STEPS):
            ascent = scale * gradient
            norm = torch.linalg.vector_norm(ascent)
            if not norm > 0:
                break
            direction = direction + ascent * (radius if step == 0 else radius / 4) / norm
            direction = direction * (radius / torch.linalg.vector_norm(direction).clamp_min(radius))
            _move(context, start + scale * direction)
            loss, gradient = context.loss_and_gradient()
            best = max(best, loss - base)
        return best


def _mean_rise(context: MeasureContext, scale: Tensor, noise: float) -> Estimate:
    """The mean rise of the loss over ``theta + noise * scale * z``, z ~ N(0, 1): the same draws for equal shapes."""
    stream = torch_stream("adaptive_sharpness")
    with _perturbed(context) as start:
        base = context.training_loss()
        rises = []
        for _ in range(DRAWS):
            draws = [torch.randn(leaf.shape, generator=stream) for leaf in context.network.leaves]
            z = context.network.flatten(draws).to(start)
            _move(context, start + noise * scale * z)
            rises.append(context.training_loss() - base)
    return sample_mean(torch.tensor(rises, dtype=torch.float64))


@declare(kind="bound", unit="loss", cost=STEPS, source="Foret et al. 2021, arXiv:2010.01412")
def worst_case_sharpness(context: MeasureContext) -> float:
    """Largest rise of the loss in an l2 ball of radius 0.05 around the weights: a lower bound, by projected ascent."""
    return _rise_in_ball(context, torch.ones_like(context.network.weights()), RADIUS)


@declare_adaptive(kind="bound", cost=STEPS)
def adaptive_worst_case_sharpness(context: MeasureContext) -> float:
    """Largest rise of the loss over relative changes ``|d / theta|_2 <= 0.5`` of the weights.

    A lower bound, by projected ascent.
    """
    return _rise_in_ball(context, context.network.weights(), ADAPTIVE_RADIUS)


@declare(kind="estimate", unit="loss", cost=DRAWS / 2, source="Neyshabur et al. 2017, arXiv:1706.08947")
def average_sharpness(context: MeasureContext) -> Estimate:
    """Mean rise of the loss when N(0, 0.01²) is added to every weight."""
    return _mean_rise(context, torch.ones_like(context.network.weights()), NOISE)


@declare_adaptive(kind="estimate", cost=DRAWS / 2)
def elementwise_sharpness(context: MeasureContext) -> Estimate:
    """Mean rise of the loss when every parameter is multiplied by ``1 + 0.2 z``, z ~ N(0, 1)."""
    return _mean_rise(context, context.network.weights(), RELATIVE_NOISE)


@declare_canonical(invariances=CANONICAL)
def adaptive_sharpness(context: MeasureContext) -> Estimate:
    """Mean rise of the loss when every weight of the canonical form is multiplied by ``1 + 0.2 z``, z ~ N(0, 1)."""
    return _canonical_rise(context, logit_shift=False)


@declare_canonical(invariances=CANONICAL | {LOGIT_SHIFT})
def canonical_sharpness(context: MeasureContext) -> Estimate:
    """`adaptive_sharpness`, for cross-entropy without what all classes' weights have in common."""
    return _canonical_rise(context, logit_shift=context.is_entropy)


def _canonical_rise(context: MeasureContext, *, logit_shift: bool) -> Estimate:
    """The mean rise under relative noise in the canonical form: that of the parameters if they are in it."""

    def found() -> Form | str:
        try:
            return canonical_form(context, logit_shift=logit_shift)
        except Unproved as error:
            return str(error)

    form = context.once(f"canonical form, {logit_shift}", found)
    if isinstance(form, str):
        value = _mean_rise(context, context.network.weights(), RELATIVE_NOISE)
        note = f"Not canonical: it is not proved which changes of the weights leave the network alone, because {form}."
        return Estimate(value, value.kind, value.error, note)
    if form.is_own:
        return _mean_rise(context, context.network.weights(), RELATIVE_NOISE)
    stream, (x, y) = torch_stream("adaptive_sharpness"), (context.train.x, context.train.y)
    base = context.loss(form.outputs(context, x), y).item()
    rises = []
    for _ in range(DRAWS):
        noise = [RELATIVE_NOISE * scale * torch.randn(scale.shape, generator=stream) for _, _, scale in form.scales]
        rises.append(context.loss(form.outputs(context, x, noise), y).item() - base)
    return sample_mean(torch.tensor(rises, dtype=torch.float64))
