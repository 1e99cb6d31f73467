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
import math
from collections.abc import Iterator, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional

from suite.errors import InputError, refusal, sentence
from suite.models import copy_of
from suite.models.linear_networks import LinearNetwork
from suite.sandbox import network as form
from suite.sandbox.allowlist import (
    ATTRIBUTES,
    DTYPES,
    FIXED,
    FUNCTIONS,
    IN_PLACE,
    KEYS,
    KEYWORDS,
    LAYERS,
    WORDS,
    writes,
)
from suite.sandbox.rebuild import rebuild

SAMPLES = (2, 3)
"""The numbers of samples that the graph is recorded with: what depends on the number gives two graphs."""

LAYER_NAMES = {layer: name for name, layer in LAYERS.items()}

PARAMETER_FLAGS = {"bias": ("in_proj_bias", "bias"), "add_bias_kv": ("bias_k",)}
"""Constructor arguments that a layer does not keep: they were true if it has the parameter of one of these names."""

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def describe(
    model: nn.Module, input_shape: tuple[int, ...], vocabulary: int = 0
) -> tuple[form.Network, dict[str, Tensor]]:
    """`model` as data from which `suite.sandbox.rebuild` builds the same network: a description and named tensors.

    Args:
        model: the network.
        input_shape: the shape of one sample.
        vocabulary: samples are numbers of so many tokens; 0: they are real.

    Raises:
        InputError: it raises on such inputs (a `ShapeError` where it may be that it does not take them), it does
            something that is not in the vocabulary, what it does depends on its data, or the network that is built of
            its description gives other outputs.
    """
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    if len(set(pointers)) < len(pointers):
        raise InputError("two of the network's layers share a parameter")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    shapes = [(count, *input_shape) for count in SAMPLES]
    examples = [
        torch.randint(vocabulary, shape, generator=generator)
        if vocabulary
        else torch.randn(shape, generator=generator).to(dtype)
        for shape in shapes
    ]
    try:
        with torch.no_grad():
            copy_of(model).eval()(examples[0].clone())
    except Exception as error:
        raise refusal(f"the network raised on inputs of shape {shapes[0]} ({sentence(error)})", error) from error
    description = _module(model, "", [example.clone() for example in examples], tensors)
    frozen = tuple(name for name, parameter in model.named_parameters() if not parameter.requires_grad)
    network = form.Network(description, frozen)
    _compare(model, rebuild(network, tensors, input_shape, vocabulary), examples[0])
    return network, tensors


def _compare(model: nn.Module, again: nn.Module, example: Tensor) -> None:
    """Refuse with an `InputError` a network that, built anew, gives other outputs than `model`."""
    for training in (True, False):
        outputs = []
        for network in (model, again):
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                outputs.append(copy_of(network).train(training)(example.clone()))
        if not torch.equal(*(output.nan_to_num() for output in outputs)):
            raise InputError(
                "built anew from its description, the network gives other outputs (it changes values in place?)"
            )


def _module(
    module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]
) -> form.Layer | form.Graph | form.Sequential:
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise InputError("the network has hooks")
    if type(module) in LAYER_NAMES:
        return _layer(module)
    if type(module) is not nn.Sequential:
        return _traced(module, path, examples, tensors)
    parts = []
    for name, part in module._modules.items():
        assert part is not None
        parts.append((name, _module(part, f"{path}{name}.", examples, tensors)))
        with torch.no_grad():
            examples = [copy_of(part).eval()(example) for example in examples]
    return form.Sequential(tuple(parts))


def _layer(layer: nn.Module) -> form.Layer:
    """A layer by its class and the arguments of its constructor, which it keeps as attributes."""
    if isinstance(layer, nn.TransformerEncoderLayer):
        return form.Layer(LAYER_NAMES[type(layer)], _encoder_arguments(layer))
    if isinstance(layer, LinearNetwork):
        outputs, features = layer.head.shape
        depth = len(layer.layers) + 1
        return form.Layer(LAYER_NAMES[type(layer)], {"features": features, "outputs": outputs, "depth": depth})
    arguments: form.Arguments = {}
    for name in inspect.signature(type(layer)).parameters:
        if name in ("device", "dtype", "inplace") or name.startswith("_"):
            continue
        attribute = next((key for key in PARAMETER_FLAGS.get(name, (name,)) if hasattr(layer, key)), None)
        if attribute is not None:
            value = getattr(layer, attribute)
            flag = value is not None and value is not False
            arguments[name] = flag if name in PARAMETER_FLAGS else _argument(value)
    return form.Layer(LAYER_NAMES[type(layer)], arguments)


def _encoder_arguments(layer: nn.TransformerEncoderLayer) -> form.Arguments:
    """The arguments of its constructor, which this layer keeps in its parts."""
    activations = {functional.relu: "relu", functional.gelu: "gelu"}
    if layer.activation not in activations:
        raise InputError("the activation of a TransformerEncoderLayer must be 'relu' or 'gelu'")
    return {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout1.p,
        "activation": activations[layer.activation],
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }


