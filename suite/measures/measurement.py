"""Taking measures of a network: any trained module, any data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from suite.errors import InputError
from suite.estimate import Estimate
from suite.measures.context import MATCHED_LOSS, MeasureContext
from suite.measures.registry import LOGIT_SCALE, Measure, find_measure
from suite.models.modes import evaluating
from suite.task import Loss, Split

Data = Split | tuple[Tensor, Tensor]


ROUNDING = 1e-3
"""Relative difference of outputs that are the same but for rounding, generously."""


def measure(
    model: nn.Module,
    data: Data,
    names: Iterable[str],
    *,
    loss: Loss | None = None,
    test: Data | None = None,
    initial: Mapping[str, Tensor] | None = None,
    matched_loss: float = MATCHED_LOSS,
) -> dict[str, Estimate]:
    """The measures `names` of `model` on its training data ``(x, y)``, each with the kind of its answer.

    The network is measured in eval mode and left as it was found. `loss(outputs, targets)` is a scalar; without it,
    cross-entropy for integer labels and mean squared error otherwise. `test` and `initial` (the weights before
    training, by name) are needed by the measures that say so. Cross-entropy and its curvature shrink when logits merely
    grow: a measure that declares invariance to the logits' scale is taken with the logits scaled to a training loss of
    `matched_loss` (see `temperature`). A measure of every layer gives one entry a layer, ``name/layer``.

    Raises:
        InputError: a name is unknown, something that a measure needs is missing, a sample's outputs depend on other
            samples or on chance, the loss is not finite, or no scaling of the logits reaches `matched_loss`.
    """
    wanted = [find_measure(name) for name in names]
    train = _on_device_of(model, data)
    # Fused attention kernels have no second derivative.
    with evaluating(model), sdpa_kernel(SDPBackend.MATH):
        _check_samples_are_independent(model, train.x)
        plain = MeasureContext(
            model,
            train,
            loss,
            test=None if test is None else _on_device_of(model, test),
            initial=initial,
            matched_loss=matched_loss,
        )
        for each in wanted:
            _check_needs(each, plain)
        values: dict[str, Estimate] = {}
        try:
            for each in wanted:
                values |= _take(each, plain.matched if LOGIT_SCALE in each.invariances else plain)
        finally:
            _check_finite(plain)  # last: many measures leave it the outputs; if one failed, this may be why
        return values


def _on_device_of(model: nn.Module, data: Data) -> Split:
    x, y = (data.x, data.y) if isinstance(data, Split) else data
    if len(x) == 0 or len(x) != len(y):
        raise InputError(f"There must be as many inputs as targets, and at least one; there are {len(x)} and {len(y)}.")
    weight = next((p for p in model.parameters() if p.requires_grad), None)
    if weight is None:
        raise InputError("The network has no parameters that require gradients: there is nothing to measure.")

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else tensor.dtype)

    return Split(move(x), move(y))


@torch.no_grad()
def _check_samples_are_independent(model: nn.Module, x: Tensor) -> None:
    """Values would hang on how many samples are worked on at once, which is ours to choose."""
    if len(x) < 3:
        return
    together, fewer = model(x[:3])[:2], model(x[:2])
    if torch.linalg.vector_norm(together - fewer) > ROUNDING * torch.linalg.vector_norm(together):
        raise InputError(
            "In eval mode the outputs for a sample change with the others in its batch, or from call to call: such a "
            "network has no training loss that could be measured."
        )


def _check_finite(subject: MeasureContext) -> None:
    value = subject.loss(subject.train_outputs, subject.train.y)
    if value.dim() != 0:
        raise InputError(f"The loss must be a scalar, not of shape {tuple(value.shape)}.")
    if not math.isfinite(value.item()):
        raise InputError(f"The training loss is {value.item()}: such a network cannot be measured.")


def _check_needs(wanted: Measure, subject: MeasureContext) -> None:
    given = {
        "initial": subject.initial is not None,
        "test": subject.test is not None,
        "labels": not subject.train.y.is_floating_point(),
        "images": subject.train.x.dim() == 4,
    }
    texts = {
        "initial": "the weights before training (initial=)",
        "test": "test data (test=)",
        "labels": "integer labels",
        "images": "images, [n, channels, height, width]",
    }
    for need in wanted.needs:
        if not given.get(need, True):
            raise InputError(f"The measure {wanted.name!r} needs {texts[need]}.")


def _take(wanted: Measure, subject: MeasureContext) -> dict[str, Estimate]:
    result = wanted.function(subject)
    if isinstance(result, Mapping):
        return {f"{wanted.name}/{part}": _as_value(number) for part, number in result.items()}
    return {wanted.name: _as_value(result)}


def _as_value(number: float) -> Estimate:
    return number if isinstance(number, Estimate) else Estimate(number)
