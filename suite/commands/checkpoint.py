"""`lowlands measure`: the measures of a network that is given as a file of weights."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from suite.data.tables import read_samples
from suite.entries.loading import import_file, load
from suite.errors import InputError, sentence
from suite.measures import MATCHED_LOSS, Report, measure_all, unwrapped, without_prefixes
from suite.task import Split
from suite.tasks import find_task


def measure_checkpoint(
    checkpoint: Path,
    architecture: str | None,
    data: str,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    initial: Path | None = None,
    matched_loss: float = MATCHED_LOSS,
    max_bytes: int | None = None,
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
        max_bytes: how large the arrays of the npz file may be; see `suite.data.archive.read_arrays`.

    Raises:
        InputError: something cannot be read or does not fit, or the loss is not finite.
    """
    train, test, task_network = _data(data, seed, max_bytes)

    def network() -> nn.Module:
        if architecture is not None:
            return _network(architecture, train, test)
        if task_network is None:
            raise InputError("An npz file does not define the network: give --architecture.")
        return task_network()

    model = network()
    _load_weights(model, checkpoint)
    train, test = _fitting(model, data, train), None if test is None else _fitting(model, data, test)
    start = None if initial is None else _load_weights(network(), initial)
    return measure_all(model, train, names, test=test, initial=start, matched_loss=matched_loss)


@torch.no_grad()
def _fitting(model: nn.Module, data: str, part: Split) -> Split:
    """The samples as the network takes them: whole numbers as real ones, or, if it takes those alone, as tokens.

    An InputError unless it does, and integer targets are classes that it has outputs for.
    """
    weight = next(model.parameters(), torch.empty(0))
    real = part.x if part.x.is_floating_point() else part.x.float()
    try:
        outputs = model(real[:2].to(weight.dtype))
    except Exception as error:
        try:
            outputs, real = model(part.x[:2]), part.x
        except Exception:
            shape = tuple(part.x.shape[1:])
            raise InputError(
                f"The network cannot take the inputs of {data}, of shape {shape} ({sentence(error)})."
            ) from error
    classes = outputs.shape[1] if isinstance(outputs, Tensor) and outputs.dim() > 1 else None
    largest = 0 if part.y.is_floating_point() else int(part.y.max())
    if classes is not None and largest >= classes:
        raise InputError(f"{data} has a class {largest}, and the network has {classes} outputs.")
    return Split(real, part.y)


def _load_weights(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, loaded into a model; `InputError` if names or shapes differ.

    Prefixes of wrappers are taken off. A tensor that several layers share may be there once, as `save_model` and
    `save_pretrained` write it: under another name that the module gives it, or that the file's metadata give it.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as file:
            names: dict[str, str] = file.metadata() or {}
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}).") from error
    for removed, kept in names.items():
        if kept in weights:
            weights.setdefault(removed, weights[kept])
    weights = without_prefixes(weights)
    tensors = model.state_dict(keep_vars=True)
    held = {id(tensor): weights[name] for name, tensor in tensors.items() if name in weights}
    for name, tensor in tensors.items():
        if id(tensor) in held:
            weights.setdefault(name, held[id(tensor)])
    expected = {name: tensor.shape for name, tensor in tensors.items()}
    differs = f"The weights in {path} are not those of the architecture"
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            where = "the architecture" if name in weights else str(path)
            raise InputError(f"{differs}: {name!r} is not in {where}.")
        if weights[name].shape != expected[name]:
            shapes = f"{tuple(weights[name].shape)}, not {tuple(expected[name])}"
            raise InputError(f"{differs}: {name!r} has shape {shapes}.")
    real = [tensor.dtype for tensor in weights.values() if tensor.is_floating_point()]
    model.to(reduce(torch.promote_types, real) if real else torch.float32)
    model.load_state_dict(weights)
    model.eval()
    return weights


def _data(text: str, seed: int, max_bytes: int | None) -> tuple[Split, Split | None, Callable[[], nn.Module] | None]:
    """Training and test data of the task, or in the npz file, called `text`; and what builds the task's own network."""
    if not text.endswith(".npz"):
        task = find_task(text)
        problem = task.problem(seed)
        return problem.train, problem.test, lambda: task.model(problem, seed)
    train, test = read_samples(Path(text), max_bytes)
    return train, test, None


def _network(architecture: str, train: Split, test: Split | None) -> nn.Module:
    """A network of the architecture, built for the data."""
    build = _architecture(architecture)
    required = [p for p in inspect.signature(build).parameters.values() if p.default is p.empty]
    try:
        network = build(tuple(train.x.shape[1:]), _outputs(train, test)) if required else build()
    except Exception as error:
        raise InputError(f"The architecture {architecture!r} cannot be built ({sentence(error)}).") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"The architecture {architecture!r} gives a {type(network).__name__}, not a torch module.")
    return unwrapped(network)


def _outputs(train: Split, test: Split | None) -> int:
    """The number of classes for integer labels, else of targets."""
    if train.y.is_floating_point():
        return train.y[0].numel()
    return int((train.y if test is None else torch.cat([train.y, test.y])).max()) + 1


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
