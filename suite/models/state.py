"""A network's state: held, put back, copied. One way for all, whatever a network keeps and however it keeps it.

The state is what outputs depend on and training may change: parameters, buffers (saved by torch or not), what
`get_extra_state` gives, and tensors that a module keeps as plain attributes. `state_dict` has neither the last nor
buffers that are not persistent, and gives a tensor that two layers share twice.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from suite.errors import InputError, sentence
from suite.models.modules import evaluating
from suite.task import Weights

Module = TypeVar("Module", bound=nn.Module)

ATTRIBUTE = "attribute:"
"""Before the names of tensors that are plain attributes: no parameter's name has a colon."""

EXTRA = "_extra_state"
"""The last part of the name of an extra state, as in torch's `state_dict`."""

OWN_ATTRIBUTES = frozenset(vars(nn.Module()))
"""What every module has."""


def hold(model: nn.Module, names: Collection[str] | None = None) -> Weights:
    """A copy of the state of `model`, by name.

    A tensor that several layers share is held once, under its first name. An extra state is held as JSON in a tensor of
    bytes; one that is not made of numbers, texts, tensors, and lists, tuples and dicts of them is not held.

    Args:
        model: any module.
        names: those that are wanted, all by default. A module may keep activations as attributes, which are not of the
            network's making: the names in the state of a network that has not run leave them out.
    """
    state = _tensors(model) | _extra_states(model)
    return {name: tensor.detach().clone() for name, tensor in state.items() if names is None or name in names}


@torch.no_grad()
def restore(model: nn.Module, state: Weights) -> None:
    """Put a state that was held back into `model`, in place.

    A shared tensor may come under any of its names. Extra states and plain attributes may be missing, as in files that
    were written before they were held; attributes that `model` does not have (yet), or has in another shape, are left
    out.

    Raises:
        InputError: the names or shapes of parameters or buffers differ; nothing has been changed then.
    """
    differs = "The weights are not those of the network"
    tensors = _tensors(model, aliases=True)
    extra = {name: module for name, module in _with_extra_state(model)}
    wanted: dict[Tensor, Tensor] = {}
    for name, value in state.items():
        if name in tensors and tensors[name].shape == value.shape:
            wanted[tensors[name]] = value
        elif name in tensors and not name.startswith(ATTRIBUTE):
            shapes = f"{tuple(value.shape)}, not {tuple(tensors[name].shape)}"
            raise InputError(f"{differs}: {name!r} has the shape {shapes}.")
        elif name not in tensors and name not in extra and not name.startswith(ATTRIBUTE):
            raise InputError(f"{differs}: the network has no {name!r}.")
    unsaved = {id(buffer) for module in model.modules() for buffer in _unsaved(module)}
    for name, tensor in tensors.items():
        if tensor not in wanted and id(tensor) not in unsaved and not name.startswith(ATTRIBUTE):
            raise InputError(f"{differs}: {name!r} is missing.")
    for tensor, value in wanted.items():
        tensor.copy_(value)
    for name, module in extra.items():
        if name in state:
            module.set_extra_state(_decoded(json.loads(state[name].cpu().numpy().tobytes())))


def call_with(model: nn.Module, tensors: Weights | tuple[Weights, Weights], x: Tensor) -> Tensor:
    """`torch.func.functional_call`, which leaves `model` as it was.

    Torch's own (2.14.1) leaves the tensors that it was given in a module that is registered twice.
    """
    kept = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
    try:
        return functional_call(model, tensors, (x,))
    finally:
        for module, parameters, buffers in kept:
            module._parameters.update(parameters)
            module._buffers.update(buffers)


