"""What a network does with its weights: the calls in which they meet activations, and how channels flow between calls.

    calls      = functions of torch, in the order in which the network calls them, whoever wrote its `forward`
    operands   = the tensors of a call that do not depend on the samples: effective weights, parameters or not
    channels   = every entry of an activation carries the number of its channel; what only moves entries moves these

A channel is known by what happens to it: which calls write it, read it, add to it, normalize it or bend it. Channels
with the same history are interchangeable, and how far the network fixes their coordinates decides which changes of its
weights leave the function alone. A function that is not known here leaves the network unproved.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Arguments = dict[str, Any]
Change = Callable[[Callable[..., Any], str, Arguments], Tensor]
"""(the function of a call, its name, its arguments) -> the result with other operands."""
Event = tuple[Any, str]
"""What happens to a channel: in which call or head, and what."""

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
SITES: Mapping[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    "matmul": ("input", "other"),
    "embedding": ("input", "weight"),
    "conv1d": _CONVOLUTION,
    "conv2d": _CONVOLUTION,
    "conv3d": _CONVOLUTION,
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "add": ("input", "other", "alpha"),
}
"""The functions that weights enter, by their arguments in order."""

ALIASES = {
    "__matmul__": "matmul",
    "mm": "matmul",
    "__add__": "add",
    "__radd__": "add",
    "__iadd__": "add",
    "add_": "add",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _words(
    """reshape view flatten unflatten permute transpose swapaxes movedim unbind chunk split squeeze unsqueeze expand
    contiguous narrow select __getitem__ cat concat stack clone repeat repeat_interleave view_as reshape_as expand_as t
    flip roll to float double type_as"""
)
"""Entries of the result are entries of the arguments."""

ELEMENTWISE = _words(
    """relu relu_ relu6 leaky_relu leaky_relu_ gelu silu mish elu elu_ selu celu softplus softsign tanh sigmoid
    hardtanh hardsigmoid hardswish logsigmoid sin cos exp square abs"""
)
"""A nonlinear function of every entry: coordinates are fixed, up to their order, scale or sign."""

LINEAR = frozenset({"linear", "matmul", "embedding", "conv1d", "conv2d", "conv3d"})
STRAIGHT = frozenset({"move", "mean", "add", "factor"})
"""What is done to an activation that keeps it a linear function of what it was."""

MAXIMA = frozenset({"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"})
MEANS = frozenset({"avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"})
"""Means over positions, channel by channel."""

FACTORS = frozenset({"mul", "__mul__", "__rmul__", "div", "__truediv__", "neg"})
"""By a number."""

DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"})
TRANSPOSED = (torch.Tensor.T.__get__, torch.Tensor.mT.__get__)  # type: ignore[attr-defined]


Cell = Callable[[Sequence[Tensor], Sequence[Callable[[Tensor], Tensor]], Sequence[Tensor]], list[Tensor]]
"""(what the input gives each gate, what a state gives it, the states) -> the states, the output first."""


def _rnn(bend: Callable[[Tensor], Tensor]) -> Cell:
    return lambda given, recur, states: [bend(given[0] + recur[0](states[0]))]


def _gru(
    given: Sequence[Tensor], recur: Sequence[Callable[[Tensor], Tensor]], states: Sequence[Tensor]
) -> list[Tensor]:
    (h,) = states
    reset, update = (torch.sigmoid(given[at] + recur[at](h)) for at in range(2))
    new = torch.tanh(given[2] + reset * recur[2](h))
    return [(h - new) * update + new]


def _lstm(
    given: Sequence[Tensor], recur: Sequence[Callable[[Tensor], Tensor]], states: Sequence[Tensor]
) -> list[Tensor]:
    h, c = states
    enter, keep, new, leave = (each + f(h) for each, f in zip(given, recur, strict=True))
    c = torch.sigmoid(keep) * c + torch.sigmoid(enter) * torch.tanh(new)
    return [torch.sigmoid(leave) * torch.tanh(c), c]


RECURRENT: Mapping[Any, Cell] = {
    torch.rnn_tanh: _rnn(torch.tanh),
    torch.rnn_relu: _rnn(torch.relu),
    torch.gru: _gru,
    torch.lstm: _lstm,
}


def _unrolled(cell: Cell, x: Tensor, states: list[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Outputs [n, steps, hidden] and last states of one layer in one direction on x [n, steps, inputs].

    Gate by gate. Two constants that are added are one; that of a GRU's new state is multiplied before it is added.
    """
    size = weights[1].shape[1]
    inputs, hidden, *biases = (list(torch.split(weight, size)) for weight in weights)
    first, second = biases or ([None] * len(inputs), [None] * len(inputs))
    kept = [None, None, second[2]] if cell is _gru else [None] * len(inputs)
    given = [
        functional.linear(x, weight, one if one is None or other is None or own is not None else one + other)
        for weight, one, other, own in zip(inputs, first, second, kept, strict=True)
    ]
    recur = [functools.partial(functional.linear, weight=w, bias=own) for w, own in zip(hidden, kept, strict=True)]
    outputs = []
    for step in range(x.shape[1]):
        states = cell([each[:, step] for each in given], recur, states)
        outputs.append(states[0])
    return torch.stack(outputs, 1), states


