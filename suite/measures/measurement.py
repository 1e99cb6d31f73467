"""Taking measures of a network: any trained module, any data."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from suite.errors import InputError, sentence
from suite.estimate import Estimate
from suite.measures.context import MATCHED_LOSS, MeasureContext
from suite.measures.given import (
    Data,
    check_parameters,
    fitting_loss,
    returning_logits,
    samples_of,
    unwrapped,
    without_prefixes,
)
from suite.measures.norms import linear_predictor
from suite.measures.registry import LOGIT_SCALE, Measure, Need, find_measure, measures
from suite.models import copy_of, evaluating
from suite.storage.record import clean
from suite.task import Loss, Split
from suite.training.global_state import settings_preserved

SAME_OUTPUTS = 1e-3
"""Outputs that differ by less than this (relative) count as equal; rounding alone stays far below."""


def _are_classes(outputs: Tensor, y: Tensor) -> bool:
    """Whether targets are classes [n] of outputs [n, classes]."""
    is_label = not y.is_floating_point() and y.dim() == 1 and outputs.dim() == 2
    return is_label and 0 <= int(y.min()) <= int(y.max()) < outputs.shape[1]


NEEDS: Mapping[Need, tuple[str, Callable[[MeasureContext], bool]]] = {
    "initial": ("the weights before training (initial=)", lambda context: context.initial is not None),
    "test": ("test data (test=)", lambda context: context.test is not None),
    "labels": (
        "integer labels, one a sample, of the network's classes",
        lambda context: _are_classes(context.train_outputs, context.train.y),
    ),
    "integers": ("integer labels", lambda context: not context.train.y.is_floating_point()),
    "images": ("images, [n, channels, height, width]", lambda context: context.train.x.dim() == 4),
    "predictor": (
        "a network with a linear predictor: predictor(), matrix() or an nn.Linear",
        lambda context: linear_predictor(context.model) is not None,
    ),
}
"""What a measure may need: how an error calls it, and whether a context has it."""


@dataclass(frozen=True)
class Report:
    """The measures of one network.

    Attributes:
        values: the values by name; a measure with several gives ``name/part`` for each.
        skipped: why other measures have no value, by name.
    """

    values: dict[str, Estimate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """One line a value, with its kind and note; then the reasons why others were not taken."""
        width = max(map(len, [*self.values, *self.skipped]), default=0) + 2
        lines = [
            f"{name:{width}}{value!s:24}{value.kind}{f'. {value.note}' if value.note else ''}"
            for name, value in self.values.items()
        ]
        return "\n".join([*lines, *(f"{name:{width}}not taken: {why}" for name, why in self.skipped.items())])

    def json(self) -> str:
        """The same as JSON: ``{"values": {name: {"value", "kind", "error"}}, "skipped": {name: reason}}``.

        Numbers that are not finite, such as unknown errors, are null. A value that has a note has it here too.
        """
        values = {
            name: {"value": float(v), "kind": v.kind, "error": v.error} | ({"note": v.note} if v.note else {})
            for name, v in self.values.items()
        }
        return json.dumps(clean({"values": values, "skipped": self.skipped}), indent=1)


def measure(
    model: nn.Module,
    data: Data,
    names: Iterable[str],
    *,
    loss: Loss | None = None,
    test: Data | None = None,
    initial: Mapping[str, Tensor] | None = None,
    matched_loss: float | None = MATCHED_LOSS,
) -> dict[str, Estimate]:
    """The measures `names` of `model` on its training data.

    The network is measured in eval mode and left as it was. Cross-entropy and its curvature shrink when logits merely
    grow: a measure that declares invariance to the logits' scale is taken with the logits scaled to a training loss of
    `matched_loss` (see `temperature`).

    Example::

        model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        x = torch.randn(100, 2)
        y = model(x).argmax(1)
        values = measure(model, (x, y), ["lambda_max", "hessian_trace"])
        print(values["lambda_max"], values["lambda_max"].error)
        print(measure_all(model, (x, y)).text())

    Args:
        model: any module; only parameters that require gradients are differentiated. What it returns is a tensor, or
            has one called ``logits`` or no other one. One that was compiled or wrapped by `nn.DataParallel` is taken
            itself.
        data: x [n, ...] and y: integer class labels [n], or real targets of the outputs' shape [n, ...]; as tensors or
            numpy arrays, or a dataset or loader of such pairs. They are moved to the device and, if they are real, the
            dtype of the parameters.
        names: names of measures, as in `measures`.
        loss: (outputs [n, ...], targets [n, ...]) -> scalar; without it, cross-entropy (nats) for integer labels and
            mean squared error otherwise.
        test: test data in the form of `data`, for the measures that need it.
        initial: the weights before training by parameter name, for the measures that need them.
        matched_loss: the training loss (nats) at which classification solutions are compared; None: the network's own.

    Returns:
        The values by name, each with its kind and error; a measure of every layer gives one entry a layer,
        ``name/layer``.

    Raises:
        InputError: a name is unknown, something that a measure needs is missing, a sample's outputs depend on other
            samples or on chance, the loss is not finite, no scaling of the logits reaches `matched_loss`, or a measure
            cannot be taken (`measure_all` takes the others).
    """
    chosen = [find_measure(name) for name in names]
    with _context(model, data, loss, test, initial, matched_loss) as context:
        for each in chosen:
            _check_needs(each, context)
        return {name: value for each in chosen for name, value in _take(each, context).items()}


def measure_all(
    model: nn.Module,
    data: Data,
    names: Iterable[str] = (),
    *,
    loss: Loss | None = None,
    test: Data | None = None,
    initial: Mapping[str, Tensor] | None = None,
    matched_loss: float | None = MATCHED_LOSS,
) -> Report:
    """Every measure of `names`, or of all, that can be taken of `model`, and why others cannot.

    A measure that fails, for whatever reason, leaves the others their values. Arguments are those of `measure`.

    Raises:
        InputError: a name is unknown, or nothing can be measured: the data does not fit the network, a sample's outputs
            depend on other samples or on chance, or the loss is not finite.
    """
    chosen = [find_measure(name) for name in names] or measures().values()
    report = Report()
    with _context(model, data, loss, test, initial, matched_loss) as context:
        for each in chosen:
            try:
                _check_needs(each, context)
                report.values.update(_take(each, context))
            except Exception as error:
                report.skipped[each.name] = sentence(error)
    return report


@contextlib.contextmanager
def _context(
    model: nn.Module,
    data: Data,
    loss: Loss | None,
    test: Data | None,
    initial: Mapping[str, Tensor] | None,
    matched_loss: float | None,
) -> Iterator[MeasureContext]:
    """The one context in which all measures of a call are taken, with checks of what all of them rest on."""
    model = unwrapped(model)
    check_parameters(model)
    model = _at_least_single(model)
    train = _on_device_of(model, data)
    initial = None if initial is None else without_prefixes(initial)
    # Fused attention kernels have no second derivative.
    with (
        settings_preserved(),
        evaluating(model),
        sdpa_kernel(SDPBackend.MATH),
        returning_logits(model, train.x[:2]) as pack,
    ):
        _check_samples_are_independent(model, train.x)
        test = None if test is None else _on_device_of(model, test)
        if loss is not None and pack is not None:
            with torch.no_grad():
                loss = fitting_loss(loss, pack, model(train.x[:2]), train.y[:2])
        context = MeasureContext(model, train, loss, test=test, initial=initial, matched_loss=matched_loss)
        try:
            yield context
        finally:
            # Checked at the end, since the outputs are computed by then. If a measure raised, a loss that is not finite
            # is the better explanation.
            _check_finite(context)


def _at_least_single(model: nn.Module) -> nn.Module:
    """The model, or a copy in float32 if it has parameters in half precision, whose values single precision holds too.

    Parameters of several precisions are all taken in the highest.
    """
    found = {p.dtype for p in model.parameters() if p.is_floating_point()}
    dtype = torch.float64 if torch.float64 in found else torch.float32
    return copy_of(model, dtype) if found - {dtype} else model


def _on_device_of(model: nn.Module, data: Data) -> Split:
    samples = samples_of(data)
    x, y = samples.x, samples.y
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
    """Otherwise values would depend on how many samples are evaluated at once, which is an internal choice."""
    if len(x) < 3:
        return
    together, fewer = model(x[:3])[:2], model(x[:2])
    if torch.linalg.vector_norm(together - fewer) > SAME_OUTPUTS * torch.linalg.vector_norm(together):
        raise InputError(
            "In eval mode the outputs for a sample change with the others in its batch, or from call to call: such a "
            "network has no training loss that could be measured."
        )


def _check_finite(context: MeasureContext) -> None:
    value = context.loss(context.train_outputs, context.train.y)
    if value.dim() != 0:
        raise InputError(f"The loss must be a scalar, not of shape {tuple(value.shape)}.")
    if not math.isfinite(value.item()):
        raise InputError(f"The training loss is {value.item()}: such a network cannot be measured.")


def _check_needs(measure: Measure, context: MeasureContext) -> None:
    for need in sorted(measure.needs):
        text, is_met = NEEDS[need]
        if not is_met(context):
            raise InputError(f"The measure {measure.name!r} needs {text}.")


def _take(measure: Measure, context: MeasureContext) -> dict[str, Estimate]:
    """The values of one measure by name, at matched training loss where it declares invariance to the logits' scale."""
    matches = LOGIT_SCALE in measure.invariances and context.matched_loss is not None
    try:
        result = measure.function(context.matched if matches else context)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The measure {measure.name!r} cannot be taken ({sentence(error)}).") from error
    name = measure.name
    values = {f"{name}/{part}": v for part, v in result.items()} if isinstance(result, Mapping) else {name: result}
    return {key: v if isinstance(v, Estimate) else Estimate(v, measure.kind) for key, v in values.items()}
