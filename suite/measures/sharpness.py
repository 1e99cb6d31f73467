"""Sharpness: how much the training loss rises when the weights are perturbed, at worst or on average.

The adaptive measures perturb relative to each weight: such perturbations commute with every rescaling between the
layers or neurons of a ReLU network (Kwon et al. 2021, arXiv:2102.11600).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from suite.estimate import Estimate
from suite.measures.canonical import Form, Unproved, canonical_form, replayed
from suite.measures.context import MeasureContext, sample_mean
from suite.measures.registry import CANONICAL, LOGIT_SHIFT, RELATIVE, declare
from suite.measures.trace import Arguments, Change, called
from suite.seeding import torch_stream

RADIUS = 0.05
"""The ball of Foret et al. 2021: the default rho of SAM."""
ADAPTIVE_RADIUS = 0.5
"""The default rho of adaptive SAM (Kwon et al. 2021)."""
STEPS = 20
"""Steps of the ascent."""

NOISE = 0.01
RELATIVE_NOISE = 0.2
PAIRS = 10
"""Pairs of perturbations z and -z over which a rise is averaged.

What is linear in z cancels: a training loss at a matched value is no minimum, so that its gradient would be noise.
"""
DRAWS = 2 * PAIRS

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

        def rise(move: Tensor) -> float:
            _move(context, start + move)
            return context.training_loss() - base

        rises = []
        for _ in range(PAIRS):
            draws = [torch.randn(leaf.shape, generator=stream) for leaf in context.network.leaves]
            move = noise * scale * context.network.flatten(draws).to(start)
            rises.append((rise(move) + rise(-move)) / 2)
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
    return context.once_here(
        "elementwise_sharpness", lambda: _mean_rise(context, context.network.weights(), RELATIVE_NOISE)
    )


@declare_canonical(invariances=CANONICAL)
def adaptive_sharpness(context: MeasureContext) -> Estimate:
    """Mean rise of the loss when every weight of the canonical form is multiplied by ``1 + 0.2 z``, z ~ N(0, 1).

    The draws follow the neurons, in whatever order the weights list them.
    """
    return _canonical_rise(context, logit_shift=False)


@declare_canonical(invariances=CANONICAL | {LOGIT_SHIFT})
def canonical_sharpness(context: MeasureContext) -> Estimate:
    """`adaptive_sharpness`, for cross-entropy without what all classes' weights have in common."""
    return _canonical_rise(context, logit_shift=context.is_entropy)


def _canonical_rise(context: MeasureContext, *, logit_shift: bool) -> Estimate:
    """The mean rise under relative noise in the canonical form, or of the parameters if there is no proof of it."""
    form = _form(context, logit_shift)
    if isinstance(form, str):
        value = elementwise_sharpness(context)
        note = f"Not canonical: it is not proved which changes of the weights leave the network alone, because {form}."
        return Estimate(value, value.kind, value.error, note)
    both = context.once_here("rises in both forms", lambda: _rises_in_both_forms(context))
    if both is not None:
        return both[logit_shift]
    return _rises(context, form)


def _form(context: MeasureContext, logit_shift: bool) -> Form | str:
    """The canonical form, or why there is none."""

    def found() -> Form | str:
        try:
            return canonical_form(context, logit_shift=logit_shift)
        except Unproved as error:
            return str(error)

    return context.once(f"canonical form, {logit_shift}", found)


def _rises(context: MeasureContext, form: Form) -> Estimate:
    """The mean rise under relative noise in a form."""
    stream, (x, y) = torch_stream("adaptive_sharpness"), (context.train.x, context.train.y)

    def loss(noise: Sequence[Tensor] | None = None) -> float:
        return context.loss(form.outputs(context, x, noise), y).item()

    base = loss()
    rises = []
    for _ in range(PAIRS):
        noise = _noise(form, _draws(form, stream))
        rises.append((loss(noise) + loss([-each for each in noise])) / 2 - base)
    return sample_mean(torch.tensor(rises, dtype=torch.float64))


def _draws(form: Form, stream: torch.Generator) -> list[Tensor]:
    return [
        torch.randn(scale.numel(), generator=stream)[places].view(scale.shape)
        for (_, _, scale), places in zip(form.scales, form.places, strict=True)
    ]


def _noise(form: Form, draws: Sequence[Tensor]) -> list[Tensor]:
    return [RELATIVE_NOISE * size * z.to(size) for size, z in zip(form.sizes, draws, strict=True)]


def _rises_in_both_forms(context: MeasureContext) -> tuple[Estimate, Estimate] | None:
    """The rises without and with logit shifts taken out, where the forms differ in the last call alone, else None.

    Draws are the same for both, so up to the last call every perturbed network is run once for both.
    """
    plain, shifted = (_form(context, logit_shift) for logit_shift in (False, context.is_entropy))
    if isinstance(plain, str) or isinstance(shifted, str):
        return None
    if plain is shifted:
        rise = _rises(context, plain)
        return rise, rise
    last = shifted.only_difference(plain)
    if last is None or not plain.has_the_noise_of(shifted, last):
        return None
    stream, (x, y) = torch_stream("adaptive_sharpness"), (context.train.x, context.train.y)

    def losses(draws: Sequence[Tensor] | None) -> Tensor:
        """The losses [2] of both forms."""
        changed, others = (form.calls(None if draws is None else _noise(form, draws)) for form in (shifted, plain))
        own: Change = called
        first, second = others.get(last, own), changed.get(last, own)
        found: list[Tensor] = []

        def both(func: Callable[..., Tensor], name: str, arguments: Arguments) -> Tensor:
            found.append(second(func, name, arguments))
            return first(func, name, arguments)

        outputs = replayed(context, x, {**others, last: both})
        return torch.stack([context.loss(outputs, y), context.loss(torch.cat(found), y)]).double().cpu()

    base = losses(None)
    rises = []
    for _ in range(PAIRS):
        draws = _draws(shifted, stream)
        rises.append((losses(draws) + losses([-z for z in draws])) / 2 - base)
    without, centred = (sample_mean(column) for column in torch.stack(rises, 1))
    return without, centred
