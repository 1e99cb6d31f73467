"""The canonical form of a network: one network for all whose weights differ by a symmetry alone.

Changes of the weights that leave the function alone are found in the calls of the traced network (`trace`), and undone:

    linear maps in a row        their product stands in one of them, the others copy; where a layer between is narrower
                                than both ends (attention), factors U S^½ and S^½ V' of the product's singular values
    constants                   go through linear maps into the last one; what a softmax or a layer norm forgets is
                                dropped; constants that are added to each other are one constant
    redundant inputs            of layers that read a softmax or a one-hot vector, whose sum is 1, or a norm with its
                                gains, are taken out; what all embeddings have in common is a constant
    periods and signs           the constant in a sine or cosine is brought within a quarter of a period, with the sign
                                of what reads it; what reads sigmoids reads them less 1/2, so that they are odd
    normalization               gain and bias are multiplied into the linear maps that follow; batch norm into the one
                                before it
    a stream between norms      is turned to the principal axes of what the norms read

What is left is a choice of signs, an order, a factor for each ReLU neuron, and rotations where axes are degenerate.
Noise that is relative to each weight, or along an axis that may be rotated to the root mean square over it, moves with
all of them: its law does, and with the sign of the weight as a factor, in the order of the neurons' own functions
(`neurons`), its draws do too, but for degenerate axes.

Why products. Of ``W2 W1`` with ``W1 -> A W1, W2 -> W2 A^-1`` only the product is the same for all A, and it is a
polynomial in the weights: nothing jumps where its rank falls. Of a narrow layer's product U S V' the balanced factors
(``W2'W2 = W1 W1'``) are the point of least norm in the closure of the orbit (Kempf and Ness 1979). They are continuous
in the product, up to rotations, because S^½ is; hidden directions that one of the two maps ignores have S = 0. Where
the ends of a narrow layer have coordinates of their own, each is measured in units of its root mean square on samples,
so that factors for ReLU neurons do not tilt U and V. Da Silva et al. 2025, arXiv:2505.05409, take a metric on the
quotient instead.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from suite.kernels.max_pool import FastMaxPool2d
from suite.measures.context import MeasureContext
from suite.measures.neurons import NeuronOrder
from suite.measures.trace import (
    ELEMENTWISE,
    LINEAR,
    MAXIMA,
    STRAIGHT,
    Arguments,
    Change,
    Event,
    Node,
    Recorder,
    Replay,
    Site,
    called,
    followed,
)
from suite.models import evaluating
from suite.seeding import torch_stream

TRACED, OBSERVED = 2, 128
"""Samples that a network is traced on, and that scales and principal axes are taken from."""

MOST_RELATED, RELATED = 1024, 1e-11
"""Inputs of a map among which linear relations are looked for, and what share of the largest variance is none."""
RARE = 8
"""Samples on which an input must differ from 0, to be looked at."""
ROUNDING = 1e-14
"""Singular values below this share of the largest are rounding."""

SAME = {torch.float64: 1e-7, torch.float32: 1e-2}
"""How far outputs of the canonical form may lie from the network's: rounding of ill-conditioned weights."""


ENDS = ELEMENTWISE | MAXIMA | {"softmax", "log_softmax", "query", "key", "outputs"}
"""What a vector that is added to all logits passes as it is, and functions behind which it is none."""

WAVES = frozenset({"sin", "cos"})
"""``f(z + pi) = -f(z)``"""
SIGMOIDS = frozenset({"sigmoid", "hardsigmoid"})
"""``f(-z) = 1 - f(z)``"""
HINGES = frozenset(
    {"relu", "relu_", "leaky_relu", "leaky_relu_", "gelu", "silu", "softplus", "logsigmoid", "hardswish"}
)
"""``f(z) - f(-z)`` is a multiple of z."""

Ends = frozenset[tuple[str, Node | None]]
"""What reads an activation: the name of the function, and its result."""


class Unproved(Exception):
    """It is not known which changes of the weights leave the network's function alone; says why."""


@dataclass(eq=False)
class Part:
    """The operands of one call in canonical form, in float64.

    Attributes:
        site: the call.
        weight: of a linear map [out, in, taps]; None for others.
        gain: of a normalization, or None.
        shift: of a linear map or normalization [out], of a sum the constant that is added; or None.
        free: by name, where operands may be perturbed: 1, or 0 for an entry that only copies.
        is_identity: a batch norm that went into the map before it.
        trained: the names of those that depend on parameters.
        given: the operands as the call gets them, by the same names.
        changed: whether they are not the network's own any more.
        offset: of a linear map, what is taken from its inputs [in]; None if nothing is.
    """

    site: Site
    weight: Tensor | None = None
    gain: Tensor | None = None
    shift: Tensor | None = None
    free: dict[str, Tensor] = field(default_factory=dict)
    is_identity: bool = False
    trained: set[str] = field(default_factory=set)
    given: dict[str, Tensor] = field(default_factory=dict)
    changed: bool = False
    offset: Tensor | None = None

    def add_shift(self, shift: Tensor, *, trained: bool) -> None:
        self.shift = shift.clone() if self.shift is None else self.shift + shift
        self.changed = True
        if trained:
            self.trained.add("shift")

    def drop_shift(self) -> None:
        self.shift = torch.zeros_like(self.shift) if self.site.name == "add" and self.shift is not None else None
        self.changed = True
        self.trained.discard("shift")

    def has_operands_of(self, other: Part) -> bool:
        """Whether both have the same operands, free in the same entries."""

        def are_same(one: Tensor | None, two: Tensor | None) -> bool:
            return one is two if one is None or two is None else torch.equal(one, two)

        return (
            (self.is_identity, self.trained, self.free.keys()) == (other.is_identity, other.trained, other.free.keys())
            and all(are_same(getattr(self, name), getattr(other, name)) for name in ("weight", "gain", "shift"))
            and all(are_same(self.free[name], other.free[name]) for name in self.free)
        )

    def operands(self) -> Iterator[tuple[str, Tensor]]:
        """Those that are perturbed."""
        for name in ("weight", "gain", "shift"):
            value = getattr(self, name)
            if value is not None and name in self.trained:
                yield name, value

    def call(self, tensors: dict[str, Tensor]) -> Change:
        """The call with these in place of its operands of the same name."""
        site = self.site
        own = {name: tensors.get(name, getattr(self, name)) for name in ("weight", "gain", "shift")}

        def run(func: Callable[..., Any], name: str, arguments: Arguments) -> Tensor:
            x = arguments["input"]

            def like(tensor: Tensor | None) -> Tensor | None:
                return None if tensor is None else tensor.to(site.after.tensor.device, site.after.tensor.dtype)

            weight, gain, shift = (like(own[each]) for each in ("weight", "gain", "shift"))
            if self.offset is not None:
                x = self.without_offset(x)
            if name == "batch_norm":
                if self.is_identity:
                    return x
                assert gain is not None
                assert shift is not None
                shape = (1, -1, *[1] * (x.dim() - 2))
                return gain.view(shape) * x + shift.view(shape)
            if name == "add":
                operand = "input" if isinstance(site.arguments["input"], Tensor) and self._constant_first else "other"
                return called(func, name, arguments | {operand: shift})
            if name == "matmul":
                assert weight is not None
                matrix = weight[:, :, 0]
                result: Tensor = x @ (matrix[0] if arguments["other"].dim() == 1 else matrix.T)
                return result if shift is None else result + shift
            changes: Arguments = {"weight": gain} if weight is None else {"weight": weight[:, :, 0]}
            if name == "embedding":
                assert weight is not None
                vectors: Tensor = called(func, name, arguments | {"weight": weight[:, :, 0].T})
                return vectors if shift is None else vectors + shift
            elif name.startswith("conv"):
                assert weight is not None
                changes = {"weight": weight.reshape(site.arguments["weight"].shape)}
            if name != "rms_norm":
                changes["bias"] = shift
            result = called(func, name, arguments | changes | {"input": x})
            return result

        return run

    def without_offset(self, x: Tensor) -> Tensor:
        """The inputs of a linear map less what is taken from them."""
        if self.offset is None:
            return x
        last = (1,) * (x.dim() - 2) if self.site.name.startswith("conv") else ()
        return x - self.offset.to(x).view(-1, *last)

    @property
    def _constant_first(self) -> bool:
        return self.site.before is not None and self.site.arguments["input"] is not self.site.before.tensor


