"""A network made of data that came out of a jail: nothing of it is code, and no other code than torch's runs.

Every layer, function and method is looked up in `suite.sandbox.allowlist`; layers are made without memory and then
take the tensors that came with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suite.errors import InputError, sentence
from suite.sandbox.allowlist import ATTRIBUTES, FUNCTIONS, LAYERS, METHODS


@dataclass(frozen=True)
class Operation:
    """One node of a graph, as `suite.sandbox.export` describes it."""

    name: str
    op: str
    target: str
    args: Any
    kwargs: Mapping[str, Any]


class Graph(nn.Module):
    """A network that carries out operations one by one; its layers and parameters lie where the original has them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__()
        self.operations = operations

    def forward(self, x: Tensor) -> Any:
        """The result of the operations on the inputs [n, ...]."""
        values: dict[str, Any] = {}
        for own in self.operations:
            args, kwargs = _values(own.args, values), {k: _values(v, values) for k, v in own.kwargs.items()}
            if own.op == "placeholder":
                values[own.name] = x
            elif own.op == "output":
                return args[0]
            elif own.op == "get_attr":
                values[own.name] = _reach(self, own.target)
            elif own.op == "call_module":
                values[own.name] = _reach(self, own.target)(*args, **kwargs)
            elif own.op == "call_method":
                values[own.name] = getattr(args[0], own.target)(*args[1:], **kwargs)
            elif own.target == "getattr":
                values[own.name] = getattr(args[0], args[1])
            else:
                values[own.name] = FUNCTIONS[own.target](*args, **kwargs)
        raise InputError("the network has no output")


def rebuild(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that `suite.sandbox.export.describe` described, with copies of its tensors.

    Raises:
        InputError: it is no description of a network, or uses what is not in the vocabulary.
    """
    try:
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        with torch.device("meta"):
            model = _built(description["network"], "", own)
        wanted = model.state_dict()
        model.load_state_dict({name: own[name] for name in wanted}, assign=True)
        frozen = set(description["frozen"])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen and parameter.is_floating_point())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the network's description cannot be used ({sentence(error)})") from error
    return model


def _built(description: Mapping[str, Any], path: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    if "layer" in description:
        return _layer(description)
    if "sequential" in description:
        model = nn.Sequential()
        for name, part in description["sequential"]:
            model.add_module(name, _built(part, f"{path}{name}.", tensors))
        return model
    graph = Graph([_operation(node) for node in description["graph"]])
    for part in description["tree"]:
        _place(graph, part, path, tensors)
    for name in description["constants"]:
        graph.register_buffer(name, tensors[f"{path}{name}"], persistent=False)
    return graph


def _layer(description: Mapping[str, Any]) -> nn.Module:
    arguments = {name: _values(value, {}) for name, value in description["arguments"].items()}
    return LAYERS[description["layer"]](**arguments)


def _place(graph: Graph, part: Mapping[str, Any], path: str, tensors: Mapping[str, Tensor]) -> None:
    """Put a layer, or a holder of parameters, into `graph` where the original has it."""
    *above, name = part["path"].split(".")
    holder: nn.Module = graph
    for step in above:
        holder = holder.get_submodule(step)
    if "layer" in part:
        holder.add_module(name, _layer(part))
        return
    here = graph
    if name:
        here = nn.Module()  # type: ignore[assignment]
        holder.add_module(name, here)
    full = f"{path}{part['path']}." if name else path
    for own in part["parameters"]:
        here.register_parameter(own, nn.Parameter(tensors[f"{full}{own}"], tensors[f"{full}{own}"].is_floating_point()))
    for own in part["buffers"]:
        here.register_buffer(own, tensors[f"{full}{own}"])


def _operation(node: Mapping[str, Any]) -> Operation:
    op, target = node["op"], node["target"]
    known = {
        "call_function": target in FUNCTIONS or target == "getattr",
        "call_method": target in METHODS,
        "call_module": isinstance(target, str),
        "get_attr": isinstance(target, str) and "__" not in target,
    }
    if not known.get(op, op in ("placeholder", "output")):
        raise InputError(f"the network's description asks for {op} {str(target)[:40]!r}")
    args = node["args"]
    if target == "getattr" and args["list"][1] not in ATTRIBUTES:
        raise InputError(f"the network's description asks for the attribute {str(args['list'][1])[:40]!r}")
    return Operation(node["name"], op, target, args, node["kwargs"])


def _values(value: Any, known: Mapping[str, Any]) -> Any:
    """An argument as it was before `tracing` wrote it; nodes are looked up in `known`."""
    if not isinstance(value, dict):
        return value
    ((kind, own),) = value.items()
    if kind == "node":
        return known[own]
    if kind in ("tuple", "list"):
        items = [_values(item, known) for item in own]
        return tuple(items) if kind == "tuple" else items
    if kind == "slice":
        return slice(*(_values(item, known) for item in own))
    if kind == "dtype":
        found = getattr(torch, own)
        if isinstance(found, torch.dtype):
            return found
    elif kind == "ellipsis":
        return Ellipsis
    raise InputError(f"the network's description has an argument of the kind {str(kind)[:40]!r}")


def _reach(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
