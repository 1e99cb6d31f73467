"""`lowlands measure`: the measures of a network that is given as a file of weights."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from suite.measures import MATCHED_LOSS, Report, measure, measure_all
from suite.task import Split
from suite.tasks import find_task


@dataclass(frozen=True)
class CheckpointData:
    """The data that a checkpoint is measured on.

    Attributes:
        train, test: the parts of the data.
        network: builds the task's own network, where a task gives the data.
    """

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
        labels = y if self.test is None else torch.cat([y, self.test.y])
        return int(labels.max()) + 1


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

    Args:
        checkpoint: the file of weights.
        architecture: a built-in architecture, a file with a submission, ``module:function`` or ``file.py:function``,
            called with (input shape, outputs), or without arguments if it takes none; None for the network of the task
            in `data`.
        data: the name of a task (its data of `seed`), or an npz file with `x` and `y`, or `x_train`, `y_train` and
            perhaps `x_test`, `y_test`, used as they are.
        names: the measures; without any, all that can be taken.
        seed: the seed of the task's data.
        initial: a safetensors file with the weights before training.
        matched_loss: the training loss (nats) at which classification solutions are compared.

    Raises:
        InputError: something cannot be read or does not fit, the loss is not finite, or a named measure cannot be
            taken.
    """
    dataset = _data(data, seed)
    model = _network(architecture, dataset)
    _fill(model, _weights(checkpoint), checkpoint)
    start = None
    if initial is not None:
        start = _weights(initial)
        _fill(_network(architecture, dataset), start, initial)
    if not names:
        return measure_all(model, dataset.train, test=dataset.test, initial=start, matched_loss=matched_loss)
    return Report(measure(model, dataset.train, names, test=dataset.test, initial=start, matched_loss=matched_loss))


def _weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}).") from error


def _fill(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a model of their dtype; InputError if names or shapes differ."""
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


def _data(text: str, seed: int) -> CheckpointData:
    """The data of the task, or in the npz file, called `text`."""
    if not text.endswith(".npz"):
        task = find_task(text)
        problem = task.problem(seed)
        return CheckpointData(problem.train, problem.test, lambda: task.model(problem, seed))
    try:
        with np.load(text, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{text} is not a readable npz file ({error}).") from error
    train = _pair(arrays, "x", "y") or _pair(arrays, "x_train", "y_train")
    if train is None:
        content = ", ".join(arrays) or "nothing"
        raise InputError(f"{text} holds {content}; it must hold x and y, or x_train and y_train.")
    return CheckpointData(train, _pair(arrays, "x_test", "y_test"))


def _pair(arrays: Mapping[str, NDArray[Any]], x: str, y: str) -> Split | None:
    """The arrays named `x` and `y` as real inputs and real or integer targets; None unless both are there."""
    if x not in arrays or y not in arrays:
        return None
    inputs, targets = torch.from_numpy(arrays[x]), torch.from_numpy(arrays[y])
    integers = not targets.is_floating_point()
    return Split(inputs if inputs.is_floating_point() else inputs.float(), targets.long() if integers else targets)


def _network(architecture: str | None, dataset: CheckpointData) -> nn.Module:
    """A network of the architecture, or of the data's task without one."""
    if architecture is None:
        if dataset.network is None:
            raise InputError("An npz file does not define the network: give --architecture.")
        return dataset.network()
    build = _architecture(architecture)
    required = [p for p in inspect.signature(build).parameters.values() if p.default is p.empty]
    try:
        network = build(dataset.shape, dataset.outputs) if required else build()
    except Exception as error:
        raise InputError(f"The architecture {architecture!r} cannot be built ({sentence(error)}).") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"The architecture {architecture!r} gives a {type(network).__name__}, not a torch module.")
    return network


def _architecture(text: str) -> Callable[..., object]:
    """The function that builds a network: a submission's, or one named as ``module:function``."""
    source, colon, name = text.rpartition(":")
    if not colon:
        architecture = load(text).submission.architecture
        if architecture is None:
            raise InputError(f"The submission {text!r} is an optimizer, not an architecture.")
        return architecture
    try:
        module = import_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except ImportError as error:
        raise InputError(f"The module {source!r} of {text!r} cannot be imported ({error}).") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{source} has no function {name!r}.")
    return function
