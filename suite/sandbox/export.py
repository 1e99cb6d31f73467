"""A network as data: its layers by name, and where it is more than a sequence of layers, the graph of its operations.

The graph is recorded by `torch.fx` while the network maps example inputs. Sizes are then known numbers, and ordinary
Python control flow may depend on them::

    describe(module):
        a layer of the allowlist    ->  its class and the arguments of its constructor
        an nn.Sequential            ->  the description of each part
        anything else               ->  record the graph for 2 and for 3 samples, in training and in evaluation mode;
                                        the four graphs and their constants must be equal

What depends on the number of samples beyond the first dimension, on the mode, on the data or on chance gives graphs
that differ, or an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from suite.errors import InputError, sentence
from suite.models import copy_of
from suite.sandbox.allowlist import ATTRIBUTES, FUNCTIONS, LAYERS, METHODS

Description = dict[str, Any]

SAMPLES = (2, 3)
"""The numbers of samples that the graph is recorded with: what depends on the number gives two graphs."""

FUNCTION_NAMES = {function: name for name, function in FUNCTIONS.items()}
LAYER_NAMES = {layer: name for name, layer in LAYERS.items()}

PARAMETER_FLAGS = {"bias": ("in_proj_bias", "bias"), "add_bias_kv": ("bias_k",)}
"""Constructor arguments that a layer does not keep: they were true if it has the parameter of one of these names."""


def describe(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[Description, dict[str, Tensor]]:
    """`model` as data from which `suite.sandbox.rebuild` builds the same network: a description and named tensors.

    Raises:
        InputError: it does something that is not in the allowlist, or what it does depends on its data.
    """
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    if len(set(pointers)) < len(pointers):
        raise InputError("two of the network's layers share a parameter")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    examples = [torch.randn(count, *input_shape, generator=generator).to(dtype) for count in SAMPLES]
    description = _module(model, "", examples, tensors)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return {"network": description, "frozen": frozen}, tensors


def _module(module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]) -> Description:
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise InputError("the network has hooks")
    if type(module) in LAYER_NAMES:
        return _layer(module)
    if type(module) is not nn.Sequential:
        return _traced(module, path, examples, tensors)
    parts = []
    for name, part in module._modules.items():
        assert part is not None
        parts.append([name, _module(part, f"{path}{name}.", examples, tensors)])
        with torch.no_grad():
            examples = [copy_of(part).eval()(example) for example in examples]
    return {"sequential": parts}


def _layer(layer: nn.Module) -> Description:
    """A layer by its class and the arguments of its constructor, which it keeps as attributes."""
    arguments = {}
    for name in inspect.signature(type(layer)).parameters:
        if name in ("device", "dtype") or name.startswith("_"):
            continue
        attribute = next((key for key in PARAMETER_FLAGS.get(name, (name,)) if hasattr(layer, key)), None)
        if attribute is not None:
            value = getattr(layer, attribute)
            flag = value is not None and value is not False
            arguments[name] = flag if name in PARAMETER_FLAGS else _argument(value)
    return {"layer": LAYER_NAMES[type(layer)], "arguments": arguments}


def _traced(module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]) -> Description:
    """The one graph of `module`; its constants are added to `tensors`."""
    graphs = [_graph(module, example, training) for training in (False, True) for example in examples]
    (nodes, constants), *others = graphs
    for other_nodes, other_constants in others:
        equal = map(torch.equal, other_constants.values(), constants.values())
        if other_nodes != nodes or len(other_constants) != len(constants) or not all(equal):
            raise InputError("what the network does depends on the number of samples, the mode, or chance")
    tensors |= {f"{path}{name}": value for name, value in constants.items()}
    return {"graph": nodes, "tree": list(_tree(module)), "constants": list(constants)}


def _tree(module: nn.Module) -> Iterator[Description]:
    """The modules inside, in order: layers, and modules that hold parameters, buffers or layers."""
    layers: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if name.startswith(layers):
            continue
        if type(part) in LAYER_NAMES:
            layers += (f"{name}.",)
            yield {"path": name} | _layer(part)
        elif unsaved := part._non_persistent_buffers_set:
            raise InputError(f"the network keeps {min(unsaved)!r} as a buffer that is not saved")
        else:
            parameters = [key for key, parameter in part._parameters.items() if parameter is not None]
            buffers = [key for key, buffer in part._buffers.items() if buffer is not None]
            yield {"path": name, "parameters": parameters, "buffers": buffers}


def _graph(module: nn.Module, example: Any, training: bool) -> tuple[list[Description], dict[str, Tensor]]:
    """The operations of `module` on `example`, and the constants that they use."""
    model = copy_of(module).train(training)
    saved = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    try:
        with torch.no_grad():
            graph = _Tracer(model, example).trace(model)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the network cannot be recorded ({sentence(error)})") from error
    names = [str(node.target) for node in graph.nodes if node.op == "get_attr" and node.target not in saved]
    constants = {name: getattr(model, name).detach().clone().contiguous() for name in dict.fromkeys(names)}
    return [_node(node) for node in graph.nodes], constants


def _node(node: fx.Node) -> Description:
    target: Any = node.target
    if node.op == "call_function":
        if target is getattr and node.args[1] in ATTRIBUTES:
            target = "getattr"
        elif target in FUNCTION_NAMES:
            target = FUNCTION_NAMES[target]
        else:
            raise InputError(f"the network calls {getattr(target, '__name__', target)}, which is not known to be safe")
    elif node.op == "call_method" and target not in METHODS:
        raise InputError(f"the network calls the method {target}, which is not known to be safe")
    kwargs = {name: _argument(value) for name, value in node.kwargs.items()}
    return {"name": node.name, "op": node.op, "target": target, "args": _argument(list(node.args)), "kwargs": kwargs}


def _argument(value: Any) -> Any:
    """An argument as JSON can hold it; what is not a number, a text or None is an object with one key."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [_argument(item) for item in value]}
    if isinstance(value, slice):
        return {"slice": [_argument(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise InputError(f"the network uses a {type(value).__name__} as an argument")


class _Proxy(fx.Proxy):
    """A value in the graph, with the value that it has for the example: all its sizes but the first are numbers."""

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
        # Reading a parameter of the module itself would be recorded; reading one of a copy is not.
        self._copy = copy_of(module)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYER_NAMES

    def proxy(self, node: fx.Node) -> _Proxy:
        return _Proxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        proxy: Any = super().create_proxy(kind, target, args, kwargs, *more, **options)
        values, named_values = map_aggregate(
            (args, kwargs), lambda item: item.value if isinstance(item, _Proxy) else item
        )
        match kind:
            case "placeholder":
                proxy.value = self._example
            case "get_attr":
                proxy.value = attrgetter(target)(self._copy)
            case "call_module":
                proxy.value = self._copy.get_submodule(target).forward(*values, **named_values)
            case "call_method":
                proxy.value = getattr(values[0], target)(*values[1:], **named_values)
            case "call_function":
                proxy.value = target(*values, **named_values)
        return proxy