@dataclass(frozen=True)
class Form:
    """A network in canonical form.

    Attributes:
        parts: by call.
        scales: for every operand that is perturbed: the part, its name, and the size of the noise, entry by entry.
        places: for each of them, which of as many draws every entry gets [entries].
        is_own: whether the network is its own canonical form, with its parameters as operands.
        tied: by call and name of an operand, further calls that get the same one (steps of a recurrent layer).
    """

    parts: dict[int, Part]
    scales: list[tuple[Part, str, Tensor]]
    places: list[Tensor]
    is_own: bool
    tied: Mapping[tuple[int, str], Sequence[Part]]

    @functools.cached_property
    def _operands(self) -> list[Tensor]:
        """What is perturbed, on the network's device and in its precision."""
        return [getattr(part, name).to(part.site.after.tensor) for part, name, _ in self.scales]

    @functools.cached_property
    def sizes(self) -> list[Tensor]:
        """The scales, likewise."""
        return [scale.to(part.site.after.tensor) for part, _, scale in self.scales]

    def calls(self, noise: Sequence[Tensor] | None = None) -> dict[int, Change]:
        """By number, the calls whose operands are not the network's own, with `noise` added to those in `scales`."""
        tensors: dict[int, dict[str, Tensor]] = {}
        for (part, name, _), operand, move in zip(self.scales, self._operands, noise or (), strict=noise is not None):
            moved = operand + move
            for each in (part, *self.tied.get((part.site.number, name), ())):
                tensors.setdefault(each.site.number, {})[name] = moved
        return {
            number: part.call(tensors.get(number, {}))
            for number, part in self.parts.items()
            if part.changed or number in tensors
        }

    def outputs(self, context: MeasureContext, x: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Outputs [n, ...] on x, with `noise` added to the operands that `scales` lists."""
        return replayed(context, x, self.calls(noise))

    def only_difference(self, other: Form) -> int | None:
        """The one call in which both forms differ, if it gives the outputs; None if they differ elsewhere."""
        if self.parts.keys() != other.parts.keys() or self.tied.keys() != other.tied.keys():
            return None
        differing = [number for number, part in self.parts.items() if not part.has_operands_of(other.parts[number])]
        uses = {name for number in differing for name, _ in self.parts[number].site.after.uses}
        return differing[0] if len(differing) == 1 and uses == {"outputs"} else None

    def has_the_noise_of(self, other: Form, last: int) -> bool:
        """Whether the same draws are the same noise in both forms, apart from its size in the call `last`."""
        if len(self.scales) != len(other.scales):
            return False
        pairs = zip(self.scales, other.scales, self.places, other.places, strict=True)
        return all(
            one.shape == two.shape
            and torch.equal(first, second)
            and (part.site.number == last or torch.equal(one, two))
            for (part, _, one), (_, _, two), first, second in pairs
        )


@torch.no_grad()
def replayed(context: MeasureContext, x: Tensor, changed: Mapping[int, Change]) -> Tensor:
    """Outputs [n, ...] of the network on x, with other operands in some of its calls."""

    def one(inputs: Tensor) -> Tensor:
        with FastMaxPool2d(), Replay(changed):
            result: Tensor = context.model(inputs)
            return result

    return torch.cat([one(inputs) for inputs in torch.split(x, context.network.chunk(x))])


def canonical_form(context: MeasureContext, *, logit_shift: bool = False) -> Form:
    """The canonical form of the network in `context`.

    Args:
        context: the network on its data.
        logit_shift: whether the loss sees no vector that is added to all classes' rows: they then have mean 0.

    Raises:
        Unproved: the network calls functions whose symmetries are not known, or combines known ones in a way that is
            not covered.
    """
    try:
        return _Canonical(context, logit_shift).form()
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        # A network that combines calls in a way that nobody thought of loses the proof, not the number.
        raise Unproved("it combines weights and activations in a way that is not covered") from error


class _Canonical:
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
            self.parts = {site.number: _part(site) for site in recorder.sites}
        self.by_call = {part.site.after: part for part in self.parts.values()}
        self.free: list[Part] = []
        self.iso: dict[int, object] = {}
        self.centered: set[Part] = set()  # what their outputs have in common is forgotten

    @torch.no_grad()
    def form(self) -> Form:
        own = all(_is_parameter(value) for part in self.parts.values() for value in _given(part.site))
        self._fold_batch_norms()
        self._free_norms()
        self._find_blocks()
        self._check_paths()
        self._check_relations()
        means = self._split_embeddings()
        self._center_sigmoids()
        self._pass_constants_on()
        self._take_out_redundancies()
        self._fold_constants()
        self._merge_constants()
        self._join_embeddings(means)
        self._reduce_constants()
        self._center()
        self._turn_streams()
        self._multiply()
        is_own = own and not self.iso and not any(part.changed for part in self.parts.values())
        tied = self._tied()
        form = Form(self.parts, self._scales(tied), [], is_own, tied)
        form.places.extend(self._places(form))
        if not is_own:
            self._check(form)
        return form

    def _check(self, form: Form) -> None:
        x = self.context.train.x[:TRACED]
        found, expected = form.outputs(self.context, x), self.outputs.detach()
        if self.logit_shift and expected.dim() > 1:
            found, expected = (each - each.mean(1, keepdim=True) for each in (found, expected))
        gap = float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))
        if not gap <= SAME.get(expected.dtype, 1e-2):
            raise Unproved(f"its canonical form has other outputs, by {gap:.2g}")

    # -- who reads and writes what ------------------------------------------------------------------------------------

    def _roots(self, channels: Tensor) -> list[int]:
        roots: list[int] = self.recorder.roots(channels.reshape(-1)).tolist()
        return roots

    def _linear(self) -> list[Part]:
        return [part for part in self.parts.values() if part.weight is not None]

    def _readers(self, block: Sequence[int]) -> list[tuple[Part, Tensor]]:
        """Linear maps that read a block of channels, with their columns [times, len(block)] in the block's order."""
        found = []
        for part in self._linear():
            places: dict[int, list[int]] = {root: [] for root in block}
            for column, root in enumerate(self._roots(part.site.reads)):
                if root in places:
                    places[root].append(column)
            times = {len(columns) for columns in places.values()}
            if times == {0}:
                continue
            if len(times) > 1:
                raise Unproved(f"{part.site.name} reads some channels more often than others")
            found.append((part, torch.tensor([places[root] for root in block]).T))
        return found

    def _writers(self, block: Sequence[int]) -> list[tuple[Part, Tensor]]:
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
                place = {root: at for at, root in enumerate(self._roots(part.site.writes))}
                if not place.keys() & set(block):
                    continue
                if not place.keys() >= set(block):
                    raise Unproved(f"{part.site.name} writes to some of the channels that belong together")
            found.append((part, torch.tensor([place[root] for root in block])))
        return found

    # -- normalization ------------------------------------------------------------------------------------------------

    def _fold_batch_norms(self) -> None:
        by_node = {part.site.after: part for part in self._linear()}
        for part in self.parts.values():
            if part.site.name != "batch_norm":
                continue
            before = part.site.before
            source = by_node.get(before) if before is not None and len(before.uses) == 1 else None
            if source is None or source.site.name == "embedding":
                if not (self._are_fixed(part.site.reads) and self._are_fixed(part.site.writes)):
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
            self.recorder.merge(part.site.reads, part.site.writes)
            source.site.after = part.site.after

    def _are_fixed(self, channels: Tensor) -> bool:
        return set(self._roots(channels)) <= set(self.recorder.fixed().tolist())

    def _norms(self) -> list[Part]:
        return [part for part in self.parts.values() if part.site.name in ("layer_norm", "rms_norm", "group_norm")]

    def _free_norms(self) -> None:
        """Multiply gain and bias of norms that only linear maps read into these; fix the channels of other norms."""
        norms = self._norms()
        while fixing := [
            part
            for part in norms
            if (self._are_fixed(part.site.writes) or part.site.name == "group_norm")
            and not self._are_fixed(part.site.reads)
        ]:
            for part in fixing:
                self.recorder.fix(part.site.reads)
        histories = self.recorder.histories()
        for part in norms:
            if self._are_fixed(part.site.writes):
                continue
            block = self._roots(part.site.writes)
            if part.site.name == "group_norm" or self._goes_elsewhere(part, histories):
                raise Unproved("what a norm returns goes elsewhere than to linear maps, or is normalized in groups")
            readers = self._readers(block)
            for reader, columns in readers:
                weight = reader.weight
                assert weight is not None
                for places in columns:
                    if part.shift is not None:
                        if _is_padded(reader.site):
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
            self.free.append(part)

    def _goes_elsewhere(self, part: Part, histories: Mapping[int, frozenset[Event]]) -> bool:
        """Whether others than linear maps read what a norm returns, or others than it write to that."""
        events = {event for root in self._roots(part.site.writes) for event in histories[root]}
        return any(
            event[1] != "read" or self.parts[event[0]].weight is None
            for event in events - {(part.site.number, "write")}
        )

    # -- linear maps in a row -----------------------------------------------------------------------------------------

    def _find_blocks(self) -> None:
        """Channels whose coordinates nothing fixes, and no norm reads or writes, by what happens to them."""
        fixed = set(self.recorder.fixed().tolist())
        silent = {number for number, part in self.parts.items() if part.is_identity}
        norms = {part.site.number for part in self._norms()}
        blocks: dict[frozenset[Event], list[int]] = {}
        for root, events in self.recorder.histories().items():
            events = frozenset(event for event in events if event[0] not in silent)
            if root not in fixed and not any(event[0] in norms for event in events):
                blocks.setdefault(events, []).append(root)
        self.blocks = [(events, sorted(block)) for events, block in blocks.items()]

    def _fold_constants(self) -> None:
        """Constants that linear maps pass on become constants of those; those of keys are dropped."""
        for events, block in self.blocks:
            kinds = {event[1] for event in events}
            is_key = "key" in kinds and not kinds & {"query", "value", "read"}
            if "factor" in kinds or (kinds & {"query", "key"} and not is_key):
                continue
            readers = [] if is_key else self._readers(block)
            if any(_is_padded(reader.site) for reader, _ in readers):
                continue
            for part, rows in self._writers(block):
                if part.shift is None or part.shift.dim() > 1:
                    continue
                constant, reached = part.shift[rows], self._maps_reached(part)
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

    def _multiply(self) -> None:
        """Put the products of linear maps in a row into one of them, or balance narrow factors."""
        hidden = {root for _, block in self.blocks for root in block}
        done: set[int] = set()
        for events, block in self.blocks:
            if block[0] in done:
                continue
            kinds = {event[1] for event in events}
            if "factor" in kinds:
                raise Unproved("a number multiplies what is between linear maps")
            if kinds & {"query", "key"}:
                if kinds & {"read"} or {"query", "key"} <= kinds:
                    raise Unproved("queries or keys serve as something else too")
                if "key" in kinds:
                    self._multiply_attention(events, block, hidden)
                done.update(block)
                continue
            chain = self._chain(block, hidden)
            if chain is not None:
                blocks, parts = chain
                self._multiply_chain(blocks, parts)
                done.update(root for each in blocks for root in each)
                continue
            writers, readers = self._writers(block), self._readers(block)
            around = [part.site.reads for part, _ in writers if part.weight is not None]
            around += [part.site.writes for part, _ in readers]
            if any(set(self._roots(each)) & hidden for each in around):
                raise Unproved("linear maps meet in more than a row")
            self._assign(block, [_Rows(self, *each) for each in writers], [_Columns(self, *each) for each in readers])
            done.update(block)

    def _multiply_attention(self, events: frozenset[Event], block: list[int], hidden: set[int]) -> None:
        pairs = {event[0] for event in events if event[1] == "key"}
        asking = [
            (other, {event[0] for event in found if event[1] == "query"})
            for found, other in self.blocks
            if any(event[1] == "query" and event[0] in pairs for event in found)
        ]
        if not asking or any(not met <= pairs for _, met in asking):
            raise Unproved("queries meet the keys of several heads")
        queries = [query for query, _ in asking]
        order = self._order_of(events, block, queries, pairs)
        sides = [_Rows(self, *each) for query in order for each in self._writers(query)]
        keys = self._writers(block)
        for part, _ in [*keys, *((side.part, side.rows) for side in sides)]:
            if part.weight is not None and set(self._roots(part.site.reads)) & hidden:
                raise Unproved("queries or keys are the last of several linear maps")
        self._assign(block, sides, [_Rows(self, *each) for each in keys])

    def _order_of(
        self, events: frozenset[Event], block: list[int], queries: list[list[int]], pairs: set[Any]
    ) -> list[list[int]]:
        """The queries' channels in the order of the keys' that they are multiplied with."""
        partner: dict[Any, dict[int, int]] = {}
        for event, asked, answering in self.recorder.products:
            if event in pairs:
                partner[event] = dict(zip(self._roots(answering), self._roots(asked), strict=True))
        ordered = []
        for query in queries:
            mapping = next(m for m in partner.values() if set(m.values()) == set(query))
            ordered.append([mapping[root] for root in block])
        return ordered

    def _chain(self, block: list[int], hidden: set[int]) -> tuple[list[list[int]], list[Part]] | None:
        """The blocks and maps of the row that a block belongs to, if each has one writer and one reader."""

        def ends(each: list[int]) -> tuple[Part, Part] | None:
            writers, readers = self._writers(each), self._readers(each)
            if len(writers) != 1 or len(readers) != 1:
                return None
            (first, rows), (second, columns) = writers[0], readers[0]
            whole = first.weight is not None and second.weight is not None and first.shift is None
            if not whole or len(rows) != len(first.site.writes) or len(columns) != 1:
                return None
            if columns.shape[1] != len(second.site.reads):
                return None
            return first, second

        by_root = {root: each for _, each in self.blocks for root in each}
        found = ends(block)
        if found is None:
            return None
        blocks, parts = [block], list(found)
        while (roots := set(self._roots(parts[0].site.reads))) & hidden:
            before = by_root[min(roots & hidden)]
            if set(before) != roots or (found := ends(before)) is None or found[1] is not parts[0]:
                return None
            blocks.insert(0, before)
            parts.insert(0, found[0])
        while (roots := set(self._roots(parts[-1].site.writes))) & hidden:
            after = by_root[min(roots & hidden)]
            if set(after) != roots or (found := ends(after)) is None or found[0] is not parts[-1]:
                return None
            blocks.append(after)
            parts.append(found[1])
        return blocks, parts

    def _multiply_chain(self, blocks: list[list[int]], parts: list[Part]) -> None:
        weights = [part.weight for part in parts if part.weight is not None]
        if len(parts) == 2:
            (block,) = blocks
            rows = [_Rows(self, *each) for each in self._writers(block)]
            self._assign(block, rows, [_Columns(self, *each) for each in self._readers(block)])
            return
        if any(weight.shape[2] > 1 for weight in weights):
            raise Unproved("three convolutions or more stand in a row")
        # Every map in the order of the channels between them.
        into = [torch.arange(weights[0].shape[1]), *(self._readers(block)[0][1][0] for block in blocks)]
        out = [*(self._writers(block)[0][1] for block in blocks), torch.arange(len(weights[-1]))]
        matrices = [w[rows[:, None], columns, 0] for w, rows, columns in zip(weights, out, into, strict=True)]
        product = functools.reduce(lambda done, matrix: matrix @ done, matrices)
        factors, home = self._factors(blocks, parts, product)
        is_trained = any("weight" in part.trained for part in parts)
        for at, (part, factor) in enumerate(zip(parts, factors, strict=True)):
            part.weight = torch.zeros_like(weights[at])
            part.weight[out[at][:, None], into[at], 0] = factor
            part.free["weight"] = torch.full_like(part.weight, float(home in (at, None)))
            part.changed = True
            if is_trained:
                part.trained.add("weight")

    def _factors(self, blocks: list[list[int]], parts: list[Part], product: Tensor) -> tuple[list[Tensor], int | None]:
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
            ends = self._roots(parts[-1].site.writes if home == 0 else parts[0].site.reads)
            for block in blocks:
                for root, end in zip(block, ends, strict=False):
                    if end in self.iso:
                        self.iso[root] = self.iso[end]
            return zeros, home
        left, right = self._scale_of_output(parts[-1]), self._scale_of_input(parts[0])
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
            self.iso |= dict.fromkeys(block, ("row", block[0], number))
        return zeros, None

    def _scale_of_input(self, part: Part) -> Tensor:
        return self._scale(part, part.site.reads, before=True)

    def _scale_of_output(self, part: Part) -> Tensor:
        return self._scale(part, part.site.writes, before=False)

    def _scale(self, part: Part, channels: Tensor, *, before: bool) -> Tensor:
        """The root mean square on samples of the channels whose coordinates are fixed; 1 for others."""
        site = part.site
        size = torch.ones(len(channels) or site.arguments["weight"].shape[0], dtype=torch.float64)
        roots = self._roots(channels)
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

        self._observe({site.number: see})
        mean = torch.where(is_fixed, found[0], 1.0)
        return torch.where(mean > 0, mean, 0.0 if before else 1.0)

    def _observe(self, seen: dict[int, Callable[[Tensor, Tensor], None]]) -> None:
        with FastMaxPool2d(), Replay({}, seen):
            self.context.model(self.context.train.x[:OBSERVED])

    def _assign(self, block: list[int], firsts: Sequence[_Side], seconds: Sequence[_Side]) -> None:
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
                self.iso[hidden] = end
        self._give(firsts, new_x, free_x, is_trained)
        self._give(seconds, new_y.T, free_y, is_trained)

    def _give(self, sides: Sequence[_Side], value: Tensor, free: float, is_trained: bool) -> None:
        start = 0
        for side in sides:
            stop = start + side.get().shape[1]
            side.put(value[:, start:stop], free)
            if is_trained:
                side.part.trained.add(side.name)
            side.part.changed = True
            start = stop

    # -- constants ----------------------------------------------------------------------------------------------------

    def _split_embeddings(self) -> dict[Part, Tensor]:
        """Make what all embeddings of a table have in common a constant, which others may stand for; these, by part."""
        means = {}
        for part in self._linear():
            if part.site.name == "embedding" and "weight" in part.trained:
                assert part.weight is not None
                means[part] = part.shift = part.weight[:, self._occurring(part), 0].mean(1)
                part.weight = part.weight - part.shift[:, None, None]
                part.trained.add("shift")
        return means

    def _occurring(self, part: Part) -> Tensor:
        """Which rows of a table samples use: others may be anything."""
        found: set[int] = set()
        with FastMaxPool2d(), Replay({}, {part.site.number: lambda which, _: found.update(which.reshape(-1).tolist())}):
            for x in torch.split(self.context.train.x, self.context.network.chunk(self.context.train.x)):
                self.context.model(x)
        return torch.tensor(sorted(found))

    def _join_embeddings(self, means: Mapping[Part, Tensor]) -> None:
        """Undo that where no other constant is added, and no linear map follows."""
        for part, mean in means.items():
            if part.shift is mean:
                assert part.weight is not None
                part.weight, part.shift = part.weight + mean[:, None, None], None
                part.trained.discard("shift")
            else:
                part.changed = True

    def _constants(self) -> dict[tuple[Ends, frozenset[int]], list[Part]]:
        """Those that are added to each other, by where their sum goes and by their channels."""
        groups: dict[tuple[Ends, frozenset[int]], list[Part]] = {}
        for part in self.parts.values():
            if part.shift is not None and "shift" in part.trained:
                key = frozenset(self._ends(part.site.after)), frozenset(self._roots(_written(part)))
                groups.setdefault(key, []).append(part)
        return groups

    def _maps_reached(self, part: Part) -> set[Part]:
        """The linear maps that read what a part writes, or a sum with it."""
        called = {self.by_call[node] for _, node in self._ends(part.site.after) if node in self.by_call}
        return {part for part in called if part.weight is not None}

    def _pass_constants_on(self) -> None:
        """Move constants past the linear maps that read them, into these and into what is added later.

        Of ``x + b`` that a linear map W reads before c is added, W's constant gets W b, and c gets b. Of what norms
        forget of b, W's constant alone gets it.
        """
        hidden = {root for _, block in self.blocks for root in block}
        groups: dict[tuple[Ends, frozenset[int]], list[tuple[Part, set[Part]]]] = {}
        for (ends, channels), parts in self._constants().items():
            if channels & hidden:
                continue
            for part in parts:
                maps = self._maps_reached(part)
                seen = {node for node, reader in self.by_call.items() if reader in maps}
                others = frozenset(end for end in ends if end[1] not in seen)
                groups.setdefault((others, channels), []).append((part, maps))
        for (ends, channels), found in groups.items():
            if any(name == "factor" and node is not None and _meets(node, {"add"}) for name, node in ends):
                raise Unproved("a number multiplies a constant before another is added")
            fewest = min((maps for _, maps in found), key=len)
            if any(maps != fewest for _, maps in found):
                homes = [part for part, maps in found if maps == fewest and part.shift.dim() == 1]  # type: ignore[union-attr]
                if not homes or any(not maps >= fewest for _, maps in found):
                    raise Unproved("constants are added before and after linear maps read their sum")
                for part, maps in found:
                    if part is not homes[-1]:
                        self._move_constant(part, self._by_channel(part, channels), maps - fewest, homes[-1])
            for part, maps in found:
                is_forgotten = bool(ends) and all(node in self.recorder.forgetting for _, node in ends)
                if maps and is_forgotten and part.shift is not None and part.shift.dim() == 1:
                    mean = self._by_channel(part, channels).mean().expand(len(channels))
                    self._move_constant(part, mean, maps, None)
        by_channels: dict[frozenset[int], list[Ends]] = {}
        for ends, channels in groups:
            by_channels.setdefault(channels, []).append(ends)
        for sets in by_channels.values():
            rows = list(frozenset().union(*sets))
            meets = torch.tensor([[float(end in ends) for ends in sets] for end in rows], dtype=torch.float64)
            if not rows or int(torch.linalg.matrix_rank(meets)) < len(sets):
                raise Unproved("constants that are added in several places may stand for each other")

    def _by_channel(self, part: Part, channels: frozenset[int]) -> Tensor:
        """A constant [channels] in the order of their numbers; one that differs between positions, its mean."""
        assert part.shift is not None
        place = {root: at for at, root in enumerate(self._roots(_along_last(part)))}
        flat = part.shift.reshape(-1, part.shift.shape[-1]).mean(0)
        return flat[[place[root] for root in sorted(channels)]]

    def _move_constant(self, part: Part, constant: Tensor, maps: set[Part], home: Part | None) -> None:
        """Take a constant out of a part, give it to another, and what maps make of it to these."""
        block = sorted(self._roots(_along_last(part)))
        for other, sign in ((part, -1.0), (home, 1.0)):
            if other is not None:
                order = {root: at for at, root in enumerate(block)}
                values = sign * constant[[order[root] for root in self._roots(_along_last(other))]]
                other.add_shift(values, trained=True)
        for reader, columns in self._readers(block):
            if reader not in maps:
                continue
            if _is_padded(reader.site):
                raise Unproved("a constant meets the padding of a convolution")
            assert reader.weight is not None
            for places in columns:
                reader.add_shift(reader.weight[:, places].sum(2) @ constant, trained=True)
        if part.shift is not None and part.shift.dim() == 1 and home is not None:
            part.drop_shift()

    def _merge_constants(self) -> None:
        """Constants that are added to each other, with nothing in between that sees them, become one."""
        for (_, channels), parts in self._constants().items():
            if any(part.shift.dim() > 1 and _is_averaged(part.site.after) for part in parts):  # type: ignore[union-attr]
                raise Unproved("constants that differ between positions are averaged over these")
            if len(parts) < 2:
                continue
            home = max(parts, key=lambda part: part.shift.dim())  # type: ignore[union-attr]
            target = _written(home)
            order = {root: at for at, root in enumerate(sorted(channels))}
            places = torch.tensor([order[root] for root in self._roots(target)]).view(target.shape)
            for part in parts:
                if part is home:
                    continue
                assert part.shift is not None
                if part.shift.dim() > 1:
                    raise Unproved("several constants are added, each with its own positions")
                values = torch.zeros(len(order), dtype=torch.float64)
                values[[order[root] for root in self._roots(_written(part))]] = part.shift
                home.add_shift(values[places], trained=True)
                part.drop_shift()

    def _ends(self, node: Node, past: Set[str] = STRAIGHT - {"factor"}) -> set[tuple[str, Node | None]]:
        """Where an activation goes, past sums, means and moves: what reads it, and the result of that."""
        return {(name, other) for name, other, passed in followed([node], lambda name, _: name in past) if not passed}

    def _are_forgotten(self, part: Part) -> bool:
        """Whether all that reads what a part writes forgets what its channels have in common.

        Raises:
            Unproved: one of these reads other channels than the part writes.
        """
        ends = self._ends(part.site.after, past=STRAIGHT)
        found = [self.recorder.forgetting.get(node) for _, node in ends]  # type: ignore[arg-type]
        return self._all_read(part, found)

    def _all_read(self, part: Part, found: Sequence[Tensor | None]) -> bool:
        if not found or any(channels is None for channels in found):
            return False
        written = set(self._roots(_written(part)))
        if any(set(self._roots(channels)) != written for channels in found if channels is not None):
            raise Unproved("a norm reads some of the channels that a map writes")
        return True

    def _center(self) -> None:
        """Take out what a layer norm forgets, and with logits that may be shifted, what all of them have in common."""
        classes = frozenset(self._roots(self.recorder.channels(self.outputs, 1)))
        for part in self.parts.values():
            forgets = self._are_forgotten(part)
            if self.logit_shift and not forgets and part.site.name in LINEAR | {"add"}:
                forgets = self._is_last(part, classes)
            if not forgets:
                continue
            self.centered.add(part)
            if part.weight is not None:
                part.weight = part.weight - part.weight.mean(0)
            if part.shift is not None:
                part.shift = part.shift - part.shift.mean(-1, keepdim=True)
            part.changed = True
        for part in self._linear():
            ends = {self.by_call.get(node) for _, node in self._ends(part.site.after, past=STRAIGHT)}  # type: ignore[arg-type]
            norms = [norm for norm in ends if norm is not None and norm.site.name == "group_norm"]
            if len(norms) < len(ends) or not self._all_read(part, [norm.site.reads for norm in norms]):
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

    def _bent(self, node: Node) -> list[tuple[str, Node | None, Node, float]]:
        """What reads an activation, or a multiple, mean or sum of it: its name and result, what it reads, the factor.

        A constant that is added to the activation is added that often to what is read. The factor of what is reached in
        several ways is NaN.
        """
        factors, found = {node: 1.0}, []
        for each in self.recorder.nodes:  # in the order in which they are made
            for name, other in each.uses if each in factors else ():
                if other is None or name not in STRAIGHT:
                    found.append((name, other, each, factors[each]))
                else:
                    factor = factors[each] * (other.factor if name == "factor" else 1.0)
                    factors[other] = math.nan if other in factors else factor
        return found

    def _check_paths(self) -> None:
        """No linear map stands beside another path that it could take a part of.

        Of ``W x + V a(U x)`` with no function a, or one of `HINGES`, ``V D U x`` can go to W.

        Raises:
            Unproved: one does.
        """
        calls = self._calls_of_weights()
        for part in self._linear():
            if part.site.before is None or "weight" not in part.trained:
                continue
            written = set(self._roots(part.site.writes))
            for other, wide, through, bends in self._paths(part.site.before):
                if other is part or set(self._roots(other.site.writes)) != written or "weight" not in other.trained:
                    continue
                repeated = calls[other.given["weight"].data_ptr()] > 1
                assert part.weight is not None
                fits = through == 1 or wide == 0 or (wide == 1 and part.weight.shape[2] > 1)
                if fits and not (bends and repeated):
                    raise Unproved("a linear map stands beside another path that it could take a part of")

    def _calls_of_weights(self) -> dict[int, int]:
        """How many linear maps have each matrix, by its address."""
        calls: dict[int, int] = {}
        for part in self._linear():
            if "weight" in part.given:
                calls[part.given["weight"].data_ptr()] = calls.get(part.given["weight"].data_ptr(), 0) + 1
        return calls

    def _paths(self, start: Node) -> Iterator[tuple[Part, int, int, int]]:
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
                part = None if other is None else self.by_call.get(other)
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

    def _check_relations(self) -> None:
        """No combination of what a linear map reads, or maps whose results are added, is always the same number.

        Asked of results of unknown functions, and where functions of one activation meet again: ``relu(z) - relu(-z)``
        is z. It is looked for on samples with noise, so that it is the functions' and not the data's.

        Raises:
            Unproved: one is, or there are too many inputs to tell.
        """
        unknown = (node for node in self.recorder.nodes if not node.known)
        parts = {self.by_call[each] for node in unknown for each in _read_directly(node) if each in self.by_call}
        groups = [[part] for part in parts if part.site.before is not None and _has_trained_weight(part)]
        calls = self._calls_of_weights()
        # One step of a recurrent layer may read related results, if the steps together do not; and tokens, to which no
        # noise can be added, may be too few to tell.
        if self.context.train.x.is_floating_point():
            groups += [
                group
                for group in [*([part] for part in self._reading_tangles() - parts), *self._meeting_again()]
                if all(_has_trained_weight(part) and calls[part.given["weight"].data_ptr()] == 1 for part in group)
            ]
        if not groups:
            return
        most = max(sum(len(part.site.reads) for part in group) for group in groups)
        x = self.context.train.x
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
            self.context.model(x)
        for group in groups:
            if len({len(read[part.site.number]) for part in group}) > 1:
                continue
            alone = sum(_relations(read[part.site.number]) for part in group) if len(group) > 1 else 0
            if _relations(torch.cat([read[part.site.number] for part in group], 1)) > alone:
                raise Unproved("results of functions, which linear maps read, are related")

    def _reading_tangles(self) -> set[Part]:
        """Linear maps that read activations in which another stands in more than one way."""
        waiting = [node for node in self.recorder.nodes if node.copies or node.overlaps]
        for node in self.recorder.nodes:
            others = {other: name for name, other in node.uses if other is not None}
            results = {other: name for other, name in others.items() if not self._fixes_anew(other)}
            if len(results) > 1 and self._are_fixed(node.labels[0]) and not _are_apart(results):
                waiting.extend(results)
        uses = followed(waiting, lambda _, other: other not in self.by_call or self.by_call[other].weight is None)
        return {self.by_call[other] for _, other, passed in uses if other is not None and not passed}

    def _fixes_anew(self, node: Node) -> bool:
        """Whether an activation is a norm's result, or a linear map's with something nonlinear behind it."""
        part = self.by_call.get(node)
        if part is None or part.site.name == "add":
            return False
        return part.weight is None or self._are_fixed(part.site.writes)

    def _meeting_again(self) -> list[list[Part]]:
        """Linear maps whose results are added, and that read different functions of one activation."""
        by_channels: dict[frozenset[int], list[Part]] = {}
        for part in self._linear():
            if part.site.before is not None and _has_trained_weight(part) and part.weight.shape[2] == 1:  # type: ignore[union-attr]
                by_channels.setdefault(frozenset(self._roots(part.site.writes)), []).append(part)
        groups = [parts for parts in by_channels.values() if len(parts) > 1]
        if not groups:
            return []
        made_of: dict[Node, frozenset[Node]] = {}
        for node in self.recorder.nodes:  # in the order in which they are made
            sources = made_of.setdefault(node, frozenset([node]))
            for _, other in node.uses:
                if other is not None and not (other in self.by_call and self.by_call[other].weight is not None):
                    made_of[other] = made_of.get(other, frozenset()) | sources
        return [
            [one, other]
            for parts in groups
            for one, other in itertools.combinations(parts, 2)
            if one.site.before is not other.site.before and made_of[one.site.before] & made_of[other.site.before]  # type: ignore[index]
        ]

    def _center_sigmoids(self) -> None:
        """Let linear maps read sigmoids less 1/2, whose sign is that of their input, and give the rest to constants."""
        if not any("shift" in part.trained for part in self.parts.values()):
            return
        for node in [*self.recorder.nodes]:
            for name, result in node.uses:
                if name not in SIGMOIDS or result is None:
                    continue
                if _meets(result, {"add", "factor"}):
                    raise Unproved("something is added to a sigmoid, or a number multiplies it")
                if not self._feeds_maps(result):
                    continue
                block = sorted(set(self._roots(result.labels[0].reshape(-1))))
                for reader, columns in self._readers(block):
                    if _is_padded(reader.site):
                        raise Unproved("a sigmoid meets the padding of a convolution")
                    assert reader.weight is not None
                    if reader.offset is None:
                        reader.offset = torch.zeros(reader.weight.shape[1], dtype=torch.float64)
                    for places in columns:
                        reader.offset[places] = 0.5
                        reader.add_shift(reader.weight[:, places].sum((1, 2)) / 2, trained="weight" in reader.trained)

    def _reduce_constants(self) -> None:
        """Bring constants in sines within a quarter of a period of 0: half periods change the sign of the sine.

        Raises:
            Unproved: a constant can go elsewhere through an exponential, a maximum or a sine.
        """
        for part in self.parts.values():
            if part.shift is None or "shift" not in part.trained:
                continue
            found = self._bent(part.site.after)
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
            if not all(self._feeds_maps(result) for _, result in waves):
                raise Unproved("what a sine returns goes elsewhere than to linear maps")
            count = (part.shift * abs(factor) / math.pi).round()
            if bool(count.any()):
                part.add_shift(-count * math.pi / abs(factor), trained=True)
                signs = dict(zip(self._roots(part.site.writes), (1 - 2 * (count.abs() % 2)).tolist(), strict=True))
                for source, result in waves:
                    self._multiply_inputs(result, [signs[root] for root in self._roots(source.labels[0])])

    def _multiply_inputs(self, node: Node, factors: Sequence[float]) -> None:
        """Multiply the weights of linear maps that read an activation by a factor for each of a sample's entries.

        Entries of one channel have the same.
        """
        by_channel = dict(zip(self._roots(node.labels[0]), factors, strict=True))
        block = sorted(by_channel)
        for reader, columns in self._readers(block):
            assert reader.weight is not None
            reader.weight, reader.changed = reader.weight.clone(), True
            for places in columns:
                reader.weight[:, places] *= reader.weight.new_tensor([by_channel[root] for root in block])[:, None]

    def _feeds_maps(self, node: Node) -> bool:
        """Whether linear maps alone read an activation, or means of it."""
        return all(
            other is not None
            and (
                self._feeds_maps(other)
                if name in ("move", "mean")
                else other in self.by_call and self.by_call[other].weight is not None
            )
            for name, other in node.uses
        )

    def _is_last(self, part: Part, classes: frozenset[int]) -> bool:
        """Whether a part writes logits, so that a vector can be added to what it writes of each.

        Raises:
            Unproved: others see what it writes too, or the outputs are made of it in a way that is not known.
        """
        passed = self._way_out(part.site.after)
        if "outputs" not in passed:
            return False
        if not passed <= {"outputs", *STRAIGHT} or frozenset(self._roots(_written(part))) != classes:
            raise Unproved("what all logits have in common goes elsewhere, or is made in a way that is not covered")
        return True

    def _way_out(self, node: Node) -> set[str]:
        """What happens to an activation, and to what is made of it, up to nonlinear functions and further maps."""
        return {
            name
            for name, *_ in followed(
                [node], lambda name, other: name not in ENDS and (name == "add" or other not in self.by_call)
            )
        }

    def _redundancies(self) -> Iterator[tuple[Node, Tensor, Tensor, float]]:
        """Activations, their channels [c], and a vector [c] of norm 1 whose product with them is always this number."""
        for norm in self._norms():
            if norm.site.name == "layer_norm" and self._are_fixed(norm.site.writes):
                gain = torch.ones(len(norm.site.writes), dtype=torch.float64) if norm.gain is None else norm.gain
                vector = (gain == 0).double() if bool((gain == 0).any()) else 1 / gain
                vector = vector / torch.linalg.vector_norm(vector)
                yield (
                    norm.site.after,
                    norm.site.writes,
                    vector,
                    0.0 if norm.shift is None else float(vector @ norm.shift),
                )
        for node, channels in self.recorder.shares.items():
            vector = torch.full((len(channels),), len(channels) ** -0.5, dtype=torch.float64)
            yield node, channels, vector, float(vector[0])

    def _take_out_redundancies(self) -> None:
        """Of maps that read a layer norm with its gains, or a softmax: what a constant can do as well."""
        for node, channels, vector, number in self._redundancies():
            place = {root: at for at, root in enumerate(self._roots(channels))}
            block = sorted(place)
            vector = vector[[place[root] for root in block]]
            direct = {self.by_call.get(result) for result in _read_directly(node)}
            for reader, columns in self._readers(block):
                if reader not in direct:
                    continue
                if number and _is_padded(reader.site):
                    raise Unproved("a constant meets the padding of a convolution")
                assert reader.weight is not None
                reader.weight = reader.weight.clone()
                for places in columns:
                    amount = torch.einsum("oit,i->ot", reader.weight[:, places], vector)
                    reader.weight[:, places] -= (amount[:, :, None] * vector).transpose(1, 2)
                    reader.add_shift(amount.sum(1) * number, trained="weight" in reader.trained)
                reader.changed = True

    # -- streams ------------------------------------------------------------------------------------------------------

    def _turn_streams(self) -> None:
        """Turn what norms read to its principal axes on samples."""
        streams: dict[frozenset[int], list[Part]] = {}
        for part in self.free:
            streams.setdefault(frozenset(self._roots(part.site.reads)), []).append(part)
        fixed = set(self.recorder.fixed().tolist())
        for roots, norms in streams.items():
            if roots <= fixed:
                continue
            block = sorted(roots)
            self._check_stream(block, norms)
            keeps_mean = any(part.site.name == "layer_norm" for part in norms)
            turn = self._principal_axes(block, norms, keeps_mean)
            for part, rows in self._writers(block):
                if part.site.name == "add":
                    assert part.shift is not None
                    part.shift = part.shift.clone()
                    part.shift[..., rows] = part.shift[..., rows] @ turn.T
                else:
                    assert part.weight is not None
                    part.weight = part.weight.clone()
                    part.weight[rows] = torch.einsum("ab,bit->ait", turn, part.weight[rows])
                    if part.shift is not None:
                        part.shift = part.shift.clone()
                        part.shift[rows] = turn @ part.shift[rows]
                part.changed = True
            outputs = []
            for norm in norms:
                place = {root: at for at, root in enumerate(self._roots(norm.site.reads))}
                written = self._roots(norm.site.writes)
                outputs.append([written[place[root]] for root in block])
            for each in (block, *outputs):
                for part, columns in self._readers(each):
                    assert part.weight is not None
                    for places in columns:
                        part.weight[:, places] = torch.einsum("ab,obt->oat", turn, part.weight[:, places])
                    part.changed = True
                self.iso |= dict.fromkeys(each, ("stream", block[0]))

    def _check_stream(self, block: list[int], norms: list[Part]) -> None:
        numbers = {part.site.number for part in norms}
        histories = self.recorder.histories()
        for root in block:
            for event in histories[root]:
                number, kind = event
                is_linear = isinstance(number, int) and (
                    self.parts[number].weight is not None or self.parts[number].site.name == "add"
                )
                if not is_linear and number not in numbers and not self.parts[number].is_identity:
                    raise Unproved(f"a stream of norms has a {kind} that is no linear map's")

    def _principal_axes(self, block: list[int], norms: list[Part], keeps_mean: bool) -> Tensor:
        size = len(block)
        total, mean = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)

        def seeing(norm: Part) -> Callable[[Tensor, Tensor], None]:
            place = {root: at for at, root in enumerate(self._roots(norm.site.reads))}
            order = torch.tensor([place[root] for root in block])

            def see(inputs: Tensor, _: Tensor) -> None:
                values = inputs.double().reshape(-1, size).cpu()[:, order]
                if keeps_mean:
                    values = values - values.mean(1, keepdim=True)
                values = values / values.square().mean(1, keepdim=True).sqrt().clamp_min(1e-300)
                total.add_(values.T @ values / len(values))
                mean.add_(values.mean(0))

            return see

        self._observe({part.site.number: seeing(part) for part in norms})
        basis = torch.eye(size, dtype=torch.float64)
        if keeps_mean:
            basis = _helmert(size)
        axes = torch.linalg.eigh(basis @ total @ basis.T)[1]
        axes = axes * torch.where(axes.T @ (basis @ mean) < 0, -1.0, 1.0)  # either sign would do
        turn = basis.T @ axes.T @ basis
        return turn + 1 / size if keeps_mean else turn

    # -- noise --------------------------------------------------------------------------------------------------------

    def _tied(self) -> dict[tuple[int, str], list[Part]]:
        """Calls of one function that get one operand, as it is: by the first of them and the operand's name."""
        first: dict[tuple[object, ...], int] = {}
        found: dict[tuple[int, str], list[Part]] = {}
        for part in self.parts.values():
            for name, value in () if part.changed else part.given.items():
                key = part.site.name, name, value.data_ptr(), value.shape, value.stride()
                number = first.setdefault(key, part.site.number)
                if number != part.site.number:
                    found.setdefault((number, name), []).append(part)
        return found

    def _scales(self, tied: Mapping[tuple[int, str], Sequence[Part]]) -> list[tuple[Part, str, Tensor]]:
        """Absolute values of the operands; along axes that may be rotated, root mean squares."""
        found = []
        repeated = {(part.site.number, name) for (_, name), parts in tied.items() for part in parts}
        for part in self.parts.values():
            rows = self._groups(part.site.writes)
            for name, value in part.operands():
                if (part.site.number, name) in repeated:
                    continue
                squares = value.square()
                if name in part.free:
                    squares = squares * part.free[name]
                if name == "weight":
                    columns = self._groups(part.site.reads) if len(part.site.reads) else None
                    squares = _averaged(squares, rows, 0)
                    squares = squares if columns is None else _averaged(squares, columns, 1)
                elif part.site.name == "add":
                    assert part.site.labels is not None
                    last = part.site.labels.reshape(-1, part.site.labels.shape[-1])[0]
                    squares = _averaged(squares, self._groups(last), squares.dim() - 1)
                else:
                    squares = _averaged(squares, rows, 0)
                found.append((part, name, squares.sqrt() * torch.where(value < 0, -1.0, 1.0)))
        return found

    def _places(self, form: Form) -> Iterator[Tensor]:
        """Which draw every entry of an operand gets: the order follows what neurons of the form compute on samples."""
        alike = [(self.parts[number].site, part.site) for (number, _), parts in form.tied.items() for part in parts]
        order = NeuronOrder(self.recorder, self.outputs, alike)
        order.look(self.context.model, self.context.train.x[:OBSERVED], form.calls())
        for part, name, scale in form.scales:
            if name == "weight":
                channels = {0: part.site.writes, 1: part.site.reads}
            else:
                channels = {scale.dim() - 1: _along_last(part) if part.site.name == "add" else part.site.writes}
            yield order.draws(scale.shape, channels)

    def _groups(self, channels: Tensor) -> Tensor:
        """A number for every channel: the same for those that are averaged over."""
        names: dict[object, int] = {}
        times: dict[int, int] = {}
        numbers = []
        for at, root in enumerate(self._roots(channels)):
            times[root] = times.get(root, 0) + 1
            key = (self.iso[root], times[root]) if root in self.iso else ("alone", at)
            numbers.append(names.setdefault(key, len(names)))
        return torch.tensor(numbers, dtype=torch.long)