def copy_of(model: Module, dtype: torch.dtype | None = None) -> Module:
    """A copy of `model`, in its mode, with everything that it keeps; floating-point tensors in `dtype`, if it is given.

    Unlike `copy.deepcopy`, it copies modules that have run and keep tensors with a graph (activations, a weight that a
    hook computes); the copies have none. Unlike `model.to`, it converts tensors that are plain attributes. What cannot
    be copied at all (a lock, an open file, a generator) is shared with `model`.

    Raises:
        InputError: a module, or a tensor, refuses to be copied.
    """
    with torch.no_grad(), _Copying(dtype):  # scripted modules would be copied with a graph
        try:
            duplicate = copy.deepcopy(model)
        except Exception:
            duplicate = copy.deepcopy(model, {id(value): value for value in _refusing(model, {})})
    for parameter, original in zip(duplicate.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return duplicate if dtype is None else duplicate.to(dtype)


@torch.no_grad()
def in_double(model: Module, x: Tensor) -> tuple[Module, torch.dtype]:
    """A copy of `model` in float64, or in its own dtype where it does not run in float64 on `x`; and its dtype.

    A module may convert to single precision itself, and then meets weights in double.
    """
    try:
        duplicate = copy_of(model, torch.float64)
        with evaluating(duplicate):
            duplicate(x.double() if x.is_floating_point() else x)
    except Exception:  # whatever it was: the network itself, where it fails too, says so to the caller
        return copy_of(model), next(model.parameters()).dtype
    return duplicate, torch.float64


@torch.no_grad()
def materialize(model: nn.Module, input_shape: Collection[int], dtype: torch.dtype | None = None) -> None:
    """Run a network with lazy layers once on zeros ``[1, *input_shape]``, so that its parameters have their shapes.

    Their initial weights are drawn from torch's global generator. Other networks are not run.
    """
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        with evaluating(model):
            model(torch.zeros(1, *input_shape, dtype=dtype))


def _tensors(model: nn.Module, *, aliases: bool = False) -> dict[str, Tensor]:
    """The tensors themselves by name: parameters, buffers, plain attributes; each once, unless `aliases`."""
    named = dict(model.named_parameters(remove_duplicate=not aliases))
    tensors: dict[str, Tensor] = named | dict(model.named_buffers(remove_duplicate=not aliases))
    seen = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute in OWN_ATTRIBUTES or isinstance(value, nn.Module):
                continue
            for name, tensor in _inside(f"{path}.{attribute}" if path else attribute, value):
                if id(tensor) not in seen and not _is_derived(tensor):
                    seen.add(id(tensor))
                    tensors[ATTRIBUTE + name] = tensor
    return tensors


def _inside(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value, and in plain lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield name, value
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):  # type: ignore[arg-type, var-annotated]
            yield from _inside(f"{name}.{number}", item)
    elif type(value) is dict:
        for key, item in value.items():
            yield from _inside(f"{name}.{key}", item)


def _is_derived(tensor: Tensor) -> bool:
    """Whether a tensor was computed from others, in a graph or by `vmap`: it is computed anew when the network runs."""
    return not tensor.is_leaf or torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _refusing(value: Any, known: dict[int, list[Any]]) -> list[Any]:
    """The innermost parts of `value` that cannot be copied; `known` holds those of parts that were looked at."""
    if id(value) not in known:
        known[id(value)] = []  # what leads back to itself
        try:
            copy.deepcopy(value)
        except Exception as error:
            inside = value if isinstance(value, list | tuple) else getattr(value, "__dict__", value)
            parts = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, list | tuple) else ()
            found = [each for part in parts for each in _refusing(part, known)]
            if not found and isinstance(value, nn.Module | Tensor):
                raise InputError(f"The network cannot be copied ({sentence(error)}).") from error
            known[id(value)] = found or [value]
    return known[id(value)]


def _unsaved(module: nn.Module) -> Iterator[Tensor]:
    """The buffers of a module that are not persistent."""
    for name in module._non_persistent_buffers_set:
        if (buffer := module._buffers[name]) is not None:
            yield buffer


class _Copying(TorchFunctionMode):
    """While it is active, `copy.deepcopy` takes tensors with a graph, and converts those with a floating point."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__ or type(args[0]) is not Tensor:
            return func(*args, **(kwargs or {}))
        tensor: Tensor = args[0]
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return torch.empty(0)  # what `vmap` left behind has no value any more
        derived = not tensor.is_leaf or tensor.grad is not None
        duplicate = tensor.detach().clone() if derived else func(*args)
        if self._dtype is not None and duplicate.is_floating_point():
            duplicate = duplicate.detach().to(self._dtype)
        return duplicate.requires_grad_(tensor.is_leaf and tensor.requires_grad)


def _with_extra_state(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that keep an extra state, with its name."""
    for path, module in model.named_modules():
        if type(module).set_extra_state is not nn.Module.set_extra_state:
            yield f"{path}.{EXTRA}" if path else EXTRA, module


def _extra_states(model: nn.Module) -> Weights:
    states = {}
    for name, module in _with_extra_state(model):
        try:
            text = json.dumps(_encoded(module.get_extra_state()))
        except TypeError:
            continue
        states[name] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return states


def _encoded(value: Any) -> Any:
    """A value as JSON can hold it, to the bit; what is not a number, a text or None is an object with one key."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes().hex()
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), data]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encoded(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    raise TypeError(f"a {type(value).__name__} cannot be held")


def _decoded(value: Any) -> Any:
    """The inverse of `_encoded`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_decoded(key): _decoded(item) for key, item in content}
    if kind == "tensor":
        dtype, shape, data = content
        flat = torch.frombuffer(bytearray.fromhex(data), dtype=torch.uint8) if data else torch.empty(0).byte()
        return flat.view(getattr(torch, dtype)).reshape(shape)
    items = [_decoded(item) for item in content]
    return tuple(items) if kind == "tuple" else items
