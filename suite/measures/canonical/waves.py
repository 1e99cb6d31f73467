"""Periods of sines, and sigmoids about their middle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from suite.measures.canonical.constants import meets
from suite.measures.canonical.network import TracedNetwork
from suite.measures.canonical.parts import Unproved, is_padded
from suite.measures.trace import ELEMENTWISE, MAXIMA, STRAIGHT, Node

WAVES = frozenset({"sin", "cos"})
"""``f(z + pi) = -f(z)``"""


SIGMOIDS = frozenset({"sigmoid", "hardsigmoid"})
"""``f(-z) = 1 - f(z)``"""


def _bent(net: TracedNetwork, node: Node) -> list[tuple[str, Node | None, Node, float]]:
    """What reads an activation, or a multiple, mean or sum of it: its name and result, what it reads, the factor.

    A constant that is added to the activation is added that often to what is read. The factor of what is reached in
    several ways is NaN.
    """
    factors, found = {node: 1.0}, []
    for each in net.recorder.nodes:  # in the order in which they are made
        for name, other in each.uses if each in factors else ():
            if other is None or name not in STRAIGHT:
                found.append((name, other, each, factors[each]))
            else:
                factor = factors[each] * (other.factor if name == "factor" else 1.0)
                factors[other] = math.nan if other in factors else factor
    return found


def center_sigmoids(net: TracedNetwork) -> None:
    """Let linear maps read sigmoids less 1/2, whose sign is that of their input, and give the rest to constants."""
    if not any("shift" in part.trained for part in net.parts.values()):
        return
    for node in [*net.recorder.nodes]:
        for name, result in node.uses:
            if name not in SIGMOIDS or result is None:
                continue
            if meets(result, {"add", "factor"}):
                raise Unproved("something is added to a sigmoid, or a number multiplies it")
            if not _feeds_maps(net, result):
                continue
            block = sorted(set(net.roots(result.labels[0].reshape(-1))))
            for reader, columns in net.readers(block):
                if is_padded(reader.site):
                    raise Unproved("a sigmoid meets the padding of a convolution")
                assert reader.weight is not None
                if reader.offset is None:
                    reader.offset = torch.zeros(reader.weight.shape[1], dtype=torch.float64)
                for places in columns:
                    reader.offset[places] = 0.5
                    reader.add_shift(reader.weight[:, places].sum((1, 2)) / 2, trained="weight" in reader.trained)


def reduce_constants(net: TracedNetwork) -> None:
    """Bring constants in sines within a quarter of a period of 0: half periods change the sign of the sine.

    Raises:
        Unproved: a constant can go elsewhere through an exponential, a maximum or a sine.
    """
    for part in net.parts.values():
        if part.shift is None or "shift" not in part.trained:
            continue
        found = _bent(net, part.site.after)
        if any(name in MAXIMA and not _is_bent(result) for name, result, *_ in found):
            raise Unproved("a constant passes through a maximum to what reads it")
        if any(name == "exp" for name, *_ in found):
            raise Unproved("a constant in an exponential is a factor of what reads it")
        if not any(name in WAVES for name, *_ in found):
            continue
        name, _, _, factor = found[0]
        if any((other, abs(each)) != (name, abs(factor)) for other, _, _, each in found) or part.shift.dim() > 1:
            raise Unproved("the constant in a sine goes elsewhere too, or differs between positions")
        waves = [(source, result) for _, result, source, _ in found if result is not None]
        if not all(_feeds_maps(net, result) for _, result in waves):
            raise Unproved("what a sine returns goes elsewhere than to linear maps")
        count = (part.shift * abs(factor) / math.pi).round()
        if bool(count.any()):
            part.add_shift(-count * math.pi / abs(factor), trained=True)
            signs = dict(zip(net.roots(part.site.writes), (1 - 2 * (count.abs() % 2)).tolist(), strict=True))
            for source, result in waves:
                _multiply_inputs(net, result, [signs[root] for root in net.roots(source.labels[0])])


def _multiply_inputs(net: TracedNetwork, node: Node, factors: Sequence[float]) -> None:
    """Multiply the weights of linear maps that read an activation by a factor for each of a sample's entries.

    Entries of one channel have the same.
    """
    by_channel = dict(zip(net.roots(node.labels[0]), factors, strict=True))
    block = sorted(by_channel)
    for reader, columns in net.readers(block):
        assert reader.weight is not None
        reader.weight, reader.changed = reader.weight.clone(), True
        for places in columns:
            reader.weight[:, places] *= reader.weight.new_tensor([by_channel[root] for root in block])[:, None]


def _feeds_maps(net: TracedNetwork, node: Node) -> bool:
    """Whether linear maps alone read an activation, or means of it."""
    return all(
        other is not None
        and (
            _feeds_maps(net, other)
            if name in ("move", "mean")
            else other in net.by_call and net.by_call[other].weight is not None
        )
        for name, other in node.uses
    )


def _is_bent(node: Node | None) -> bool:
    """Whether nonlinear functions alone read an activation, or maxima of it, in which a constant is nothing else."""
    return node is not None and all(
        name in ELEMENTWISE - WAVES - {"exp"} or (name in MAXIMA | {"move"} and _is_bent(other))
        for name, other in node.uses
    )
