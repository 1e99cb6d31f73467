"""Constants: through linear maps into the last one, dropped where they are forgotten, one where they are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import torch
from torch import Tensor

from suite.kernels.max_pool import FastMaxPool2d
from suite.measures.canonical.network import Ends, TracedNetwork, ends_of
from suite.measures.canonical.parts import Part, Unproved, channels_along_last, channels_written, is_padded
from suite.measures.trace import ELEMENTWISE, LINEAR, MAXIMA, STRAIGHT, Node, Replay, followed

ENDS = ELEMENTWISE | MAXIMA | {"softmax", "log_softmax", "query", "key", "outputs"}
"""What a vector that is added to all logits passes as it is, and functions behind which it is none."""


def fold_constants(net: TracedNetwork) -> None:
    """Constants that linear maps pass on become constants of those; those of keys are dropped."""
    for events, block in net.blocks:
        kinds = {event[1] for event in events}
        is_key = "key" in kinds and not kinds & {"query", "value", "read"}
        if "factor" in kinds or (kinds & {"query", "key"} and not is_key):
            continue
        readers = [] if is_key else net.readers(block)
        if any(is_padded(reader.site) for reader, _ in readers):
            continue
        for part, rows in net.writers(block):
            if part.shift is None or part.shift.dim() > 1:
                continue
            constant, reached = part.shift[rows], net.maps_reached(part)
            for reader, columns in readers:
                assert reader.weight is not None
                if reader not in reached:
                    continue
                moved = sum(reader.weight[:, places].sum(2) @ constant for places in columns)
                assert isinstance(moved, Tensor)
                reader.add_shift(moved, trained="shift" in part.trained or "shift" in reader.trained)
            part.shift = part.shift.clone()
            part.shift[rows] = 0
            part.changed = True
            if not bool(part.shift.any()):
                part.drop_shift()


def split_embeddings(net: TracedNetwork) -> dict[Part, Tensor]:
    """Make what all embeddings of a table have in common a constant, which others may stand for; these, by part."""
    means = {}
    for part in net.linear():
        if part.site.name == "embedding" and "weight" in part.trained:
            assert part.weight is not None
            means[part] = part.shift = part.weight[:, _occurring(net, part), 0].mean(1)
            part.weight = part.weight - part.shift[:, None, None]
            part.trained.add("shift")
    return means


def _occurring(net: TracedNetwork, part: Part) -> Tensor:
    """Which rows of a table samples use: others may be anything."""
    found: set[int] = set()
    with FastMaxPool2d(), Replay({}, {part.site.number: lambda which, _: found.update(which.reshape(-1).tolist())}):
        for x in torch.split(net.context.train.x, net.context.network.chunk(net.context.train.x)):
            net.context.model(x)
    return torch.tensor(sorted(found))


def join_embeddings(net: TracedNetwork, means: Mapping[Part, Tensor]) -> None:
    """Undo that where no other constant is added, and no linear map follows."""
    for part, mean in means.items():
        if part.shift is mean:
            assert part.weight is not None
            part.weight, part.shift = part.weight + mean[:, None, None], None
            part.trained.discard("shift")
        else:
            part.changed = True


def _grouped_constants(net: TracedNetwork) -> dict[tuple[Ends, frozenset[int]], list[Part]]:
    """Those that are added to each other, by where their sum goes and by their channels."""
    groups: dict[tuple[Ends, frozenset[int]], list[Part]] = {}
    for part in net.parts.values():
        if part.shift is not None and "shift" in part.trained:
            key = frozenset(ends_of(part.site.after)), frozenset(net.roots(channels_written(part)))
            groups.setdefault(key, []).append(part)
    return groups


def pass_constants_on(net: TracedNetwork) -> None:
    """Move constants past the linear maps that read them, into these and into what is added later.

    Of ``x + b`` that a linear map W reads before c is added, W's constant gets W b, and c gets b. Of what norms
    forget of b, W's constant alone gets it.
    """
    hidden = {root for _, block in net.blocks for root in block}
    groups: dict[tuple[Ends, frozenset[int]], list[tuple[Part, set[Part]]]] = {}
    for (ends, channels), parts in _grouped_constants(net).items():
        if channels & hidden:
            continue
        for part in parts:
            maps = net.maps_reached(part)
            seen = {node for node, reader in net.by_call.items() if reader in maps}
            others = frozenset(end for end in ends if end[1] not in seen)
            groups.setdefault((others, channels), []).append((part, maps))
    for (ends, channels), found in groups.items():
        if any(name == "factor" and node is not None and meets(node, {"add"}) for name, node in ends):
            raise Unproved("a number multiplies a constant before another is added")
        fewest = min((maps for _, maps in found), key=len)
        if any(maps != fewest for _, maps in found):
            homes = [part for part, maps in found if maps == fewest and part.shift.dim() == 1]  # type: ignore[union-attr]
            if not homes or any(not maps >= fewest for _, maps in found):
                raise Unproved("constants are added before and after linear maps read their sum")
            for part, maps in found:
                if part is not homes[-1]:
                    _move_constant(net, part, _by_channel(net, part, channels), maps - fewest, homes[-1])
        for part, maps in found:
            is_forgotten = bool(ends) and all(node in net.recorder.forgetting for _, node in ends)
            if maps and is_forgotten and part.shift is not None and part.shift.dim() == 1:
                mean = _by_channel(net, part, channels).mean().expand(len(channels))
                _move_constant(net, part, mean, maps, None)
    by_channels: dict[frozenset[int], list[Ends]] = {}
    for ends, channels in groups:
        by_channels.setdefault(channels, []).append(ends)
    for sets in by_channels.values():
        rows = list(frozenset().union(*sets))
        incidence = torch.tensor([[float(end in ends) for ends in sets] for end in rows], dtype=torch.float64)
        if not rows or int(torch.linalg.matrix_rank(incidence)) < len(sets):
            raise Unproved("constants that are added in several places may stand for each other")


def _by_channel(net: TracedNetwork, part: Part, channels: frozenset[int]) -> Tensor:
    """A constant [channels] in the order of their numbers; one that differs between positions, its mean."""
    assert part.shift is not None
    place = {root: at for at, root in enumerate(net.roots(channels_along_last(part)))}
    flat = part.shift.reshape(-1, part.shift.shape[-1]).mean(0)
    return flat[[place[root] for root in sorted(channels)]]


def _move_constant(net: TracedNetwork, part: Part, constant: Tensor, maps: set[Part], home: Part | None) -> None:
    """Take a constant out of a part, give it to another, and what maps make of it to these."""
    block = sorted(net.roots(channels_along_last(part)))
    for other, sign in ((part, -1.0), (home, 1.0)):
        if other is not None:
            order = {root: at for at, root in enumerate(block)}
            values = sign * constant[[order[root] for root in net.roots(channels_along_last(other))]]
            other.add_shift(values, trained=True)
    for reader, columns in net.readers(block):
        if reader not in maps:
            continue
        if is_padded(reader.site):
            raise Unproved("a constant meets the padding of a convolution")
        assert reader.weight is not None
        for places in columns:
            reader.add_shift(reader.weight[:, places].sum(2) @ constant, trained=True)
    if part.shift is not None and part.shift.dim() == 1 and home is not None:
        part.drop_shift()


def merge_constants(net: TracedNetwork) -> None:
    """Constants that are added to each other, with nothing in between that sees them, become one."""
    for (_, channels), parts in _grouped_constants(net).items():
        if any(part.shift.dim() > 1 and _is_averaged(part.site.after) for part in parts):  # type: ignore[union-attr]
            raise Unproved("constants that differ between positions are averaged over these")
        if len(parts) < 2:
            continue
        home = max(parts, key=lambda part: part.shift.dim())  # type: ignore[union-attr]
        target = channels_written(home)
        order = {root: at for at, root in enumerate(sorted(channels))}
        places = torch.tensor([order[root] for root in net.roots(target)]).view(target.shape)
        for part in parts:
            if part is home:
                continue
            assert part.shift is not None
            if part.shift.dim() > 1:
                raise Unproved("several constants are added, each with its own positions")
            values = torch.zeros(len(order), dtype=torch.float64)
            values[[order[root] for root in net.roots(channels_written(part))]] = part.shift
            home.add_shift(values[places], trained=True)
            part.drop_shift()


def _are_forgotten(net: TracedNetwork, part: Part) -> bool:
    """Whether all that reads what a part writes forgets what its channels have in common.

    Raises:
        Unproved: one of these reads other channels than the part writes.
    """
    ends = ends_of(part.site.after, past=STRAIGHT)
    found = [net.recorder.forgetting.get(node) for _, node in ends]  # type: ignore[arg-type]
    return _all_read(net, part, found)


def _all_read(net: TracedNetwork, part: Part, found: Sequence[Tensor | None]) -> bool:
    if not found or any(channels is None for channels in found):
        return False
    written = set(net.roots(channels_written(part)))
    if any(set(net.roots(channels)) != written for channels in found if channels is not None):
        raise Unproved("a norm reads some of the channels that a map writes")
    return True


def center(net: TracedNetwork) -> None:
    """Take out what a layer norm forgets, and with logits that may be shifted, what all of them have in common."""
    classes = frozenset(net.roots(net.recorder.channels(net.outputs, 1)))
    for part in net.parts.values():
        forgets = _are_forgotten(net, part)
        if net.logit_shift and not forgets and part.site.name in LINEAR | {"add"}:
            forgets = _is_last(net, part, classes)
        if not forgets:
            continue
        net.centered.add(part)
        if part.weight is not None:
            part.weight = part.weight - part.weight.mean(0)
        if part.shift is not None:
            part.shift = part.shift - part.shift.mean(-1, keepdim=True)
        part.changed = True
    for part in net.linear():
        ends = {net.by_call.get(node) for _, node in ends_of(part.site.after, past=STRAIGHT)}  # type: ignore[arg-type]
        norms = [norm for norm in ends if norm is not None and norm.site.name == "group_norm"]
        if len(norms) < len(ends) or not _all_read(net, part, [norm.site.reads for norm in norms]):
            continue
        groups = {norm.site.arguments["num_groups"] for norm in norms}
        if len(groups) > 1:
            continue
        count = groups.pop()
        if part.shift is not None:
            part.shift = _less_mean(part.shift, count)
            part.changed = True
        if part.site.after.tensor[0].numel() == len(part.site.writes):  # there is one position alone
            assert part.weight is not None
            part.weight = _less_mean(part.weight, count)
            part.changed = True


def _is_last(net: TracedNetwork, part: Part, classes: frozenset[int]) -> bool:
    """Whether a part writes logits, so that a vector can be added to what it writes of each.

    Raises:
        Unproved: others see what it writes too, or the outputs are made of it in a way that is not known.
    """
    passed = _way_out(net, part.site.after)
    if "outputs" not in passed:
        return False
    if not passed <= {"outputs", *STRAIGHT} or frozenset(net.roots(channels_written(part))) != classes:
        raise Unproved("what all logits have in common goes elsewhere, or is made in a way that is not covered")
    return True


def _way_out(net: TracedNetwork, node: Node) -> set[str]:
    """What happens to an activation, and to what is made of it, up to nonlinear functions and further maps."""
    return {
        name
        for name, *_ in followed(
            [node], lambda name, other: name not in ENDS and (name == "add" or other not in net.by_call)
        )
    }


def _less_mean(values: Tensor, groups: int) -> Tensor:
    grouped = values.view(groups, -1, *values.shape[1:])
    return (grouped - grouped.mean(1, keepdim=True)).view(values.shape)


def _is_averaged(node: Node) -> bool:
    """Whether means are taken of an activation, or of a sum with it."""
    return any(
        name == "mean" or (name in ("move", "add") and other is not None and _is_averaged(other))
        for name, other in node.uses
    )


def meets(node: Node, names: Set[str]) -> bool:
    """Whether a function of these names is taken of an activation, or of means of it."""
    return any(
        name in names or (name in ("move", "mean") and other is not None and meets(other, names))
        for name, other in node.uses
    )
