"""A network as data: its layers by name, and where it is more than a sequence of layers, the graph of its operations.

The graph is recorded by `torch.fx` while the network maps example inputs, so that sizes are known and ordinary Python
may depend on them. It is recorded for several numbers of samples, for training and for evaluation; they must be one.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from suite.errors import InputError, sentence
from suite.sandbox.allowlist import ATTRIBUTES, FUNCTIONS, LAYERS, METHODS

Description = dict[str, Any]


SAMPLES = (2, 3)
"""How many samples the graph is recorded with: what hangs on the number shows."""


_FUNCTION_NAMES = {function: name for name, function in FUNCTIONS.items()}


_LAYER_NAMES = {layer: name for name, layer in LAYERS.items()}


_PRESENT = {"bias": ("in_proj_bias", "bias"), "add_bias_kv": ("bias_k",)}
"""Arguments that a layer keeps as the parameter itself: given if it is there."""


def describe(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[Description, dict[str, Tensor]]:
    """`model` as data that `suite.sandbox.rebuild` makes the same network of, and its tensors by name.

    Raises:
        InputError: it does something that is not in the vocabulary, or what it does depends on its data.
    """
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    if len(set(pointers)) < len(pointers):
        raise InputError("two of the network's layers share a parameter")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    examples = [torch.randn(count, *input_shape, generator=generator).to(dtype) for count in SAMPLES]
    description = _described(model, "", examples, tensors)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return {"network": description, "frozen": frozen}, tensors


def _described(module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]) -> Description:
    if any(own._forward_hooks or own._forward_pre_hooks for own in module.modules()):
        raise InputError("the network has hooks")
    if type(module) in _LAYER_NAMES:
        return _layer(module)
    if type(module) is not nn.Sequential:
        return _traced(module, path, examples, tensors)
    parts = []
    for name, part in module._modules.items():
        assert part is not None
        parts.append([name, _described(part, f"{path}{name}.", examples, tensors)])
        with torch.no_grad():
            examples = [copy.deepcopy(part).eval()(example) for example in examples]
    return {"sequential": parts}


def _layer(layer: nn.Module) -> Description:
    """A layer by its class and the arguments of its constructor, which it keeps as attributes."""
    arguments = {}
    for name in list(inspect.signature(type(layer)).parameters):
        if name in ("device", "dtype") or name.startswith("_"):
            continue
        found = next((own for own in _PRESENT.get(name, (name,)) if hasattr(layer, own)), None)
        if found is not None:
            value = getattr(layer, found)
            arguments[name] = value is not None and value is not False if name in _PRESENT else _plain(value)
    return {"layer": _LAYER_NAMES[type(layer)], "arguments": arguments}


def _traced(module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]) -> Description:
    (nodes, constants), *others = [
        _graph(module, example, training) for training in (False, True) for example in examples
    ]
    for other, values in others:
        same = len(values) == len(constants) and all(map(torch.equal, values.values(), constants.values()))
        if other != nodes or not same:
            raise InputError("what the network does depends on the number of samples, the mode, or chance")
    tensors |= {f"{path}{name}": value for name, value in constants.items()}
    return {"graph": nodes, "tree": list(_tree(module)), "constants": list(constants)}


def _tree(module: nn.Module) -> Iterator[Description]:
    """The modules inside: layers, and what else holds parameters, buffers or layers, in order."""
    layers: list[str] = []
    for name, part in module.named_modules():
        if any(name.startswith(f"{layer}.") for layer in layers):
            continue
        if type(part) in _LAYER_NAMES:
            layers.append(name)
            yield {"path": name} | _layer(part)
        else:
            temporary = part._non_persistent_buffers_set
            if temporary:
                raise InputError(f"the network keeps {sorted(temporary)[0]!r} as a buffer that is not saved")
            yield {"path": name, "parameters": _names(part._parameters), "buffers": _names(part._buffers)}


def _names(tensors: dict[str, Any]) -> list[str]:
    return [name for name, tensor in tensors.items() if tensor is not None]


def _graph(module: nn.Module, example: Any, training: bool) -> tuple[list[Description], dict[str, Tensor]]:
    """The operations of `module` on `example`, and the constants that they use."""
    own = copy.deepcopy(module).train(training)
    known = {name for name, _ in (*own.named_parameters(), *own.named_buffers())}
    tracer = _Tracer(own, example)
    try:
        with torch.no_grad():
            graph = tracer.trace(own)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the network cannot be recorded ({sentence(error)})") from error
    fixed = [str(node.target) for node in graph.nodes if node.op == "get_attr" and node.target not in known]
    constants = {name: getattr(own, name).detach().clone().contiguous() for name in dict.fromkeys(fixed)}
    return [_node(node) for node in graph.nodes], constants


def _node(node: fx.Node) -> Description:
    target: Any = node.target
    if node.op == "call_function":
        if target is getattr and node.args[1] in ATTRIBUTES:
            target = "getattr"
        elif target in _FUNCTION_NAMES:
            target = _FUNCTION_NAMES[target]
        else:
            raise InputError(f"the network calls {getattr(target, '__name__', target)}, which is not known to be safe")
    elif node.op == "call_method" and target not in METHODS:
        raise InputError(f"the network calls the method {target}, which is not known to be safe")
    kwargs = {name: _plain(value) for name, value in node.kwargs.items()}
    return {"name": node.name, "op": node.op, "target": target, "args": _plain(list(node.args)), "kwargs": kwargs}


def _plain(value: Any) -> Any:
    """An argument as JSON can hold it; what is not a number, a text or nothing is an object with one key."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [_plain(item) for item in value]}
    if isinstance(value, slice):
        return {"slice": [_plain(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise InputError(f"the network uses a {type(value).__name__} as an argument")


class _Recorded(fx.Proxy):
    """A value in the graph that knows what it is for the example: sizes but the first are numbers."""

    value: Any = None

    def __getattr__(self, name: str) -> Any:
        return self._attribute(name) if name in ATTRIBUTES else super().__getattr__(name)

    def _attribute(self, name: str) -> Any:
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    @property
    def shape(self) -> tuple[Any, ...]:
        sizes = tuple(self.value.shape)
        return (self._attribute("shape")[0], *sizes[1:]) if sizes else ()

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self.value)))  # type: ignore[index]

    def _number(self) -> Any:
        if isinstance(self.value, Tensor):
            raise InputError("what the network does depends on its data")
        return self.value

    def __bool__(self) -> bool:
        return bool(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        return int(self._number())

    def __float__(self) -> float:
        return float(self._number())


class _Tracer(fx.Tracer):
    """Records the operations of a module while it maps an example."""

    proxy_buffer_attributes = True

    def __init__(self, module: nn.Module, example: Any) -> None:
        super().__init__()
        self._example = example
        # Parameters of the module itself are recorded when they are read; those of a copy are not.
        self._values = copy.deepcopy(module)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _LAYER_NAMES

    def proxy(self, node: fx.Node) -> _Recorded:
        return _Recorded(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        recorded: Any = super().create_proxy(kind, target, args, kwargs, *more, **options)
        values, named = (
            map_aggregate(own, lambda item: item.value if isinstance(item, _Recorded) else item)
            for own in (args, kwargs)
        )
        recorded.value = self._evaluated(kind, target, values, named)
        return recorded

    def _evaluated(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self._example
        if kind == "get_attr":
            return _reached(self._values, target)
        if kind == "call_module":
            return _reached(self._values, target).forward(*args, **kwargs)
        if kind == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs) if kind == "call_function" else None


def _reached(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
