"""A network made of data that came out of the sandbox: it contains no code, and only torch's own code runs.

Every layer, function and method is looked up in `suite.sandbox.allowlist`. Layers are built without memory (on torch's
`meta` device) and then take the tensors that came with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from suite.errors import InputError, sentence
from suite.sandbox.allowlist import ATTRIBUTES, FUNCTIONS, LAYERS, METHODS


class Graph(nn.Module):
    """A network that carries out the nodes of a graph; its layers and parameters have the names of the original."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.operations = [(n["name"], n["op"], n["target"], n["args"], n["kwargs"]) for n in nodes]

    def forward(self, x: Tensor) -> Any:
        """The result of the operations on the inputs [n, ...]."""
        values: dict[str, Any] = {}
        for name, op, target, arguments, named_arguments in self.operations:
            args = _argument(arguments, values)
            kwargs = {key: _argument(value, values) for key, value in named_arguments.items()}
            match op:
                case "placeholder":
                    values[name] = x
                case "output":
                    return args[0]
                case "get_attr":
                    values[name] = attrgetter(target)(self)
                case "call_module":
                    values[name] = self.get_submodule(target)(*args, **kwargs)
                case "call_method":
                    values[name] = getattr(args[0], target)(*args[1:], **kwargs)
                case _ if target == "getattr":
                    values[name] = getattr(args[0], args[1])
                case _:
                    values[name] = FUNCTIONS[target](*args, **kwargs)
        raise InputError("the network has no output")


def rebuild(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that `suite.sandbox.export.describe` described, with copies of its tensors by name.

    An `InputError` says that it is no description of a network, or uses what is not in the allowlist.
    """
    try:
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        with torch.device("meta"):
            model = _module(description["network"], "", copies)
        model.load_state_dict({name: copies[name] for name in model.state_dict()}, assign=True)
        frozen = set(description["frozen"])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen and parameter.is_floating_point())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the network's description cannot be used ({sentence(error)})") from error
    return model


def _module(description: Mapping[str, Any], path: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    if "layer" in description:
        return _layer(description)
    if "sequential" in description:
        model = nn.Sequential()
        for name, part in description["sequential"]:
            model.add_module(name, _module(part, f"{path}{name}.", tensors))
        return model
    for node in description["graph"]:
        _check(node)
    graph = Graph(description["graph"])
    for part in description["tree"]:
        _place(graph, part, path, tensors)
    for name in description["constants"]:
        graph.register_buffer(name, tensors[f"{path}{name}"], persistent=False)
    return graph


def _layer(description: Mapping[str, Any]) -> nn.Module:
    arguments = {name: _argument(value, {}) for name, value in description["arguments"].items()}
    return LAYERS[description["layer"]](**arguments)


def _place(graph: Graph, part: Mapping[str, Any], path: str, tensors: Mapping[str, Tensor]) -> None:
    """Put a layer, or a module that holds parameters and buffers, into `graph` where the original has it."""
    above, _, name = part["path"].rpartition(".")
    if "layer" in part:
        graph.get_submodule(above).add_module(name, _layer(part))
        return
    if name:
        graph.get_submodule(above).add_module(name, nn.Module())
    holder = graph.get_submodule(part["path"])
    prefix = f"{path}{part['path']}." if name else path
    for key in part["parameters"]:
        tensor = tensors[f"{prefix}{key}"]
        holder.register_parameter(key, nn.Parameter(tensor, tensor.is_floating_point()))
    for key in part["buffers"]:
        holder.register_buffer(key, tensors[f"{prefix}{key}"])


def _check(node: Mapping[str, Any]) -> None:
    """Refuse a node of a graph that may not be carried out."""
    op, target = node["op"], node["target"]
    allowed = {
        "placeholder": True,
        "output": True,
        "call_function": target in FUNCTIONS or target == "getattr",
        "call_method": target in METHODS,
        "call_module": isinstance(target, str),
        "get_attr": isinstance(target, str) and "__" not in target,
    }
    if not allowed.get(op, False):
        raise InputError(f"the network's description asks for {op} {str(target)[:40]!r}")
    if target == "getattr" and (attribute := node["args"]["list"][1]) not in ATTRIBUTES:
        raise InputError(f"the network's description asks for the attribute {str(attribute)[:40]!r}")


def _argument(value: Any, nodes: Mapping[str, Any]) -> Any:
    """An argument as it was before `suite.sandbox.export` wrote it; `nodes` has the values of the graph so far."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind in ("tuple", "list"):
        items = [_argument(item, nodes) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "slice":
        return slice(*(_argument(item, nodes) for item in content))
    if kind == "dtype" and isinstance(dtype := getattr(torch, content), torch.dtype):
        return dtype
    if kind == "ellipsis":
        return Ellipsis
    raise InputError(f"the network's description has an argument of the kind {str(kind)[:40]!r}")
