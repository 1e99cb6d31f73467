"""What people hold, as what is measured: loaders, arrays, wrapped networks, outputs with a name."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, IterableDataset

from suite.errors import InputError, sentence
from suite.task import Loss, Split

Data = Split | tuple[Tensor | NDArray[Any], Tensor | NDArray[Any]] | Dataset[Any] | DataLoader[Any]
"""Samples and targets: tensors or arrays, or a dataset or loader of pairs."""

WRAPPERS = {"_orig_mod": "torch.compile", "module": "DataParallel"}
"""The attribute in which a wrapper keeps the network, which is the prefix of its names in a checkpoint."""

BATCH = 256
"""Samples of a dataset that are read at a time."""


def samples_of(data: object) -> Split:
    """The samples as two tensors; `InputError` unless `data` is one of the forms in `Data`.

    A loader is read once, in its own order, and leaves torch's global generator as it was. Integer and boolean targets
    become the 64-bit integers that torch takes for classes.
    """
    if isinstance(data, Split):
        x, y = data.x, data.y
    elif isinstance(data, DataLoader):
        x, y = _read(data)
    elif isinstance(data, tuple | list):
        x, y = _pair(data, "The data")
    elif isinstance(data, Dataset):
        is_stream = isinstance(data, IterableDataset)
        if not is_stream and len(data) == 0:  # type: ignore[arg-type]
            raise InputError("The dataset is empty.")
        x, y = _read(DataLoader(data, batch_size=BATCH))
    else:
        raise InputError(f"The data must be a pair of tensors or arrays, a dataset or a loader, not {_kind(data)}.")
    if x.dim() == 0 or y.dim() == 0:
        raise InputError("Inputs and targets must have an axis of samples.")
    return Split(x, y if y.is_floating_point() or y.is_complex() else y.long())


def _read(loader: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng():
        batches = [_pair(batch, "A batch of the data") for batch in loader]
    if not batches:
        raise InputError("The loader is empty.")
    xs, ys = zip(*batches, strict=True)
    try:
        return torch.cat(xs), torch.cat(ys)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"The batches of the loader cannot be joined ({sentence(error)}).") from error


def _pair(values: object, what: str) -> tuple[Tensor, Tensor]:
    if not isinstance(values, tuple | list) or len(values) != 2:
        count = f" of {len(values)}" if isinstance(values, tuple | list) else ""
        raise InputError(f"{what} must be a pair of inputs and targets, not {_kind(values)}{count}.")
    x, y = values
    return _tensor(x), _tensor(y)


def _tensor(values: object) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise InputError(f"Inputs and targets must be numbers, not an array of {array.dtype}.")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, of one that was compiled or is trained in parallel."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def without_prefixes(names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that the network itself gives them, if a wrapper's prefix is before all of them."""
    found = dict(names)
    while found:
        first = next(iter(found)).partition(".")[0]
        if first not in WRAPPERS or not all(name.startswith(f"{first}.") for name in found):
            break
        found = {name.removeprefix(f"{first}."): tensor for name, tensor in found.items()}
    return found


def check_parameters(model: nn.Module) -> None:
    """`InputError` if there are no values to measure."""
    if any(is_lazy(p) for p in model.parameters()):
        raise InputError("The network has lazy layers without parameters yet: run it once on a batch.")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise InputError("The network's parameters are on the device 'meta', where they have no values.")


@contextlib.contextmanager
def returning_logits(model: nn.Module, x: Tensor) -> Iterator[Callable[[Tensor], object] | None]:
    """Inside, `model` returns a tensor: the logits of what it returns by itself on `x`.

    They are the entry or attribute ``logits``, or the only tensor in it. Gives what puts a tensor back where it was,
    for losses that look there; None for a model that returns a tensor anyway.

    Raises:
        InputError: the model does not run on `x`, or it is not clear which output is meant.
    """
    try:
        with torch.no_grad():
            outputs = model(x)
    except Exception as error:
        kind = f"inputs of shape {tuple(x.shape)} and type {str(x.dtype).removeprefix('torch.')}"
        raise InputError(f"The network does not run on {kind} ({sentence(error)}).") from error
    if isinstance(outputs, Tensor):
        yield None
        return
    key = _place(outputs)
    hook = model.register_forward_hook(lambda _, args, returned: _entries(returned)[key])
    try:
        if isinstance(outputs, tuple | list):
            yield lambda logits: (*outputs[:key], logits, *outputs[key + 1 :])
        elif isinstance(outputs, Mapping):
            yield lambda logits: {**outputs, key: logits}
        else:
            yield lambda logits: SimpleNamespace(**{str(key): logits})
    finally:
        hook.remove()


def _entries(outputs: object) -> dict[Any, Any]:
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, tuple | list):
        return dict(enumerate(outputs))
    if dataclasses.is_dataclass(outputs):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    return dict(vars(outputs)) if hasattr(outputs, "__dict__") else {}


def _place(outputs: object) -> Any:
    """Where the logits are in what a network returns."""
    entries = _entries(outputs)
    tensors = [key for key, value in entries.items() if isinstance(value, Tensor)]
    if "logits" in tensors:
        return "logits"
    if hasattr(outputs, "_fields") and "logits" in outputs._fields:
        return outputs._fields.index("logits")
    if len(tensors) == 1:
        return tensors[0]
    names = ", ".join(map(str, tensors)) or "no tensor"
    raise InputError(
        f"The network returns {_kind(outputs)} with {names}: it must return a tensor, or one named logits."
    )


def fitting_loss(loss: Loss, pack: Callable[[Tensor], object], outputs: Tensor, y: Tensor) -> Loss:
    """The loss of logits: `loss` itself, or one that looks for them in what the network returns."""

    def packed(logits: Tensor, targets: Tensor) -> Tensor:
        return loss(pack(logits), targets)  # type: ignore[arg-type]

    # The network's own form first: a loss that takes the first of a tuple would take the first sample of a tensor.
    try:
        packed(outputs, y)
    except Exception:
        return loss
    return packed