def _traced(module: nn.Module, path: str, examples: list[Any], tensors: dict[str, Tensor]) -> form.Graph:
    """The one graph of `module`; its constants are added to `tensors`."""
    parts = tuple(_parts(module))
    (root_path, root), *others = parts
    assert not root_path
    assert isinstance(root, form.Holder)
    graphs = [_graph(module, example.clone(), training) for training in (False, True) for example in examples]
    (nodes, output, constants), *more = graphs
    for other_nodes, other_output, other_constants in more:
        equal = map(torch.equal, other_constants.values(), constants.values())
        if (other_nodes, other_output, list(other_constants)) != (nodes, output, list(constants)) or not all(equal):
            raise InputError("what the network does depends on the number of samples, the mode, or chance")
    tensors |= {f"{path}{name}": value for name, value in constants.items()}
    return form.Graph(root, tuple(others), tuple(constants), nodes, output)


def _parts(module: nn.Module) -> Iterator[tuple[str, form.Layer | form.Holder]]:
    """The modules inside by path, in order: layers, and modules that hold parameters, buffers or layers."""
    layers: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if name.startswith(layers):
            continue
        if type(part) in LAYER_NAMES:
            layers += (f"{name}.",)
            yield name, _layer(part)
        elif unsaved := part._non_persistent_buffers_set:
            raise InputError(f"the network keeps {min(unsaved)!r} as a buffer that is not saved")
        else:
            parameters = tuple(key for key, parameter in part._parameters.items() if parameter is not None)
            buffers = tuple(key for key, buffer in part._buffers.items() if buffer is not None)
            yield name, form.Holder(parameters, buffers)


def _graph(module: nn.Module, example: Any, training: bool) -> tuple[tuple[form.Node, ...], int, dict[str, Tensor]]:
    """The operations of `module` on `example`, the number of the value that it returns, and its constants."""
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
    start, *nodes, end = graph.nodes
    if start.op != "placeholder" or any(node.op == "placeholder" for node in nodes):
        raise InputError("the network takes more than its inputs")
    numbers = {node: number for number, node in enumerate((start, *nodes))}
    if end.args[0] not in numbers:
        raise InputError("the network returns no tensor")
    return tuple(_node(node, numbers) for node in nodes), numbers[end.args[0]], constants


def _node(node: fx.Node, numbers: Mapping[fx.Node, int]) -> form.Node:
    target: Any = node.target
    if node.op == "get_attr":
        return form.TensorNode(target)
    args, kwargs = node.args, dict(node.kwargs)
    if node.op == "call_module":
        key = target
    elif target is getattr and args[1] in ATTRIBUTES:
        key, args = f"attribute.{args[1]}", args[:1]
    elif target in IN_PLACE:
        key = IN_PLACE[target]
    elif node.op == "call_method":
        key = f"tensor.{target}"
        if key not in FUNCTIONS:
            raise InputError(f"the network calls the method {target}, which is not known to be safe")
    elif target in KEYS:
        key = KEYS[target]
        args, kwargs = _without_fixed(target, args, kwargs)
    else:
        raise InputError(f"the network calls {getattr(target, '__name__', target)}, which is not known to be safe")
    if unknown := kwargs.keys() - KEYWORDS:
        raise InputError(f"the network calls {key} with {min(unknown)}=, which is not known to be safe")
    written = tuple(_argument(value, numbers) for value in args)
    if key == "torch.einsum" and isinstance(args[0], str):
        written = (args[0], *written[1:])
    kind = form.LayerNode if node.op == "call_module" else form.FunctionNode
    return kind(key, written, {name: _argument(value, numbers) for name, value in kwargs.items()})


def _without_fixed(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments without those that change an argument in place: the network leaves without them."""
    for name in FIXED.keys() & kwargs.keys():
        if name != "inplace" and kwargs[name] != FIXED[name]:
            raise InputError(f"the network calls {target.__name__} with {name}=, which is not known to be safe")
        del kwargs[name]
    if "inplace" in writes(target):
        place = list(inspect.signature(target).parameters).index("inplace")
        args = args[:place]
    return args, kwargs


def _argument(value: Any, numbers: Mapping[fx.Node, int] = MappingProxyType({})) -> form.Argument:
    """An argument in the format of `suite.sandbox.network`; nodes have `numbers`."""
    if isinstance(value, float) and not math.isfinite(value):
        return form.Special(str(value))
    if isinstance(value, str) and value not in WORDS:
        raise InputError(f"the network uses {value[:40]!r} as an argument, which is not known to be safe")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, fx.Node):
        return form.Value(numbers[value])
    if isinstance(value, tuple | list):
        return form.Several(tuple(_argument(item, numbers) for item in value), isinstance(value, list))
    if isinstance(value, slice):
        return form.Slice(*(_argument(item, numbers) for item in (value.start, value.stop, value.step)))
    if value is Ellipsis:
        return form.Special("...")
    if value in _DTYPE_NAMES:
        return form.Special(_DTYPE_NAMES[value])
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
        self._copies = set(self._copy.modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYER_NAMES

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if m in self._copies:  # a part of a layer that is computing the value of the example
            return forward(*args, **kwargs)
        if type(m) is nn.TransformerEncoder and len(args) == 1 and not kwargs:
            # Without a mask it is its layers in a row; its own code asks for more than a graph can say.
            (x,) = args
            for part in (*m.layers, *([] if m.norm is None else [m.norm])):
                x = part(x)
            return x
        return super().call_module(m, forward, args, kwargs)

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