class _Side:
    """What writes to a block of channels, or reads it, as a matrix [block, others]."""

    name: str

    def __init__(self, owner: _Canonical, part: Part, rows: Tensor) -> None:
        self.owner, self.part, self.rows = owner, part, rows

    @property
    def is_trained(self) -> bool:
        return self.name in self.part.trained

    def get(self) -> Tensor:
        """The matrix."""
        raise NotImplementedError

    def put(self, value: Tensor, free: float) -> None:
        raise NotImplementedError

    def scale(self) -> Tensor:
        """For each of the others, the unit in which it counts: an input's size on samples, one over an output's."""
        raise NotImplementedError

    def ends(self) -> list[object]:
        """For each of the others, the axis along which it may be rotated, or None."""
        raise NotImplementedError


class _Rows(_Side):
    """A map or a constant that writes to the block."""

    def __init__(self, owner: _Canonical, part: Part, rows: Tensor) -> None:
        super().__init__(owner, part, rows)
        self.name = "weight" if part.weight is not None else "shift"

    def get(self) -> Tensor:
        if self.part.weight is None:
            assert self.part.shift is not None
            return self.part.shift.reshape(-1, self.part.shift.shape[-1])[:, self.rows].T
        matrix = self.part.weight[self.rows].flatten(1)
        return matrix if self.part.shift is None else torch.cat([matrix, self.part.shift[self.rows, None]], 1)

    def put(self, value: Tensor, free: float) -> None:
        part = self.part
        if part.weight is None:
            assert part.shift is not None
            flat = part.shift.reshape(-1, part.shift.shape[-1]).clone()
            flat[:, self.rows] = value.T
            part.shift = flat.view(part.shift.shape)
            part.free.setdefault("shift", torch.ones_like(part.shift))[..., self.rows] = free
            return
        if part.shift is not None:
            part.shift = part.shift.clone()
            part.shift[self.rows] = value[:, -1]
            value = value[:, :-1]
            part.free.setdefault("shift", torch.ones_like(part.shift))[self.rows] = free
        part.weight = part.weight.clone()
        part.weight[self.rows] = value.reshape(len(self.rows), *part.weight.shape[1:])
        part.free.setdefault("weight", torch.ones_like(part.weight))[self.rows] = free

    def scale(self) -> Tensor:
        if self.part.weight is None:
            return torch.ones(self.get().shape[1], dtype=torch.float64)
        scale = self.owner._scale_of_input(self.part).repeat_interleave(self.part.weight.shape[2])
        return scale if self.part.shift is None else torch.cat([scale, torch.ones(1, dtype=torch.float64)])

    def ends(self) -> list[object]:
        if self.part.weight is None:
            return [None] * self.get().shape[1]
        taps = self.part.weight.shape[2]
        roots = self.owner._roots(self.part.site.reads) or [-1] * self.part.weight.shape[1]
        found: list[object] = [
            (self.owner.iso[root], tap) if root in self.owner.iso else None for root in roots for tap in range(taps)
        ]
        return found if self.part.shift is None else [*found, None]


