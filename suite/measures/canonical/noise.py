"""How large noise is in every entry of the operands, and which draw it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from suite.measures.canonical.network import OBSERVED, TracedNetwork
from suite.measures.canonical.neurons import NeuronOrder
from suite.measures.canonical.parts import Form, Part, channels_along_last


def tied_operands(net: TracedNetwork) -> dict[tuple[int, str], list[Part]]:
    """Calls of one function that get one operand, as it is: by the first of them and the operand's name."""
    first: dict[tuple[object, ...], int] = {}
    found: dict[tuple[int, str], list[Part]] = {}
    for part in net.parts.values():
        for name, value in () if part.changed else part.given.items():
            key = part.site.name, name, value.data_ptr(), value.shape, value.stride()
            number = first.setdefault(key, part.site.number)
            if number != part.site.number:
                found.setdefault((number, name), []).append(part)
    return found


def noise_scales(net: TracedNetwork, tied: Mapping[tuple[int, str], Sequence[Part]]) -> list[tuple[Part, str, Tensor]]:
    """Absolute values of the operands; along axes that may be rotated, root mean squares."""
    found = []
    repeated = {(part.site.number, name) for (_, name), parts in tied.items() for part in parts}
    for part in net.parts.values():
        for name, value in part.operands():
            if (part.site.number, name) in repeated:
                continue
            squares = value.square()
            if name in part.free:
                squares = squares * part.free[name]
            for axis, channels in _channels_by_axis(part, name, value.dim()).items():
                squares = _averaged(squares, _groups(net, channels), axis)
            found.append((part, name, squares.sqrt() * torch.where(value < 0, -1.0, 1.0)))
    return found


def noise_places(net: TracedNetwork, form: Form) -> Iterator[Tensor]:
    """Which draw every entry of an operand gets: the order follows what neurons of the form compute on samples."""
    alike = [(net.parts[number].site, part.site) for (number, _), parts in form.tied.items() for part in parts]
    order = NeuronOrder(net.recorder, net.outputs, alike)
    order.look(net.context.model, net.context.train.x[:OBSERVED], form.calls())
    for part, name, scale in form.scales:
        yield order.draws(scale.shape, _channels_by_axis(part, name, scale.dim()))


def _channels_by_axis(part: Part, name: str, dimensions: int) -> dict[int, Tensor]:
    """Of the axes of an operand along which channels stand, the channels."""
    if name != "weight":
        return {dimensions - 1: channels_along_last(part) if part.site.name == "add" else part.site.writes}
    return {0: part.site.writes, 1: part.site.reads} if len(part.site.reads) else {0: part.site.writes}


def _groups(net: TracedNetwork, channels: Tensor) -> Tensor:
    """A number for every channel: the same for those that are averaged over."""
    names: dict[object, int] = {}
    times: dict[int, int] = {}
    numbers = []
    for at, root in enumerate(net.roots(channels)):
        times[root] = times.get(root, 0) + 1
        key = (net.iso[root], times[root]) if root in net.iso else ("alone", at)
        numbers.append(names.setdefault(key, len(names)))
    return torch.tensor(numbers, dtype=torch.long)


def _averaged(squares: Tensor, groups: Tensor, axis: int) -> Tensor:
    """Means over the groups of an axis, in place of each entry."""
    count = int(groups.max()) + 1
    if count == len(groups):
        return squares
    moved = squares.movedim(axis, 0)
    sums = torch.zeros(count, *moved.shape[1:], dtype=moved.dtype).index_add_(0, groups, moved)
    sizes = torch.bincount(groups, minlength=count).to(sums)
    return (sums / sizes.view(-1, *[1] * (sums.dim() - 1)))[groups].movedim(0, axis)
