"""The format of a network that leaves the sandbox: plain data with a closed vocabulary, written as JSON.

The guest writes it (`export`), the host reads it (`rebuild`). A network is a layer, a sequence of networks, or a graph.
A graph holds its parts by path and computes node after node: the first value is the input, every node adds one, and
arguments name earlier values by their number. Nothing in it is a path that is looked up by attribute access: layers and
functions are keys of the tables in `suite.sandbox.allowlist`, tensors are names that the graph itself has registered.
Every object is immutable and has no fields beyond those that are written here.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

LONGEST_NAME = 200

Path = Annotated[str, Meta(max_length=LONGEST_NAME, pattern=r"^(?!.*(^|\.)__)[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z")]
"""The name of a part, a parameter or a buffer, with those of the parts that it lies in; none begins with `__`."""

Name = Annotated[str, Meta(max_length=LONGEST_NAME, pattern=r"^(?!__)[A-Za-z0-9_]+\Z")]
"""One name of a path."""

Key = Annotated[str, Meta(max_length=LONGEST_NAME)]
"""A key of a table in `suite.sandbox.allowlist`."""

Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]


class Value(Struct, tag="value", frozen=True, forbid_unknown_fields=True):
    """An earlier value of the graph: 0 is the input, `number` the value of the node before node `number`."""

    number: Annotated[int, Meta(ge=0)]


class Several(Struct, tag="several", frozen=True, forbid_unknown_fields=True):
    """A tuple of arguments, or a list."""

    items: tuple[Argument, ...]
    mutable: bool = False


class Slice(Struct, tag="slice", frozen=True, forbid_unknown_fields=True):
    """``start:stop:step``."""

    start: Argument
    stop: Argument
    step: Argument


class Special(Struct, tag="special", frozen=True, forbid_unknown_fields=True):
    """What JSON has no word for: ``...``, ``inf``, ``-inf``, ``nan``, a dtype by its name, the equation of `einsum`."""

    name: Annotated[str, Meta(max_length=LONGEST_NAME)]


Argument = None | bool | Whole | float | str | Value | Several | Slice | Special
"""What a function or a constructor is called with. A text must be one of `suite.sandbox.allowlist.WORDS`."""

Arguments = dict[str, Argument]


class Layer(Struct, tag="layer", frozen=True, forbid_unknown_fields=True):
    """A layer by the key of its class, with the arguments of its constructor."""

    layer: Key
    arguments: Arguments


class Holder(Struct, tag="holder", frozen=True, forbid_unknown_fields=True):
    """A part of a graph that is no layer: parameters and buffers by name, and whatever lies inside it."""

    parameters: tuple[Name, ...]
    buffers: tuple[Name, ...]


class TensorNode(Struct, tag="tensor", frozen=True, forbid_unknown_fields=True):
    """A parameter, a buffer or a constant of the graph."""

    name: Path


class LayerNode(Struct, tag="apply", frozen=True, forbid_unknown_fields=True):
    """What a layer of the graph returns."""

    path: Path
    args: tuple[Argument, ...]
    kwargs: Arguments


class FunctionNode(Struct, tag="call", frozen=True, forbid_unknown_fields=True):
    """What a function returns, given by its key."""

    function: Key
    args: tuple[Argument, ...]
    kwargs: Arguments


Node = TensorNode | LayerNode | FunctionNode


class Graph(Struct, tag="graph", frozen=True, forbid_unknown_fields=True):
    """Parts, by path and in the order of the original; then what is computed, and the number of the value returned.

    Attributes:
        root: the parameters and buffers of the graph itself.
        constants: tensors that are used and are neither parameters nor buffers.
    """

    root: Holder
    parts: tuple[tuple[Path, Layer | Holder], ...]
    constants: tuple[Name, ...]
    nodes: Annotated[tuple[Node, ...], Meta(max_length=100_000)]
    output: Annotated[int, Meta(ge=0)]


class Sequential(Struct, tag="sequential", frozen=True, forbid_unknown_fields=True):
    """Networks by name, one after the other."""

    parts: tuple[tuple[Name, Layer | Graph | Sequential], ...]


class Network(Struct, tag="network", frozen=True, forbid_unknown_fields=True):
    """What an architecture answers, beside the tensors.

    Attributes:
        frozen: the parameters that are not trained.
    """

    network: Layer | Graph | Sequential
    frozen: tuple[Path, ...]
