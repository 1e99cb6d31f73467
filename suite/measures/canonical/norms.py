"""Gains and biases of norms, and what all that norms and softmaxes return has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from suite.measures.canonical.network import TracedNetwork, read_directly
from suite.measures.canonical.parts import Part, Unproved, is_padded
from suite.measures.trace import Event, Node


def fold_batch_norms(net: TracedNetwork) -> None:
    """Multiply gain and bias of batch norms, with their running statistics, into the linear maps before them."""
    by_node = {part.site.after: part for part in net.linear()}
    for part in net.parts.values():
        if part.site.name != "batch_norm":
            continue
        before = part.site.before
        source = by_node.get(before) if before is not None and len(before.uses) == 1 else None
        if source is None or source.site.name == "embedding":
            if not (net.are_fixed(part.site.reads) and net.are_fixed(part.site.writes)):
                raise Unproved("a batch norm stands where it cannot be multiplied into the map before it")
            continue
        assert source.weight is not None
        assert part.gain is not None
        assert part.shift is not None
        source.weight = source.weight * part.gain[:, None, None]
        if source.shift is not None:
            source.shift = source.shift * part.gain
        source.add_shift(part.shift, trained="shift" in part.trained or "shift" in source.trained)
        if part.trained:
            source.trained.add("weight")
        part.is_identity = part.changed = True
        part.trained = set()
        net.recorder.merge(part.site.reads, part.site.writes)
        source.site.after = part.site.after


def free_norms(net: TracedNetwork) -> None:
    """Multiply gain and bias of norms that only linear maps read into these; fix the channels of other norms."""
    norms = net.norms()
    while fixing := [
        part
        for part in norms
        if (net.are_fixed(part.site.writes) or part.site.name == "group_norm") and not net.are_fixed(part.site.reads)
    ]:
        for part in fixing:
            net.recorder.fix(part.site.reads)
    histories = net.recorder.histories()
    for part in norms:
        if net.are_fixed(part.site.writes):
            continue
        block = net.roots(part.site.writes)
        if part.site.name == "group_norm" or _goes_elsewhere(net, part, histories):
            raise Unproved("what a norm returns goes elsewhere than to linear maps, or is normalized in groups")
        readers = net.readers(block)
        for reader, columns in readers:
            weight = reader.weight
            assert weight is not None
            for places in columns:
                if part.shift is not None:
                    if is_padded(reader.site):
                        raise Unproved("a norm's bias meets the padding of a convolution")
                    shift = weight[:, places].sum(2) @ part.shift
                    reader.add_shift(shift, trained="shift" in part.trained or "shift" in reader.trained)
                if part.gain is not None:
                    weight[:, places] *= part.gain[:, None]
                if part.site.name == "layer_norm":
                    weight[:, places] -= weight[:, places].mean(1, keepdim=True)
            if part.trained:
                reader.trained.add("weight")
            reader.changed = True
        part.gain = part.shift = None
        part.trained, part.changed = set(), True
        net.free.append(part)


def _goes_elsewhere(net: TracedNetwork, part: Part, histories: Mapping[int, frozenset[Event]]) -> bool:
    """Whether others than linear maps read what a norm returns, or others than it write to that."""
    events = {event for root in net.roots(part.site.writes) for event in histories[root]}
    return any(
        event[1] != "read" or net.parts[event[0]].weight is None for event in events - {(part.site.number, "write")}
    )


def _redundancies(net: TracedNetwork) -> Iterator[tuple[Node, Tensor, Tensor, float]]:
    """Activations, their channels [c], and a vector [c] of norm 1 whose product with them is always this number."""
    for norm in net.norms():
        if norm.site.name == "layer_norm" and net.are_fixed(norm.site.writes):
            gain = torch.ones(len(norm.site.writes), dtype=torch.float64) if norm.gain is None else norm.gain
            vector = (gain == 0).double() if bool((gain == 0).any()) else 1 / gain
            vector = vector / torch.linalg.vector_norm(vector)
            yield (
                norm.site.after,
                norm.site.writes,
                vector,
                0.0 if norm.shift is None else float(vector @ norm.shift),
            )
    for node, channels in net.recorder.shares.items():
        vector = torch.full((len(channels),), len(channels) ** -0.5, dtype=torch.float64)
        yield node, channels, vector, float(vector[0])


def take_out_redundancies(net: TracedNetwork) -> None:
    """Of maps that read a layer norm with its gains, or a softmax: what a constant can do as well."""
    for node, channels, vector, number in _redundancies(net):
        place = {root: at for at, root in enumerate(net.roots(channels))}
        block = sorted(place)
        vector = vector[[place[root] for root in block]]
        direct = {net.by_call.get(result) for result in read_directly(node)}
        for reader, columns in net.readers(block):
            if reader not in direct:
                continue
            if number and is_padded(reader.site):
                raise Unproved("a constant meets the padding of a convolution")
            assert reader.weight is not None
            reader.weight = reader.weight.clone()
            for places in columns:
                amount = torch.einsum("oit,i->ot", reader.weight[:, places], vector)
                reader.weight[:, places] -= (amount[:, :, None] * vector).transpose(1, 2)
                reader.add_shift(amount.sum(1) * number, trained="weight" in reader.trained)
            reader.changed = True
