"""`lowlands measure`: the measures of a network that is given as a file of weights."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from suite.entries.loading import import_file, load
from suite.errors import InputError, sentence
from suite.estimate import Estimate
from suite.measures.context import MATCHED_LOSS
from suite.measures.measurement import measure
from suite.measures.registry import measures
from suite.task import Split
from suite.tasks.registry import find_task


@dataclass(frozen=True)
class Given:
    """The data that a checkpoint is measured on, and the task's own network where a task gives the data."""

    train: Split
    test: Split | None
    network: Callable[[], nn.Module] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.train.x.shape[1:])

    @property
    def outputs(self) -> int:
        """The number of classes for integer labels, else of targets."""
        y = self.train.y
        if y.is_floating_point():
            return int(y[0].numel())
        both = y if self.test is None else torch.cat([y, self.test.y])
        return int(both.max()) + 1


@dataclass(frozen=True)
class Report:
    """The values that were taken, and why others were not."""

    values: dict[str, Estimate]
    skipped: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """One line a value, with its kind; then what was not taken."""
        width = max(map(len, [*self.values, *self.skipped]), default=0) + 2
        lines = [f"{name:{width}}{value!s:24}{value.kind}" for name, value in self.values.items()]
        return "\n".join([*lines, *(f"{name:{width}}not taken: {why}" for name, why in self.skipped.items())])

    def json(self) -> str:
        """The same as JSON."""
        values = {
            name: {"value": float(value), "kind": value.kind, "error": value.error}
            for name, value in self.values.items()
        }
        return json.dumps({"values": values, "skipped": self.skipped}, indent=1)


def measure_checkpoint(
    checkpoint: Path,
    architecture: str | None,
    data: str,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    initial: Path | None = None,
    matched_loss: float = MATCHED_LOSS,
) -> Report:
    """Measure the weights in the safetensors file `checkpoint`.

    architecture: a built-in architecture, a file with a submission, ``module:function`` or ``file.py:function``, called
    with (input shape, outputs), or without arguments if it takes none; None for the network of the task in `data`.
    data: the name of a task (its data of `seed`), or an npz file with `x` and `y`, or `x_train`, `y_train` and perhaps
    `x_test`, `y_test`, used as they are. names: the measures; without any, all that can be taken.

    Raises:
        InputError: something cannot be read or does not fit, or a named measure cannot be taken.
    """
    given = _data(data, seed)
    model = _network(architecture, given)
    _fill(model, _weights(checkpoint), checkpoint)
    start = None if initial is None else _weights(initial)
    if start is not None:
        _fill(_network(architecture, given), start, initial)

    def take(wanted: Sequence[str]) -> dict[str, Estimate]:
        return measure(model, given.train, wanted, test=given.test, initial=start, matched_loss=matched_loss)

    if names:
        return Report(take(names))
    report = Report({})
    for name in measures():
        try:
            report.values.update(take([name]))
        except InputError as error:
            report.skipped[name] = str(error)
    return report


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}).") from error


def _fill(model: nn.Module, weights: Mapping[str, Tensor], path: Path | None) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            where = "the architecture" if name in weights else str(path)
            raise InputError(f"The weights in {path} are not those of the architecture: {name!r} is not in {where}.")
        if weights[name].shape != expected[name]:
            shapes = f"{tuple(weights[name].shape)}, not {tuple(expected[name])}"
            raise InputError(f"The weights in {path} are not those of the architecture: {name!r} has shape {shapes}.")
    first = next(iter(weights.values()))
    model.to(first.dtype if first.is_floating_point() else torch.float32)
    model.load_state_dict(dict(weights))
    model.eval()


def _data(text: str, seed: int) -> Given:
    if not text.endswith(".npz"):
        task = find_task(text)
        problem = task.problem(seed)
        return Given(problem.train, problem.test, lambda: task.model(problem, seed))
    try:
        with np.load(text, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{text} is not a readable npz file ({error}).") from error
    train = _pair(arrays, "x", "y") or _pair(arrays, "x_train", "y_train")
    if train is None:
        held = ", ".join(arrays) or "nothing"
        raise InputError(f"{text} holds {held}; it must hold x and y, or x_train and y_train.")
    return Given(train, _pair(arrays, "x_test", "y_test"))


def _pair(arrays: Mapping[str, NDArray[Any]], x: str, y: str) -> Split | None:
    if x not in arrays or y not in arrays:
        return None
    inputs, targets = torch.from_numpy(arrays[x]), torch.from_numpy(arrays[y])
    integers = not targets.is_floating_point()
    return Split(inputs if inputs.is_floating_point() else inputs.float(), targets.long() if integers else targets)


def _network(architecture: str | None, given: Given) -> nn.Module:
    if architecture is None:
        if given.network is None:
            raise InputError("An npz file says nothing of the network: give --architecture.")
        return given.network()
    make = _architecture(architecture)
    required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
    try:
        made = make(given.shape, given.outputs) if required else make()
    except Exception as error:
        raise InputError(f"The architecture {architecture!r} cannot be built ({sentence(error)}).") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"The architecture {architecture!r} gives a {type(made).__name__}, not a torch module.")
    return made


def _architecture(text: str) -> Callable[..., object]:
    source, colon, name = text.rpartition(":")
    if not colon:
        found = load(text).submission.architecture
        if found is None:
            raise InputError(f"The submission {text!r} is an optimizer, not an architecture.")
        return found
    try:
        module = import_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except ImportError as error:
        raise InputError(f"The module {source!r} of {text!r} cannot be imported ({error}).") from error
    made = getattr(module, name, None)
    if not callable(made):
        raise InputError(f"{source} has no function {name!r}.")
    function: Callable[..., object] = made
    return function