class Calls(TorchFunctionMode):
    """Sees every call of a function of torch while a network runs; calls that weights enter are numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            attend = _attention_of(args, options)
            if attend is not None:
                with self:
                    return attend()
        if func in RECURRENT:
            run = self._recurrent_of(RECURRENT[func], args, options)
            if run is not None:
                with self:
                    return run()
        name = getattr(func, "__name__", "")
        name = ALIASES.get(name, name)
        if name not in SITES:
            return self.other(func, name, args, options)
        number, self.count = self.count, self.count + 1
        return self.site(number, func, name, dict(zip(SITES[name], args, strict=False)) | options)

    def _recurrent_of(self, cell: Cell, args: Sequence[Any], options: Arguments) -> Callable[[], Any] | None:
        """Recurrent layers in the steps that they are made of; None where it is not known how."""
        if options or len(args) != 9 or not isinstance(args[2], list | tuple):  # packed sequences have another order
            return None
        x, start, weights, biased, layers, dropout, training, both_ways, batch_first = args
        starts = list(start) if isinstance(start, list | tuple) else [start]
        each = 4 if biased else 2
        if (training and dropout > 0) or len(weights) != each * layers * (1 + both_ways) or x.dim() != 3:
            return None
        if any(state.requires_grad for state in starts):
            return None

        def run() -> Any:
            sequence, ends = x if batch_first else x.transpose(0, 1), []
            for layer in range(layers):
                found = []
                for way in range(1 + both_ways):
                    at = layer * (1 + both_ways) + way
                    states = [self.started(state[at]) for state in starts]
                    given = sequence.flip(1) if way else sequence
                    outputs, last = _unrolled(cell, given, states, weights[each * at : each * (at + 1)])
                    found.append(outputs.flip(1) if way else outputs)
                    ends.append(last)
                sequence = torch.cat(found, 2) if both_ways else found[0]
            lasts = [torch.stack(parts) for parts in zip(*ends, strict=True)]
            return sequence if batch_first else sequence.transpose(0, 1), *lasts

        return run

    def started(self, state: Tensor) -> Tensor:
        """The first state of a recurrent layer."""
        return state

    def site(self, number: int, func: Callable[..., Any], name: str, arguments: Arguments) -> Any:
        """The result of a call that weights may enter."""
        raise NotImplementedError

    def other(self, func: Callable[..., Any], name: str, args: Sequence[Any], options: Arguments) -> Any:
        """The result of any other call."""
        return func(*args, **options)


def called(func: Callable[..., Any], name: str, arguments: Arguments) -> Any:
    """The function at these arguments; those that come first are passed by position, as methods want them."""
    names = SITES[name]
    first = next((i for i, each in enumerate(names) if each not in arguments), len(names))
    rest = {key: value for key, value in arguments.items() if key not in names[:first]}
    return func(*(arguments[each] for each in names[:first]), **rest)


_ATTENTION = inspect.signature(functional.multi_head_attention_forward)


def _attention_of(args: Sequence[Any], options: Arguments) -> Callable[[], tuple[Tensor, None]] | None:
    """Multi-head attention in the steps that it is made of; None where there are masks or further tokens."""
    bound = _ATTENTION.bind(*args, **options)
    bound.apply_defaults()
    given = bound.arguments
    unusual = ("bias_k", "bias_v", "key_padding_mask", "attn_mask", "static_k", "static_v")
    if any(given[name] is not None for name in unusual) or given["add_zero_attn"] or given["query"].dim() != 3:
        return None
    if given["training"] and given["dropout_p"] > 0:
        return None
    if given["use_separate_proj_weight"]:
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    biases = [None] * 3 if given["in_proj_bias"] is None else list(given["in_proj_bias"].chunk(3))
    heads = given["num_heads"]

    def attend() -> tuple[Tensor, None]:
        inputs = [given[name] for name in ("query", "key", "value")]
        projected = [
            functional.linear(x, weight, bias).reshape(*x.shape[:2], heads, -1).permute(1, 2, 0, 3)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        ]
        queries, keys, values = projected
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        tokens = mixed.permute(2, 0, 1, 3).flatten(2)
        return functional.linear(tokens, given["out_proj_weight"], given["out_proj_bias"]), None

    return attend


class Replay(Calls):
    """Runs a network with other operands in some of its calls.

    Attributes:
        changed: call number -> (the function, its name, its arguments) to the result.
        seen: call number -> what is told the call's input and result.
    """

    def __init__(
        self,
        changed: Mapping[int, Change],
        seen: Mapping[int, Callable[[Tensor, Tensor], None]] | None = None,
    ) -> None:
        super().__init__()
        self.changed, self.seen = changed, seen or {}

    def site(self, number: int, func: Callable[..., Any], name: str, arguments: Arguments) -> Any:
        change = self.changed.get(number)
        result = called(func, name, arguments) if change is None else change(func, name, arguments)
        if number in self.seen:
            self.seen[number](arguments["input"], result)
        return result


@dataclass(eq=False)
class Node:
    """An activation: the channel of each of its entries, and what its values are used for.

    Attributes:
        factor: of another activation that it is a multiple of, by how much.
        copies: whether entries of another activation may stand in it more than once.
        known: whether the function that it is a result of is known.
        overlaps: whether its entries are means over positions of which some may be in several.
    """

    tensor: Tensor
    labels: Tensor
    uses: list[tuple[str, Node | None]] = field(default_factory=list)
    factor: float = 1.0
    copies: bool = False
    known: bool = True
    overlaps: bool = False


@dataclass(eq=False)
class Site:
    """A call in which operands meet activations.

    Attributes:
        number: of the call.
        name: of the function, as in `SITES`.
        arguments: as they were given.
        before, after: the activations; `before` is None for an embedding.
        reads, writes: channels of the input (an entry for each input of a linear map) and of the output.
        labels: of a sum, the channels of the operand's entries.
    """

    number: int
    name: str
    arguments: Arguments
    before: Node | None
    after: Node
    reads: Tensor
    writes: Tensor
    labels: Tensor | None = None


class Recorder(Calls):
    """Records the calls of one run.

    Attributes:
        sites: the calls that operands enter.
        nodes: the activations, in order.
        products: of every head, its number, and the channels of queries and keys that are multiplied with each other.
        forgetting: results of layer norms and softmaxes, and the channels whose common part these forget.
        shares: results of softmaxes and one-hot vectors, and their channels: these add up to 1.
        problems: functions that are not known, by name; empty if everything is understood.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.sites: list[Site] = []
        self.problems: list[str] = []
        self._parents = torch.zeros(0, dtype=torch.long)
        self._fixed: list[Tensor] = []
        self._history: list[tuple[Event, Tensor]] = []
        self.nodes: list[Node] = []
        self.products: list[tuple[object, Tensor, Tensor]] = []
        self.forgetting: dict[Node, Tensor] = {}
        self.shares: dict[Node, Tensor] = {}
        self._nodes: dict[int, Node] = {}
        per_entry = self._fresh(x[0].numel(), fixed=True).view(x.shape[1:])
        self._add(x, per_entry.expand(x.shape))

    # -- channels -----------------------------------------------------------------------------------------------------

    def _fresh(self, count: int, *, fixed: bool = False) -> Tensor:
        first = len(self._parents)
        new = torch.arange(first, first + count)
        self._parents = torch.cat([self._parents, new])
        if fixed:
            self._fixed.append(new)
        return new

    @property
    def channel_count(self) -> int:
        """How many channels there are."""
        return len(self._parents)

    def roots(self, channels: Tensor) -> Tensor:
        """One number for all channels that are added to each other."""
        while True:
            upper = self._parents[channels]
            if torch.equal(upper, channels):
                return channels
            channels = upper

    def channels(self, tensor: Tensor, axis: int) -> Tensor:
        """The channels along an axis of an activation; none if they differ between positions."""
        node = self.node(tensor)
        found = None if node is None or tensor.dim() <= axis else self._along(node.labels, axis)
        return torch.zeros(0, dtype=torch.long) if found is None else found

    def fix(self, channels: Tensor) -> None:
        self._fixed.append(_unique(channels))

    def fixed(self) -> Tensor:
        """The roots of channels whose coordinates something fixes."""
        return _unique(self.roots(torch.cat(self._fixed)))

    def remember(self, event: Event, channels: Tensor) -> None:
        self._history.append((event, _unique(channels)))

    def histories(self) -> dict[int, frozenset[Event]]:
        """By root, what happens to it."""
        found: dict[int, set[Event]] = {}
        for event, channels in self._history:
            for root in self.roots(channels).tolist():
                found.setdefault(root, set()).add(event)
        return {root: frozenset(events) for root, events in found.items()}

    def merge(self, first: Tensor, second: Tensor) -> None:
        pairs = torch.stack(_broadcast(first, second)).reshape(2, -1)
        pairs = torch.unique(pairs, dim=1)
        for one, other in zip(*(self.roots(side).tolist() for side in pairs), strict=True):
            one, other = int(self.roots(torch.tensor(one))), int(self.roots(torch.tensor(other)))
            self._parents[max(one, other)] = min(one, other)

    # -- activations --------------------------------------------------------------------------------------------------

    def node(self, value: object) -> Node | None:
        found = self._nodes.get(id(value))
        return found if found is not None and found.tensor is value else None

    def _add(self, tensor: Tensor, labels: Tensor, kind: str = "", sources: Sequence[Node] = ()) -> Node:
        node = Node(tensor, labels)
        self.nodes.append(node)
        self._nodes[id(tensor)] = node
        for source in sources:
            source.uses.append((kind, node))
        return node

    def _unknown(self, name: str, sources: Sequence[Node], result: Any) -> None:
        """Nothing is known of a result, so that all its channels are fixed, and those that it came from."""
        for source in sources:
            self.fix(source.labels)
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.dim() > 0:
                labels = self._fresh(tensor[0].numel(), fixed=True).view(tensor.shape[1:])
                self._add(tensor, labels.expand(tensor.shape), name, sources).known = False

    def _problem(self, name: str, sources: Sequence[Node], result: Any) -> None:
        self.problems.append(name)
        self._unknown(name, sources, result)

    def _is_fixed(self, channels: Tensor) -> bool:
        return bool(torch.isin(self.roots(_unique(channels)), self.fixed()).all())

    def _along(self, labels: Tensor, axis: int) -> Tensor | None:
        """The channels along an axis, if they are the same at every position and sample."""
        moved = labels.movedim(axis, -1)
        first = moved.reshape(-1, moved.shape[-1])[0]
        return first if bool((moved == first).all()) else None

    # -- calls --------------------------------------------------------------------------------------------------------

    def other(self, func: Callable[..., Any], name: str, args: Sequence[Any], options: Arguments) -> Any:
        result = func(*args, **options)
        sources = [node for value in _flat([*args, *options.values()]) if (node := self.node(value)) is not None]
        if not sources or not any(isinstance(each, Tensor) for each in _flat([result])):
            return result
        in_a_view = name.endswith("_") and not name.startswith("__") and sources[0].tensor._is_view()
        if (
            in_a_view
            or _is_hidden_symmetry(name, args, options)
            or (name == "pad" and (args[3] if len(args) > 3 else options.get("value")))
        ):
            self._problem(name, sources, result)
        elif name in MOVES or func in TRANSPOSED or name == "pad" or (name in DROPOUTS and result is sources[0].tensor):
            self._moved(func, name, args, options, sources, result)
        elif name in ("softmax", "log_softmax") and isinstance(result, Tensor):
            self._normalized(name, args, options, sources[0], result)
        elif (
            name == "square"
            or (name in ("pow", "__pow__") and 2 in args[1:])
            or (name in ("mul", "__mul__") and len(sources) == 2)
        ) and self._is_polynomial(sources):
            self._problem(name, sources, result)
        elif name in ELEMENTWISE or (name in ("mul", "__mul__") and len(sources) == 2 and _are_alike(sources)):
            for source in sources:
                self.fix(source.labels)
            channels, places = _numbered(sources[0].labels)
            self._add(result, self._fresh(len(channels), fixed=True)[places].expand(result.shape), name, sources)
        elif name in FACTORS and not any(isinstance(each, Tensor) for each in args[1:]):
            self.remember((len(self.nodes), "factor"), sources[0].labels)
            self._add(result, sources[0].labels, "factor", sources).factor = _factor(name, args, options)
        elif name in MAXIMA | MEANS and isinstance(result, Tensor):
            self._pooled(name, sources[0], result)
        elif name == "mean":
            self._averaged(args, options, sources[0], result)
        elif name == "scaled_dot_product_attention":
            self._attended(args, options, result)
        elif name == "one_hot":
            node = self._add(result, self._fresh(result.shape[-1], fixed=True).expand(result.shape), name, sources)
            self.shares[node] = node.labels.reshape(-1, result.shape[-1])[0]
        elif not _are_trained([*args, *options.values()], sources) and all(self._is_fixed(s.labels) for s in sources):
            self._unknown(name, sources, result)  # one more nonlinearity
        else:
            self._problem(name, sources, result)
        return result

    def _is_polynomial(self, factors: Sequence[Node]) -> bool:
        """Whether a product is one of two linear functions of one activation, which many pairs of maps give."""
        if all(
            any(node is result and name == "abs" for each in self.nodes for name, result in each.uses)
            for node in factors
        ):
            return True  # the absolute value's square is the square
        one, other = factors[0], factors[-1]
        if not any(self._is_fixed(node.labels) for node in factors):
            return True
        return one is not other and (_is_linear_in(one, other) or _is_linear_in(other, one))

    def _moved(
        self,
        func: Callable[..., Any],
        name: str,
        args: Sequence[Any],
        options: Arguments,
        sources: Sequence[Node],
        result: Any,
    ) -> None:
        if name in DROPOUTS or name in ("to", "float", "double", "type_as"):
            labels: Any = sources[0].labels
        elif name == "pad":
            labels = functional.pad(sources[0].labels, args[1], value=int(self._fresh(1, fixed=True)))
        else:
            try:
                labels = func(*self._labels_in(args), **{key: self._labels_in(v) for key, v in options.items()})
            except (TypeError, RuntimeError, AttributeError):
                self._problem(name, sources, result)
                return
        together = torch.cat([_unique(self.roots(source.labels)) for source in sources])
        copies = any(source.copies for source in sources) or len(_unique(together)) < len(together)
        copies |= sum(tensor.numel() for tensor in _flat([result])) > sum(s.tensor.numel() for s in sources)
        pairs = zip(_flat([result]), _flat([labels]), strict=True)
        for tensor, moved in pairs:
            node = self._add(tensor, moved, "pad" if name == "pad" else "move", sources)
            node.copies = copies and name != "pad"

    def _labels_in(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._labels_in(each) for each in value)
        node = self.node(value)
        if node is not None:
            return node.labels
        if isinstance(value, Tensor) and value.is_floating_point():
            raise TypeError("a constant among activations has no channel")
        return value

    def _pooled(self, name: str, source: Node, result: Tensor) -> None:
        channels = self._along(source.labels, 1)
        if channels is None or source.labels.dim() != result.dim():
            self._unknown(name, [source], result) if self._is_fixed(source.labels) else self._problem(
                name, [source], result
            )
            return
        if name in MAXIMA:
            self.fix(channels)
            unique, places = _numbered(channels)
            channels = self._fresh(len(unique), fixed=True)[places]
        shape = (1, -1, *[1] * (result.dim() - 2))
        node = self._add(result, channels.view(shape).expand(result.shape), "mean" if name in MEANS else name, [source])
        node.overlaps = name in MEANS and 2 * result.numel() > source.tensor.numel()

    def _averaged(self, args: Sequence[Any], options: Arguments, source: Node, result: Tensor) -> None:
        axes = options.get("dim", args[1] if len(args) > 1 else None)
        keep = options.get("keepdim", args[2] if len(args) > 2 else False)
        if axes is not None:
            low, high = source.labels.amin(axes, keepdim=keep), source.labels.amax(axes, keepdim=keep)
            if torch.equal(low, high):
                self._add(result, low, "mean", [source])
                return
        self._unknown("mean", [source], result) if self._is_fixed(source.labels) else self._problem(
            "mean", [source], result
        )

    def _normalized(self, name: str, args: Sequence[Any], options: Arguments, source: Node, result: Tensor) -> None:
        """A softmax over channels, which forgets what is added to all of them."""
        axis = options.get("dim", args[1] if len(args) > 1 else None)
        channels = self._along(source.labels, axis) if isinstance(axis, int) else None
        if not isinstance(axis, int) or channels is None or len(_unique(channels)) < len(channels):
            self._unknown(name, [source], result) if self._is_fixed(source.labels) else self._problem(
                name, [source], result
            )
            return
        self.fix(channels)
        shape = [1] * result.dim()
        shape[axis] = -1
        node = self._add(
            result, self._fresh(len(channels), fixed=True).view(shape).expand(result.shape), name, [source]
        )
        self.forgetting[node] = channels
        if name == "softmax":
            self.shares[node] = node.labels.movedim(axis, -1).reshape(-1, len(channels))[0]

    def _attended(self, args: Sequence[Any], options: Arguments, result: Tensor) -> None:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | options
        nodes = [self.node(given[name]) for name in names[:3]]
        known = [node for node in nodes if node is not None]
        mask = given.get("attn_mask")
        if len(known) < 3 or (mask is not None and (mask.requires_grad or self.node(mask) is not None)):
            self._problem("scaled_dot_product_attention", known, result)
            return
        heads = []
        for node in known:
            first = node.labels[:1, ..., :1, :]
            if not bool((node.labels == first).all()):
                self._problem("scaled_dot_product_attention", known, result)
                return
            heads.append(first.reshape(-1, first.shape[-1]))
        queries, keys, values = heads
        keys, values = (each.repeat_interleave(len(queries) // len(each), 0) for each in (keys, values))
        for head, (query, key, value) in enumerate(zip(queries, keys, values, strict=True)):
            event = (len(self.nodes), head)
            self.products.append((event, query, key))
            self.remember((event, "query"), query)
            self.remember((event, "key"), key)
            self.remember((event, "value"), value)
        labels = values.view(1, *result.shape[1:-2], 1, result.shape[-1]).expand(result.shape)
        mixed = self._add(result, labels, "mean", [known[2]])
        known[0].uses.append(("query", mixed))
        known[1].uses.append(("key", mixed))

    def started(self, state: Tensor) -> Tensor:
        if self.node(state) is None:
            state = state.clone()
            self._add(state, self._fresh(state.shape[1], fixed=True).expand(state.shape))
        return state

    def site(self, number: int, func: Callable[..., Any], name: str, arguments: Arguments) -> Any:
        source = self.node(arguments.get("input"))
        other = self.node(arguments.get("other"))
        result = called(func, name, arguments)
        if name == "embedding" and source is not None:
            channels = self._fresh(result.shape[-1])
            self._record(number, name, arguments, None, result, torch.zeros(0, dtype=torch.long), channels, -1)
        elif name == "add":
            self._added(number, arguments, source, other, result)
        elif source is None and other is None:
            pass  # of weights alone
        elif name == "matmul" and (source is None or other is not None or arguments["other"].dim() > 2):
            self._problem(name, [each for each in (source, other) if each is not None], result)
        elif source is not None:
            self._linear_or_norm(number, name, arguments, source, result)
        return result

    def _linear_or_norm(self, number: int, name: str, arguments: Arguments, source: Node, result: Tensor) -> None:
        last = name in ("linear", "matmul", "layer_norm", "rms_norm")
        axis = -1 if last else 1
        reads = self._along(source.labels, axis)
        one_axis = name not in ("layer_norm", "rms_norm") or len(arguments["normalized_shape"]) == 1
        if not one_axis or arguments.get("groups", 1) != 1 or isinstance(arguments.get("padding"), str):
            self._problem(name, [source], result)
            return
        if reads is None:
            if not self._is_fixed(source.labels):
                self._problem(name, [source], result)
                return
            reads = self._fresh(source.labels.shape[axis], fixed=True)
        if source.copies and self._is_fixed(source.labels) and len(_unique(self.roots(reads))) < len(reads):
            self._problem(name, [source], result)
            return
        is_vector = name == "matmul" and arguments["other"].dim() == 1
        writes = self._fresh(1 if is_vector else result.shape[axis])
        self.remember((number, "read"), reads)
        self._record(number, name, arguments, source, result, reads, writes, axis)

    def _record(
        self,
        number: int,
        name: str,
        arguments: Arguments,
        source: Node | None,
        result: Tensor,
        reads: Tensor,
        writes: Tensor,
        axis: int,
    ) -> None:
        shape = [1] * result.dim()
        if len(writes) > 1:
            shape[axis] = -1
        after = self._add(result, writes.view(shape).expand(result.shape), name, [source] if source else [])
        self.remember((number, "write"), writes)
        self.sites.append(Site(number, name, arguments, source, after, reads, writes))
        if name == "layer_norm":
            self.forgetting[after] = reads

    def _added(
        self, number: int, arguments: Arguments, source: Node | None, other: Node | None, result: Tensor
    ) -> None:
        known = [node for node in (source, other) if node is not None]
        if not known:
            return
        if source is not None and other is not None:
            self.merge(source.labels, other.labels)
            self._add(result, _broadcast(source.labels, other.labels)[0], "add", known)
            return
        name = "input" if source is None else "other"
        operand, labels = arguments[name], known[0].labels
        if isinstance(operand, int | float) and operand == 0:  # what `sum` begins with
            self._add(result, labels, "move", known)
            return
        if not isinstance(operand, Tensor) or labels.shape != result.shape or arguments.get("alpha", 1) != 1:
            self._problem("add", known, result)
            return
        shape = (1,) * (result.dim() - operand.dim()) + tuple(operand.shape)
        first = labels[tuple(slice(0, None if length > 1 else 1) for length in shape)]
        if not bool((labels == first).all()):
            if not self._is_fixed(labels):
                self._problem("add", known, result)
                return
            first = self._fresh(first.numel(), fixed=True).view(first.shape)
        after = self._add(result, labels, "add", known)
        entries = first.reshape(operand.shape)
        self.remember((number, "write"), entries)
        self.sites.append(Site(number, "add", arguments, known[0], after, entries, _unique(entries), entries))

    def finish(self, outputs: Tensor) -> None:
        """The outputs' coordinates are fixed."""
        node = self.node(outputs)
        if node is None:
            self.problems.append("the outputs")
            return
        node.uses.append(("outputs", None))
        self.fix(node.labels)


def _unique(channels: Tensor) -> Tensor:
    return _numbered(channels)[0]


def _numbered(channels: Tensor) -> tuple[Tensor, Tensor]:
    """The different channels, and for each entry which of them it is."""
    unique, places = torch.unique(channels, return_inverse=True)
    return unique.reshape(-1), places


def _broadcast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    one, other = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
    return one, other


def _is_linear_in(node: Node, other: Node) -> bool:
    """Whether an activation is a linear function of another."""
    uses = followed([other], lambda name, _: name in LINEAR | STRAIGHT)
    return any(result is node and passed for _, result, passed in uses)


def followed(nodes: Iterable[Node], passes: Callable[[str, Node], bool]) -> Iterator[tuple[str, Node | None, bool]]:
    """What reads activations, or a result of a use that `passes` them on: its name, its result, whether it does.

    Every result is followed once, however many ways lead to it.
    """
    waiting = [*nodes]
    seen = {*waiting}
    while waiting:
        for name, other in waiting.pop().uses:
            passed = other is not None and passes(name, other)
            yield name, other, passed
            if passed and other not in seen:
                assert other is not None
                seen.add(other)
                waiting.append(other)


def _factor(name: str, args: Sequence[Any], options: Arguments) -> float:
    if name == "neg":
        return -1.0
    number = float(args[1] if len(args) > 1 else options["other"])
    return 1 / number if name in ("div", "__truediv__") else number


def _is_hidden_symmetry(name: str, args: Sequence[Any], options: Arguments) -> bool:
    """Whether a function is the identity, or symmetric about another point than 0 (``f(6 - z) = 6 - f(z)``)."""
    if name.startswith("leaky_relu"):
        return bool((args[1] if len(args) > 1 else options.get("negative_slope", 0.01)) == 1)
    if name == "hardtanh":
        low = args[1] if len(args) > 1 else options.get("min_val", -1.0)
        high = args[2] if len(args) > 2 else options.get("max_val", 1.0)
        return bool(low != -high)
    return name == "relu6"


def _are_alike(nodes: Sequence[Node]) -> bool:
    """Whether every channel of a product has a factor of its own: one factor for several does not fix their axes."""
    return len({(node.tensor.shape[1:], len(_unique(node.labels))) for node in nodes}) == 1


def _are_trained(values: Sequence[Any], activations: Sequence[Node]) -> bool:
    """Whether other tensors than activations depend on parameters."""
    known = {id(node.tensor) for node in activations}
    return any(tensor.requires_grad and id(tensor) not in known for tensor in _flat(values))


def _flat(values: Sequence[Any]) -> list[Any]:
    return [
        each
        for value in values
        for each in (_flat(value) if isinstance(value, tuple | list) else [value])
        if isinstance(each, Tensor)
    ]