class _Columns(_Side):
    """A map that reads the block."""

    name = "weight"

    def get(self) -> Tensor:
        assert self.part.weight is not None
        return torch.cat([self.part.weight[:, places].movedim(1, 0).flatten(1) for places in self.rows], 1)

    def put(self, value: Tensor, free: float) -> None:
        part = self.part
        assert part.weight is not None
        part.weight = part.weight.clone()
        masks = part.free.setdefault("weight", torch.ones_like(part.weight))
        for places, piece in zip(self.rows, value.chunk(len(self.rows), 1), strict=True):
            part.weight[:, places] = piece.reshape(len(places), len(part.weight), -1).movedim(0, 1)
            masks[:, places] = free

    def scale(self) -> Tensor:
        assert self.part.weight is not None
        scale = self.owner._scale_of_output(self.part).repeat_interleave(self.part.weight.shape[2])
        return (1 / scale).repeat(len(self.rows))

    def ends(self) -> list[object]:
        assert self.part.weight is not None
        roots, taps = self.owner._roots(self.part.site.writes), self.part.weight.shape[2]
        return [
            (self.owner.iso[root], time, tap) if root in self.owner.iso else None
            for time in range(len(self.rows)) for root in roots for tap in range(taps)
        ]  # fmt: skip


def _part(site: Site) -> Part:
    """The operands of a call as they are."""
    given = site.arguments

    def exact(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.detach().double().cpu().clone()

    part = Part(site)
    if site.name in LINEAR:
        weight = given["other" if site.name == "matmul" else "weight"]
        matrix = exact(weight)
        assert matrix is not None
        matrix = matrix.T if site.name in ("matmul", "embedding") and matrix.dim() == 2 else matrix
        matrix = matrix[None] if matrix.dim() == 1 else matrix
        part.weight = matrix.flatten(2).clone() if matrix.dim() > 2 else matrix[:, :, None].clone()
        part.shift = exact(given.get("bias"))
        operands = {"weight": weight, "shift": given.get("bias")}
    elif site.name == "add":
        constant = given["other" if given["input"] is site.before.tensor else "input"]  # type: ignore[union-attr]
        part.shift, operands = exact(constant), {"shift": constant}
    else:
        part.gain, part.shift = exact(given.get("weight")), exact(given.get("bias"))
        operands = {"gain": given.get("weight"), "shift": given.get("bias")}
        if site.name == "batch_norm":
            if given.get("training") or given.get("running_mean") is None:
                raise Unproved("a batch norm has no running statistics")
            mean, variance = exact(given["running_mean"]), exact(given["running_var"])
            assert mean is not None
            assert variance is not None
            gain = torch.ones_like(mean) if part.gain is None else part.gain
            part.gain = gain / (variance + given.get("eps", 1e-5)).sqrt()
            part.shift = (0.0 if part.shift is None else part.shift) - mean * part.gain
    part.given = {name: value for name, value in operands.items() if value is not None}
    part.trained = {name for name, value in part.given.items() if value.requires_grad}
    return part


def _given(site: Site) -> Iterator[Tensor]:
    """The operands that depend on parameters."""
    for name, value in site.arguments.items():
        activation = site.before is not None and value is site.before.tensor
        if isinstance(value, Tensor) and value.requires_grad and not activation and name != "running_mean":
            yield value


def _written(part: Part) -> Tensor:
    """The channels of a shift's entries."""
    return part.site.writes if part.site.labels is None else part.site.labels


def _along_last(part: Part) -> Tensor:
    """The channels along the last axis of a shift."""
    written = _written(part)
    return written.reshape(-1, written.shape[-1])[0]


def _less_mean(values: Tensor, groups: int) -> Tensor:
    grouped = values.view(groups, -1, *values.shape[1:])
    return (grouped - grouped.mean(1, keepdim=True)).view(values.shape)


def _is_averaged(node: Node) -> bool:
    """Whether means are taken of an activation, or of a sum with it."""
    return any(
        name == "mean" or (name in ("move", "add") and other is not None and _is_averaged(other))
        for name, other in node.uses
    )


def _meets(node: Node, names: Set[str]) -> bool:
    """Whether a function of these names is taken of an activation, or of means of it."""
    return any(
        name in names or (name in ("move", "mean") and other is not None and _meets(other, names))
        for name, other in node.uses
    )


def _is_bent(node: Node | None) -> bool:
    """Whether nonlinear functions alone read an activation, or maxima of it, in which a constant is nothing else."""
    return node is not None and all(
        name in ELEMENTWISE - WAVES - {"exp"} or (name in MAXIMA | {"move"} and _is_bent(other))
        for name, other in node.uses
    )


def _has_trained_weight(part: Part) -> bool:
    return part.weight is not None and "weight" in part.trained


def _relations(values: Tensor) -> int:
    """How many combinations of the columns of [n, c] are the same number in every row.

    Columns that are 0 in all rows but a few are left out: several ReLUs that one row alone bends are not related.
    """
    values = values[:, (values != 0).sum(0) >= RARE]
    count = values.shape[1]
    sizes = torch.linalg.eigvalsh(torch.cov(values.T).reshape(count, count))
    return int((sizes <= RELATED * sizes[-1:]).sum())


def _are_apart(results: Mapping[Node, str]) -> bool:
    """Whether results are entries of an activation, each of other channels."""
    channels = [torch.unique(node.labels) for node in results]
    return set(results.values()) == {"move"} and len(torch.unique(torch.cat(channels))) == sum(map(len, channels))


def _read_directly(node: Node) -> set[Node]:
    """The results of what reads an activation itself, or entries or means of it."""
    uses = followed([node], lambda name, _: name in ("move", "mean"))
    return {other for _, other, passed in uses if other is not None and not passed}


def _is_parameter(value: Tensor) -> bool:
    return value.is_leaf or (value._base is not None and value._base.is_leaf)


def _is_padded(site: Site) -> bool:
    padding = site.arguments.get("padding", 0)
    return site.name.startswith("conv") and padding not in (0, (0,), (0, 0), (0, 0, 0), [0], [0, 0], [0, 0, 0])


def _averaged(squares: Tensor, groups: Tensor, axis: int) -> Tensor:
    """Means over the groups of an axis, in place of each entry."""
    count = int(groups.max()) + 1
    if count == len(groups):
        return squares
    moved = squares.movedim(axis, 0)
    sums = torch.zeros(count, *moved.shape[1:], dtype=moved.dtype).index_add_(0, groups, moved)
    sizes = torch.bincount(groups, minlength=count).to(sums)
    return (sums / sizes.view(-1, *[1] * (sums.dim() - 1)))[groups].movedim(0, axis)


def _helmert(size: int) -> Tensor:
    """An orthonormal basis [size - 1, size] of the vectors of mean 0."""
    rows = torch.tril(torch.ones(size - 1, size, dtype=torch.float64))
    index = torch.arange(1, size)
    rows[index - 1, index] = -index.double()
    return rows / (index * (index + 1)).double().sqrt()[:, None]
