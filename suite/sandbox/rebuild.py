"""A network made of data that came out of the sandbox: it contains no code, and only torch's own code runs.

Layers and functions are looked up in the tables of `suite.sandbox.allowlist`, tensors among the names that the network
has registered. The network is built and tried without memory first (on torch's `meta` device), so that a few bytes
cannot ask for a large computation; then it takes the tensors that came with it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from suite.errors import InputError, sentence
from suite.models.linear_networks import LinearNetwork
from suite.sandbox import network as form
from suite.sandbox.allowlist import DTYPES, EQUATION, FUNCTIONS, KEYWORDS, LAYERS, MOST_LAYERS, WORDS

MOST_ELEMENTS = 2**24
"""The most elements that one operation of a network may return for `TRIED` samples."""

MOST_OPERATIONS = 10**11
"""The most floating-point operations of matrix products and convolutions for `TRIED` samples."""

TRIED = 2

_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Graph(nn.Module):
    """A network that computes the nodes of a graph; its layers and parameters have the names of the original."""

    def __init__(self, graph: form.Graph, path: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        _hold(self, graph.root, path, tensors)
        for name, part in graph.parts:
            above, _, last = name.rpartition(".")
            if isinstance(part, form.Layer):
                module = _layer(part)
            else:
                module = nn.Module()
                _hold(module, part, f"{path}{name}.", tensors)
            _module_at(self, above).add_module(last, module)
        for name in graph.constants:
            self.register_buffer(name, tensors[f"{path}{name}"], persistent=False)
        self.constants = graph.constants
        self.output = graph.output
        if graph.output > len(graph.nodes):
            raise InputError("it returns a value that it does not compute")
        registered = {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        layers = {name for name, part in graph.parts if isinstance(part, form.Layer)}
        self.operations = tuple(_operation(node, place, registered, layers) for place, node in enumerate(graph.nodes))

    def forward(self, x: Tensor) -> Any:
        """What the graph computes of the inputs [n, ...]."""
        values: list[Any] = [x]
        for kind, target, args, kwargs in self.operations:
            if kind == "tensor":
                values.append(_tensor_at(self, target))
                continue
            function = FUNCTIONS[target] if kind == "call" else _module_at(self, target)
            named = {name: _filled(value, values) for name, value in kwargs.items()}
            values.append(function(*(_filled(value, values) for value in args), **named))
        return values[self.output]


def rebuild(
    network: form.Network, tensors: Mapping[str, Tensor], input_shape: tuple[int, ...], vocabulary: int = 0
) -> nn.Module:
    """The network that `suite.sandbox.export.describe` described, with its tensors by name.

    Args:
        network: its description.
        tensors: its parameters, buffers and constants.
        input_shape: the sizes of one sample, with which it is tried.
        vocabulary: samples are numbers of so many tokens; 0: they are real.

    Raises:
        InputError: it names what is not in the vocabulary, it does not fit its tensors, or it computes too much.
    """
    try:
        with torch.device("meta"):
            shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
            model = _module(network.network, "", shapes)
            _load(model, shapes)
            _try(model, input_shape, torch.long if vocabulary else None)
        _load(model, {name: tensor.clone() for name, tensor in tensors.items()})
        parameters = dict(model.named_parameters())
        if not parameters.keys() >= set(network.frozen):
            raise InputError("it freezes a parameter that it does not have")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in network.frozen and parameter.is_floating_point())
    except Exception as error:
        raise InputError(f"the network's description cannot be used ({sentence(error)})") from error
    return model.train()


def _module(
    description: form.Layer | form.Graph | form.Sequential, path: str, tensors: Mapping[str, Tensor]
) -> nn.Module:
    if isinstance(description, form.Layer):
        return _layer(description)
    if isinstance(description, form.Graph):
        return Graph(description, path, tensors)
    model = nn.Sequential()
    for name, part in description.parts:
        model.add_module(name, _module(part, f"{path}{name}.", tensors))
    return model


def _layer(description: form.Layer) -> nn.Module:
    layer = LAYERS.get(description.layer)
    if layer is None:
        raise InputError(f"it has a layer {description.layer[:40]!r}")
    known = set(inspect.signature(layer).parameters) - {"device", "dtype", "inplace", "generator"}
    for name in description.arguments:
        if name not in known or name.startswith("_"):
            raise InputError(f"it gives the layer {description.layer} an argument {name[:40]!r}")
    arguments = {name: _argument(value, 0) for name, value in description.arguments.items()}
    if issubclass(layer, LinearNetwork) and arguments.get("depth", 1) > MOST_LAYERS:
        raise InputError("it has too many layers")
    return layer(**arguments)


def _hold(module: nn.Module, description: form.Holder, path: str, tensors: Mapping[str, Tensor]) -> None:
    """Give `module` the parameters and buffers of a holder."""
    for name in description.parameters:
        tensor = tensors[f"{path}{name}"]
        module.register_parameter(name, nn.Parameter(tensor, tensor.is_floating_point()))
    for name in description.buffers:
        module.register_buffer(name, tensors[f"{path}{name}"])


def _module_at(module: nn.Module, path: str) -> nn.Module:
    """The part at `path`, found in the registers of modules alone."""
    for name in path.split(".") if path else ():
        part = module._modules[name]
        assert part is not None
        module = part
    return module


def _tensor_at(module: nn.Module, path: str) -> Tensor:
    """The parameter or the buffer at `path`, found in the registers alone: `functional_call` changes them."""
    above, _, name = path.rpartition(".")
    holder = _module_at(module, above)
    tensor = holder._parameters[name] if name in holder._parameters else holder._buffers[name]
    assert tensor is not None
    return tensor


def _operation(
    node: form.Node, place: int, registered: set[str], layers: set[str]
) -> tuple[str, str, tuple[Any, ...], dict[str, Any]]:
    """A node as `Graph.forward` carries it out: its kind, its target, and its arguments."""
    if isinstance(node, form.TensorNode):
        if node.name not in registered:
            raise InputError(f"it uses a tensor {node.name[:40]!r}")
        return "tensor", node.name, (), {}
    if isinstance(node, form.LayerNode):
        kind, target, known = "apply", node.path, layers
    else:
        kind, target, known = "call", node.function, set(FUNCTIONS)
    if target not in known:
        raise InputError(f"it calls {target[:40]!r}")
    if unknown := node.kwargs.keys() - KEYWORDS:
        raise InputError(f"it calls {target[:40]!r} with an argument {min(unknown)[:40]!r}")
    args = node.args
    equation: tuple[form.Argument, ...] = ()
    if target == "torch.einsum" and args and isinstance(args[0], str):
        if not EQUATION.fullmatch(args[0]):
            raise InputError("it calls einsum with an equation that is none")
        equation, args = args[:1], args[1:]
    plain = (*equation, *(_argument(value, place) for value in args))
    return kind, target, plain, {name: _argument(value, place) for name, value in node.kwargs.items()}


def _argument(value: form.Argument, place: int) -> Any:
    """An argument as it was before `suite.sandbox.export` wrote it, but for the values of the graph.

    `place` is the number of the node, which may use the input and what the nodes before it return.
    """
    match value:
        case str():
            if value not in WORDS:
                raise InputError(f"it has an argument {value[:40]!r}")
            return value
        case form.Value(number):
            if number > place:
                raise InputError("it uses a value before it is computed")
            return value
        case form.Several(items, mutable):
            parts = tuple(_argument(item, place) for item in items)
            return list(parts) if mutable else parts
        case form.Slice(start, stop, step):
            return slice(_argument(start, place), _argument(stop, place), _argument(step, place))
        case form.Special(name):
            if name == "...":
                return Ellipsis
            if name in _NUMBERS:
                return _NUMBERS[name]
            if name not in DTYPES:
                raise InputError(f"it has an argument {name[:40]!r}")
            return DTYPES[name]
    return value


def _filled(value: Any, values: list[Any]) -> Any:
    """An argument with the values of the graph so far."""
    if isinstance(value, form.Value):
        return values[value.number]
    if isinstance(value, tuple | list):
        return type(value)(_filled(item, values) for item in value)
    if isinstance(value, slice):
        return slice(*(_filled(item, values) for item in (value.start, value.stop, value.step)))
    return value


def _load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Let `model` have `tensors`, which must be all its parameters, buffers and constants."""
    state = dict(tensors)
    for path, graph in model.named_modules():
        if isinstance(graph, Graph):
            for name in graph.constants:
                graph._buffers[name] = state.pop(f"{path}.{name}" if path else name)
    model.load_state_dict(state, assign=True)


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses an operation that returns too much."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        if sum(result.numel() for result in tree_leaves(results) if isinstance(result, Tensor)) > MOST_ELEMENTS:
            raise InputError("it computes more than a network of a task needs")
        return results


def _try(model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None) -> None:
    """Run `model`, which has no memory, on inputs that have none, in both modes; refuse what computes too much.

    Inputs are of `dtype`, or in the precision of the model.
    """
    dtype = dtype or next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    for training in (True, False):
        flops = FlopCounterMode(display=False)
        with torch.no_grad(), flops, _Sizes():  # type: ignore[no-untyped-call]
            output = model.train(training)(torch.empty(TRIED, *input_shape, dtype=dtype, device="meta"))
        if not isinstance(output, Tensor):
            raise InputError("it returns no tensor")
        if flops.get_total_flops() > MOST_OPERATIONS:
            raise InputError("it computes more than a network of a task needs")
