"""Changes that no step undoes are looked for, and refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from suite.kernels.max_pool import FastMaxPool2d
from suite.measures.canonical.network import OBSERVED, TracedNetwork, read_directly
from suite.measures.canonical.parts import Part, Unproved
from suite.measures.trace import STRAIGHT, Node, Replay, followed
from suite.seeding import torch_stream

MOST_RELATED, RELATED = 1024, 1e-11
"""Inputs of a map among which linear relations are looked for, and what share of the largest variance is none."""


RARE = 8
"""Samples on which an input must differ from 0, to be looked at."""


HINGES = frozenset(
    {"relu", "relu_", "leaky_relu", "leaky_relu_", "gelu", "silu", "softplus", "logsigmoid", "hardswish"}
)
"""``f(z) - f(-z)`` is a multiple of z."""


def check_paths(net: TracedNetwork) -> None:
    """No linear map stands beside another path that it could take a part of.

    Of ``W x + V a(U x)`` with no function a, or one of `HINGES`, ``V D U x`` can go to W.

    Raises:
        Unproved: one does.
    """
    calls = _calls_of_weights(net)
    for part in net.linear():
        if part.site.before is None or "weight" not in part.trained:
            continue
        written = set(net.roots(part.site.writes))
        for other, wide, through, bends in _paths(net, part.site.before):
            if other is part or set(net.roots(other.site.writes)) != written or "weight" not in other.trained:
                continue
            repeated = calls[other.given["weight"].data_ptr()] > 1
            assert part.weight is not None
            fits = through == 1 or wide == 0 or (wide == 1 and part.weight.shape[2] > 1)
            if fits and not (bends and repeated):
                raise Unproved("a linear map stands beside another path that it could take a part of")


def _calls_of_weights(net: TracedNetwork) -> dict[int, int]:
    """How many linear maps have each matrix, by its address."""
    calls: dict[int, int] = {}
    for part in net.linear():
        if "weight" in part.given:
            calls[part.given["weight"].data_ptr()] = calls.get(part.given["weight"].data_ptr(), 0) + 1
    return calls


def _paths(net: TracedNetwork, start: Node) -> Iterator[tuple[Part, int, int, int]]:
    """Linear maps that paths from an activation lead to, with at most one function of `HINGES` on the way.

    And how many maps of several taps, how many maps, and how many such functions are on the path; two stand for
    more.
    """
    waiting, seen = [(start, 0, 0, 0)], set()
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        node, wide, through, bends = state
        for name, other in node.uses:
            part = None if other is None else net.by_call.get(other)
            if other is None:
                continue
            if part is not None and part.weight is not None:
                found = min(wide + (part.weight.shape[2] > 1), 2), min(through + 1, 2), bends
                yield part, *found
                waiting.append((other, *found))
            elif name in STRAIGHT or (part is not None and part.is_identity):
                waiting.append((other, wide, through, bends))
            elif name in HINGES and not bends:
                waiting.append((other, wide, through, 1))


def check_relations(net: TracedNetwork) -> None:
    """No combination of what a linear map reads, or maps whose results are added, is always the same number.

    Asked of results of unknown functions, and where functions of one activation meet again: ``relu(z) - relu(-z)``
    is z. It is looked for on samples with noise, so that it is the functions' and not the data's.

    Raises:
        Unproved: one is, or there are too many inputs to tell.
    """
    unknown = (node for node in net.recorder.nodes if not node.known)
    parts = {net.by_call[each] for node in unknown for each in read_directly(node) if each in net.by_call}
    groups = [[part] for part in parts if part.site.before is not None and _has_trained_weight(part)]
    calls = _calls_of_weights(net)
    # One step of a recurrent layer may read related results, if the steps together do not; and tokens, to which no
    # noise can be added, may be too few to tell.
    if net.context.train.x.is_floating_point():
        groups += [
            group
            for group in [*([part] for part in _reading_tangles(net) - parts), *_meeting_again(net)]
            if all(_has_trained_weight(part) and calls[part.given["weight"].data_ptr()] == 1 for part in group)
        ]
    if not groups:
        return
    most = max(sum(len(part.site.reads) for part in group) for group in groups)
    x = net.context.train.x
    if most > MOST_RELATED:
        raise Unproved("linear maps read more results that may be related than can be examined")
    x = x[torch.arange(max(OBSERVED, 2 * most)) % len(x)]
    if x.is_floating_point():
        noise = torch.randn(x.shape, generator=torch_stream("relations"), dtype=torch.float64)
        x = x + x.std() * noise.to(x)
    read: dict[int, Tensor] = {}

    def see(part: Part) -> Callable[[Tensor, Tensor], None]:
        def look(inputs: Tensor, _: Tensor) -> None:
            values = inputs.movedim(1, -1) if part.site.name.startswith("conv") else inputs
            read[part.site.number] = values.detach().double().reshape(-1, values.shape[-1])

        return look

    with FastMaxPool2d(), Replay({}, {part.site.number: see(part) for group in groups for part in group}):
        net.context.model(x)
    for group in groups:
        if len({len(read[part.site.number]) for part in group}) > 1:
            continue
        alone = sum(_relations(read[part.site.number]) for part in group) if len(group) > 1 else 0
        if _relations(torch.cat([read[part.site.number] for part in group], 1)) > alone:
            raise Unproved("results of functions, which linear maps read, are related")


def _reading_tangles(net: TracedNetwork) -> set[Part]:
    """Linear maps that read activations in which another stands in more than one way."""
    waiting = [node for node in net.recorder.nodes if node.copies or node.overlaps]
    for node in net.recorder.nodes:
        others = {other: name for name, other in node.uses if other is not None}
        results = {other: name for other, name in others.items() if not _fixes_anew(net, other)}
        if len(results) > 1 and net.are_fixed(node.labels[0]) and not _are_apart(results):
            waiting.extend(results)
    uses = followed(waiting, lambda _, other: other not in net.by_call or net.by_call[other].weight is None)
    return {net.by_call[other] for _, other, passed in uses if other is not None and not passed}


def _fixes_anew(net: TracedNetwork, node: Node) -> bool:
    """Whether an activation is a norm's result, or a linear map's with something nonlinear behind it."""
    part = net.by_call.get(node)
    if part is None or part.site.name == "add":
        return False
    return part.weight is None or net.are_fixed(part.site.writes)


def _meeting_again(net: TracedNetwork) -> list[list[Part]]:
    """Linear maps whose results are added, and that read different functions of one activation."""
    by_channels: dict[frozenset[int], list[Part]] = {}
    for part in net.linear():
        if part.site.before is not None and _has_trained_weight(part) and part.weight.shape[2] == 1:  # type: ignore[union-attr]
            by_channels.setdefault(frozenset(net.roots(part.site.writes)), []).append(part)
    groups = [parts for parts in by_channels.values() if len(parts) > 1]
    if not groups:
        return []
    made_of: dict[Node, frozenset[Node]] = {}
    for node in net.recorder.nodes:  # in the order in which they are made
        sources = made_of.setdefault(node, frozenset([node]))
        for _, other in node.uses:
            if other is not None and not (other in net.by_call and net.by_call[other].weight is not None):
                made_of[other] = made_of.get(other, frozenset()) | sources
    return [
        [one, other]
        for parts in groups
        for one, other in itertools.combinations(parts, 2)
        if one.site.before is not other.site.before and made_of[one.site.before] & made_of[other.site.before]  # type: ignore[index]
    ]


def _has_trained_weight(part: Part) -> bool:
    return part.weight is not None and "weight" in part.trained


def _relations(values: Tensor) -> int:
    """How many combinations of the columns of [n, c] are the same number in every row.

    Columns that are 0 in all rows but a few are left out: several ReLUs that one row alone bends are not related. Every
    column counts in units of its own scatter, for factors of ReLU neurons say nothing.
    """
    values = values[:, (values != 0).sum(0) >= RARE]
    centered = values - values.mean(0)
    sizes = torch.linalg.vector_norm(centered, dim=0)
    is_constant = sizes <= RELATED**0.5 * torch.linalg.vector_norm(values, dim=0)
    scaled = centered[:, ~is_constant] / sizes[~is_constant]
    shares = torch.linalg.eigvalsh(scaled.T @ scaled)
    return int(is_constant.sum()) + int((shares <= RELATED * shares[-1:]).sum())


def _are_apart(results: Mapping[Node, str]) -> bool:
    """Whether results are entries of an activation, each of other channels."""
    channels = [torch.unique(node.labels) for node in results]
    return set(results.values()) == {"move"} and len(torch.unique(torch.cat(channels))) == sum(map(len, channels))
