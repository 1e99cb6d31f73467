"""A traced network whose operands are brought into canonical form: who reads and writes which channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import torch
from torch import Tensor

from suite.kernels.max_pool import FastMaxPool2d
from suite.measures.canonical.parts import Part, Unproved, part_of
from suite.measures.context import MeasureContext
from suite.measures.trace import STRAIGHT, Event, Node, Recorder, Replay, followed
from suite.models import evaluating

TRACED, OBSERVED = 2, 128
"""Samples that a network is traced on, and that scales and principal axes are taken from."""


Ends = frozenset[tuple[str, Node | None]]
"""What reads an activation: the name of the function, and its result."""


class TracedNetwork:
    """What is known of a network while its operands are brought into canonical form, step by step.

    Attributes:
        context: the network on its data.
        logit_shift: whether the loss sees no vector that is added to all logits.
        outputs: on the samples that it was traced on.
        recorder: of its calls and channels.
        parts: the operands of its calls, by number of the call; the steps change them.
        by_call: the same by what the calls return.
        free: norms whose gains and biases are in what reads them.
        blocks: channels whose coordinates nothing fixes, by what happens to them.
        iso: by channel, the axes that it may be rotated with.
        centered: parts of which all outputs' common part is forgotten.
    """

    def __init__(self, context: MeasureContext, logit_shift: bool) -> None:
        self.context, self.logit_shift = context, logit_shift
        x = context.train.x[:TRACED]
        recorder = Recorder(x)
        try:
            with evaluating(context.model), torch.enable_grad(), recorder:
                self.outputs = context.model(x)
        except Exception as error:
            raise Unproved("it does not run while its calls are followed") from error
        recorder.finish(self.outputs)
        if recorder.problems:
            names = " and of ".join(f"`{name}`" for name in sorted(set(recorder.problems)))
            raise Unproved(f"the symmetries of {names}, as it stands there, are not known")
        self.recorder = recorder
        with torch.no_grad():
            self.parts = {site.number: part_of(site) for site in recorder.sites}
        self.by_call = {part.site.after: part for part in self.parts.values()}
        self.free: list[Part] = []
        self.blocks: list[tuple[frozenset[Event], list[int]]] = []
        self.iso: dict[int, object] = {}
        self.centered: set[Part] = set()

    def roots(self, channels: Tensor) -> list[int]:
        """One number for every channel, the same for those that are added to each other."""
        roots: list[int] = self.recorder.roots(channels.reshape(-1)).tolist()
        return roots

    def linear(self) -> list[Part]:
        """The linear maps."""
        return [part for part in self.parts.values() if part.weight is not None]

    def readers(self, block: Sequence[int]) -> list[tuple[Part, Tensor]]:
        """Linear maps that read a block of channels, with their columns [times, len(block)] in the block's order."""
        found = []
        for part in self.linear():
            places: dict[int, list[int]] = {root: [] for root in block}
            for column, root in enumerate(self.roots(part.site.reads)):
                if root in places:
                    places[root].append(column)
            times = {len(columns) for columns in places.values()}
            if times == {0}:
                continue
            if len(times) > 1:
                raise Unproved(f"{part.site.name} reads some channels more often than others")
            found.append((part, torch.tensor([places[root] for root in block]).T))
        return found

    def writers(self, block: Sequence[int]) -> list[tuple[Part, Tensor]]:
        """Maps, norms and constants that write to a block, with their rows (for a constant: entries, [..., block])."""
        found = []
        for part in self.parts.values():
            if part.is_identity:
                continue
            if part.site.name == "add":
                labels = self.recorder.roots(part.site.writes if part.site.labels is None else part.site.labels)
                if not set(labels.reshape(-1).tolist()) & set(block):
                    continue
                rows = labels.reshape(-1, labels.shape[-1])
                if sorted(rows[0].tolist()) != sorted(block) or not bool((rows == rows[0]).all()):
                    raise Unproved("a constant is added to some of the channels that belong together")
                place = {root: at for at, root in enumerate(rows[0].tolist())}
            else:
                place = {root: at for at, root in enumerate(self.roots(part.site.writes))}
                if not place.keys() & set(block):
                    continue
                if not place.keys() >= set(block):
                    raise Unproved(f"{part.site.name} writes to some of the channels that belong together")
            found.append((part, torch.tensor([place[root] for root in block])))
        return found

    def are_fixed(self, channels: Tensor) -> bool:
        """Whether something fixes the coordinates of all these channels."""
        return set(self.roots(channels)) <= set(self.recorder.fixed().tolist())

    def norms(self) -> list[Part]:
        """The norms over channels."""
        return [part for part in self.parts.values() if part.site.name in ("layer_norm", "rms_norm", "group_norm")]

    def scale_of_input(self, part: Part) -> Tensor:
        """The units in which a linear map's inputs count (`scale`)."""
        return self.scale(part, part.site.reads, before=True)

    def scale_of_output(self, part: Part) -> Tensor:
        """The units in which a linear map's outputs count (`scale`)."""
        return self.scale(part, part.site.writes, before=False)

    def scale(self, part: Part, channels: Tensor, *, before: bool) -> Tensor:
        """The root mean square on samples of the channels whose coordinates are fixed; 1 for others."""
        site = part.site
        size = torch.ones(len(channels) or site.arguments["weight"].shape[0], dtype=torch.float64)
        roots = self.roots(channels)
        is_fixed = torch.tensor([root not in self.iso for root in roots], dtype=torch.bool)
        if not roots or not bool(is_fixed.any()):
            return size
        found: list[Tensor] = []

        def see(inputs: Tensor, result: Tensor) -> None:
            values = (part.without_offset(inputs) if before else result).double()
            axis = 1 if site.name.startswith("conv") else -1
            values = values.movedim(axis, -1)
            if part in self.centered and not before:
                values = values - values.mean(-1, keepdim=True)
            found.append(values.reshape(-1, values.shape[-1]).square().mean(0).sqrt().cpu())

        self.observe({site.number: see})
        mean = torch.where(is_fixed, found[0], 1.0)
        return torch.where(mean > 0, mean, 0.0 if before else 1.0)

    def observe(self, seen: dict[int, Callable[[Tensor, Tensor], None]]) -> None:
        """Show inputs and results of calls, by number, on samples."""
        with FastMaxPool2d(), Replay({}, seen):
            self.context.model(self.context.train.x[:OBSERVED])

    def maps_reached(self, part: Part) -> set[Part]:
        """The linear maps that read what a part writes, or a sum with it."""
        called = {self.by_call[node] for _, node in ends_of(part.site.after) if node in self.by_call}
        return {part for part in called if part.weight is not None}


def ends_of(node: Node, past: Set[str] = STRAIGHT - {"factor"}) -> set[tuple[str, Node | None]]:
    """Where an activation goes, past sums, means and moves: what reads it, and the result of that."""
    return {(name, other) for name, other, passed in followed([node], lambda name, _: name in past) if not passed}


def read_directly(node: Node) -> set[Node]:
    """The results of what reads an activation itself, or entries or means of it."""
    uses = followed([node], lambda name, _: name in ("move", "mean"))
    return {other for _, other, passed in uses if other is not None and not passed}
