"""Linear maps in a row: the product stands in one of them, or narrow factors are balanced."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from suite.measures.canonical.network import TracedNetwork
from suite.measures.canonical.parts import Part, Unproved
from suite.measures.canonical.sides import Columns, Rows, Side
from suite.measures.trace import Event

ROUNDING = 1e-14
"""Singular values below this share of the largest are rounding."""


def find_blocks(net: TracedNetwork) -> None:
    """Channels whose coordinates nothing fixes, and no norm reads or writes, by what happens to them."""
    fixed = set(net.recorder.fixed().tolist())
    silent = {number for number, part in net.parts.items() if part.is_identity}
    norms = {part.site.number for part in net.norms()}
    blocks: dict[frozenset[Event], list[int]] = {}
    for root, events in net.recorder.histories().items():
        events = frozenset(event for event in events if event[0] not in silent)
        if root not in fixed and not any(event[0] in norms for event in events):
            blocks.setdefault(events, []).append(root)
    net.blocks = [(events, sorted(block)) for events, block in blocks.items()]


def multiply(net: TracedNetwork) -> None:
    """Put the products of linear maps in a row into one of them, or balance narrow factors."""
    hidden = {root for _, block in net.blocks for root in block}
    done: set[int] = set()
    for events, block in net.blocks:
        if block[0] in done:
            continue
        kinds = {event[1] for event in events}
        if "factor" in kinds:
            raise Unproved("a number multiplies what is between linear maps")
        if kinds & {"query", "key"}:
            if kinds & {"read"} or {"query", "key"} <= kinds:
                raise Unproved("queries or keys serve as something else too")
            if "key" in kinds:
                _multiply_attention(net, events, block, hidden)
            done.update(block)
            continue
        chain = _chain(net, block, hidden)
        if chain is not None:
            blocks, parts = chain
            _multiply_chain(net, blocks, parts)
            done.update(root for each in blocks for root in each)
            continue
        writers, readers = net.writers(block), net.readers(block)
        around = [part.site.reads for part, _ in writers if part.weight is not None]
        around += [part.site.writes for part, _ in readers]
        if any(set(net.roots(each)) & hidden for each in around):
            raise Unproved("linear maps meet in more than a row")
        _assign(net, block, [Rows(net, *each) for each in writers], [Columns(net, *each) for each in readers])
        done.update(block)


def _multiply_attention(net: TracedNetwork, events: frozenset[Event], block: list[int], hidden: set[int]) -> None:
    pairs = {event[0] for event in events if event[1] == "key"}
    asking = [
        (other, {event[0] for event in found if event[1] == "query"})
        for found, other in net.blocks
        if any(event[1] == "query" and event[0] in pairs for event in found)
    ]
    if not asking or any(not met <= pairs for _, met in asking):
        raise Unproved("queries meet the keys of several heads")
    queries = [query for query, _ in asking]
    order = _order_of(net, events, block, queries, pairs)
    sides = [Rows(net, *each) for query in order for each in net.writers(query)]
    keys = net.writers(block)
    for part, _ in [*keys, *((side.part, side.rows) for side in sides)]:
        if part.weight is not None and set(net.roots(part.site.reads)) & hidden:
            raise Unproved("queries or keys are the last of several linear maps")
    _assign(net, block, sides, [Rows(net, *each) for each in keys])


def _order_of(
    net: TracedNetwork, events: frozenset[Event], block: list[int], queries: list[list[int]], pairs: set[Any]
) -> list[list[int]]:
    """The queries' channels in the order of the keys' that they are multiplied with."""
    partner: dict[Any, dict[int, int]] = {}
    for event, asked, answering in net.recorder.products:
        if event in pairs:
            partner[event] = dict(zip(net.roots(answering), net.roots(asked), strict=True))
    ordered = []
    for query in queries:
        mapping = next(m for m in partner.values() if set(m.values()) == set(query))
        ordered.append([mapping[root] for root in block])
    return ordered


def _chain(net: TracedNetwork, block: list[int], hidden: set[int]) -> tuple[list[list[int]], list[Part]] | None:
    """The blocks and maps of the row that a block belongs to, if each has one writer and one reader."""

    def ends(each: list[int]) -> tuple[Part, Part] | None:
        writers, readers = net.writers(each), net.readers(each)
        if len(writers) != 1 or len(readers) != 1:
            return None
        (first, rows), (second, columns) = writers[0], readers[0]
        whole = first.weight is not None and second.weight is not None and first.shift is None
        if not whole or len(rows) != len(first.site.writes) or len(columns) != 1:
            return None
        if columns.shape[1] != len(second.site.reads):
            return None
        return first, second

    by_root = {root: each for _, each in net.blocks for root in each}
    found = ends(block)
    if found is None:
        return None
    blocks, parts = [block], list(found)
    while (roots := set(net.roots(parts[0].site.reads))) & hidden:
        before = by_root[min(roots & hidden)]
        if set(before) != roots or (found := ends(before)) is None or found[1] is not parts[0]:
            return None
        blocks.insert(0, before)
        parts.insert(0, found[0])
    while (roots := set(net.roots(parts[-1].site.writes))) & hidden:
        after = by_root[min(roots & hidden)]
        if set(after) != roots or (found := ends(after)) is None or found[0] is not parts[-1]:
            return None
        blocks.append(after)
        parts.append(found[1])
    return blocks, parts


def _multiply_chain(net: TracedNetwork, blocks: list[list[int]], parts: list[Part]) -> None:
    weights = [part.weight for part in parts if part.weight is not None]
    if len(parts) == 2:
        (block,) = blocks
        rows = [Rows(net, *each) for each in net.writers(block)]
        _assign(net, block, rows, [Columns(net, *each) for each in net.readers(block)])
        return
    if any(weight.shape[2] > 1 for weight in weights):
        raise Unproved("three convolutions or more stand in a row")
    # Every map in the order of the channels between them.
    into = [torch.arange(weights[0].shape[1]), *(net.readers(block)[0][1][0] for block in blocks)]
    out = [*(net.writers(block)[0][1] for block in blocks), torch.arange(len(weights[-1]))]
    matrices = [w[rows[:, None], columns, 0] for w, rows, columns in zip(weights, out, into, strict=True)]
    product = functools.reduce(lambda done, matrix: matrix @ done, matrices)
    factors, home = _factors(net, blocks, parts, product)
    is_trained = any("weight" in part.trained for part in parts)
    for at, (part, factor) in enumerate(zip(parts, factors, strict=True)):
        part.weight = torch.zeros_like(weights[at])
        part.weight[out[at][:, None], into[at], 0] = factor
        part.free["weight"] = torch.full_like(part.weight, float(home in (at, None)))
        part.changed = True
        if is_trained:
            part.trained.add("weight")


def _factors(
    net: TracedNetwork, blocks: list[list[int]], parts: list[Part], product: Tensor
) -> tuple[list[Tensor], int | None]:
    """Canonical factors of a product, and which of them holds it; None where all do."""
    widths, (out, into) = [len(block) for block in blocks], product.shape
    sizes = [into, *widths, out]
    zeros = [product.new_zeros(after, before) for before, after in itertools.pairwise(sizes)]
    if min(widths) >= min(out, into):
        home = 0 if min(widths) >= out else len(parts) - 1
        for at, factor in enumerate(zeros):
            if at == home:
                factor[:out, :into] = product
            else:
                factor.fill_diagonal_(1)
        ends = net.roots(parts[-1].site.writes if home == 0 else parts[0].site.reads)
        for block in blocks:
            for root, end in zip(block, ends, strict=False):
                if end in net.iso:
                    net.iso[root] = net.iso[end]
        return zeros, home
    left, right = net.scale_of_output(parts[-1]), net.scale_of_input(parts[0])
    scaled = product / left[:, None]
    u, s, v = torch.linalg.svd(scaled * right, full_matrices=False)
    rank, share = min(*widths, len(s)), 1 / len(parts)
    u, s, v = u[:, :rank], s[:rank], v[:rank]
    # S^(1/n) V' and U S^(1/n), for others too that no sample has
    inverse = torch.where(s > s.max() * ROUNDING, s ** (share - 1), 0.0)
    zeros[0][:rank] = inverse[:, None] * (u.T @ scaled)
    zeros[-1][:, :rank] = (product * right) @ v.T * inverse
    for factor in zeros[1:-1]:
        factor[:rank, :rank] = torch.diag(s**share)
    for number, block in enumerate(blocks):
        net.iso |= dict.fromkeys(block, ("row", block[0], number))
    return zeros, None


def _assign(net: TracedNetwork, block: list[int], firsts: Sequence[Side], seconds: Sequence[Side]) -> None:
    """Give the two sides of a block of channels the product's canonical factors."""
    if not firsts or not seconds:
        return
    x, y = torch.cat([side.get() for side in firsts], 1), torch.cat([side.get() for side in seconds], 1).T
    width, (out, into) = len(block), (len(y), x.shape[1])
    product = y @ x
    is_trained = any(side.is_trained for side in (*firsts, *seconds))
    new_x, new_y = torch.zeros_like(x), torch.zeros_like(y)
    free_x = free_y = 1.0
    if out <= width:
        new_x[:out], new_y[:, :out] = product, torch.eye(out, dtype=torch.float64)
        free_y, ends = 0.0, [end for side in seconds for end in side.ends()]
    elif into <= width:
        new_y[:, :into], new_x[:into] = product, torch.eye(into, dtype=torch.float64)
        free_x, ends = 0.0, [end for side in firsts for end in side.ends()]
    else:
        right = torch.cat([side.scale() for side in firsts])
        left = torch.cat([side.scale() for side in seconds])
        scaled_y, scaled_x = y * left[:, None], x * right
        q_y, r_y = torch.linalg.qr(scaled_y)
        q_x, r_x = torch.linalg.qr(scaled_x.T)
        u, s, v = torch.linalg.svd(r_y @ r_x.T)
        # S^½ V' and U S^½, for others too that no sample has
        inverse = torch.where(s > s.max() * ROUNDING, s.rsqrt(), 0.0)
        new_x[: len(s)] = inverse[:, None] * (u.T @ (q_y.T @ scaled_y) @ x)
        new_y[:, : len(s)] = (y @ (scaled_x @ q_x) @ v.T) * inverse
        ends = [("row", block[0])] * width
    for hidden, end in zip(block, [*ends, *[None] * width], strict=False):
        if end is not None:
            net.iso[hidden] = end
    _give(net, firsts, new_x, free_x, is_trained)
    _give(net, seconds, new_y.T, free_y, is_trained)


def _give(net: TracedNetwork, sides: Sequence[Side], value: Tensor, free: float, is_trained: bool) -> None:
    start = 0
    for side in sides:
        stop = start + side.get().shape[1]
        side.put(value[:, start:stop], free)
        if is_trained:
            side.part.trained.add(side.name)
        side.part.changed = True
        start = stop
