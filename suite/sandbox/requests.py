"""What a guest that trains asks the host for, and what it is told: losses and gradients at its weights, and no data.

    request: 4 bytes, the length of the header | header | weights or vectors, as many bytes as the header implies
    reply:   1 byte, 0 if it could be computed | 8 bytes, the length of what follows | losses and gradients, or why not

Headers are msgpack of the types below. Tensors are their bytes one after the other, in an order that both sides know
from the network; the host knows before it reads them how many there must be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta, Struct
from torch import Tensor

MOST_HEADER = 2**16

Number = Annotated[int, Meta(ge=0, le=2**53)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=10_000)]


class OpenProgram(Struct, tag="program", frozen=True, forbid_unknown_fields=True, array_like=True):
    """Networks, data and batches of runs that are trained as one program, or of one run.

    Networks, data and batches are numbered in the order in which they are opened.
    """

    runs: Annotated[Numbers, Meta(min_length=1)]
    graph: bool


class OpenNetwork(Struct, tag="network", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The network of a run by itself, to try something out or to compare."""

    run: Number
    graph: bool


class OpenBatches(Struct, tag="batches", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The batches of a run from its beginning. From here on nothing is trained any more."""

    run: Number


class Batch(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Of these numbered data, of these lanes; no lanes: the first samples of run `data`.

    Attributes:
        advanced: the lanes that go on to their next batch before this is computed, with the gradient evaluations that
            each has spent.
    """

    data: Number
    lanes: Numbers
    advanced: Annotated[tuple[tuple[Number, Number], ...], Meta(max_length=10_000)] = ()


class AskGradient(Struct, tag="gradient", frozen=True, forbid_unknown_fields=True, array_like=True):
    """Losses and gradients of lanes of a network at the weights that follow.

    Attributes:
        decay: strengths of the task's decay, which count for what is tried out; in training the host knows them.
        kept: running statistics stay as they are.
    """

    network: Number
    lanes: Annotated[Numbers, Meta(min_length=1)]
    batch: Batch
    decay: Annotated[tuple[Annotated[float, Meta(ge=0, le=1e6)], ...], Meta(max_length=10_000)] | None
    kept: bool


class AskLosses(Struct, tag="losses", frozen=True, forbid_unknown_fields=True, array_like=True):
    """Losses of lanes on their whole training data at the weights that follow; above `ceiling` a bound is enough."""

    network: Number
    lanes: Annotated[Numbers, Meta(min_length=1)]
    batch: Batch
    ceiling: float | None


class AskProduct(Struct, tag="product", frozen=True, forbid_unknown_fields=True, array_like=True):
    """The product of the Hessian at the weights of the last gradient with a vector; the parts that are `given`."""

    network: Number
    given: Annotated[tuple[bool, ...], Meta(max_length=100_000)]


AnyRequest = OpenProgram | OpenNetwork | OpenBatches | AskGradient | AskLosses | AskProduct

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(AnyRequest).decode


def to_bytes(tensors: Iterable[Tensor]) -> bytes:
    """The bytes of tensors, one after the other."""
    return b"".join(t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors)


def size_of(tensors: Iterable[Tensor]) -> int:
    """How many bytes `to_bytes` gives."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def from_bytes(data: bytearray, kinds: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> list[Tensor]:
    """Tensors of these shapes and types that share the memory of `data`; a `ValueError` if it has another length."""
    tensors, begin = [], 0
    for shape, dtype in kinds:
        count = math.prod(shape)
        # An empty tensor has no memory to share.
        part = torch.frombuffer(data, dtype=dtype, count=count, offset=begin) if count else torch.empty(0, dtype=dtype)
        tensors.append(part.reshape(shape))
        begin += count * dtype.itemsize
    if begin != len(data):
        raise ValueError("there are other tensors than those that are asked for")
    return tensors
