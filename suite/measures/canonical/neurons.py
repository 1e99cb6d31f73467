"""An order of a network's neurons that does not depend on the order in which its weights list them.

Noise that is drawn place by place meets other weights when neurons change places, which no output shows. Drawn in the
order of what the neurons compute, it follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from suite.measures.canonical.parts import Unproved
from suite.measures.trace import ELEMENTWISE, MAXIMA, SITES, Arguments, Change, Node, Recorder, Replay, Site, called
from suite.seeding import torch_stream

CHANNELS_SECOND = ("conv", "group_norm", "batch_norm")
"""How the names of functions begin whose channels stand along the second axis; those of others are along the last."""
ENTRYWISE = ELEMENTWISE | {"mul", "__mul__", "layer_norm", "rms_norm", "group_norm", "batch_norm"}
"""An entry of the result belongs to the neuron that the entry of the argument does."""


class NeuronOrder:
    """The neurons in the order of their keys, which a run on samples gives.

    A neuron is what a channel becomes through nonlinear functions and norms, in all calls that write it with the same
    operands. Its key is the sum over these calls of ``<v, a * g>`` of its values a on the samples, their gradients g of
    a random combination of the outputs, and a random vector v. No factor and no sign of the neuron moves it, nor does
    what nothing comes of. Neurons with gradients 0, like ReLUs that no sample bends, stand in the order of ``|<v, a>| /
    |a|``, and so do the several channels of one neuron (the factors of a product). What no call writes, such as a
    softmax of neurons, has the key of what calls read. What the network is given and what it returns stay in their
    places, with what functions make of the inputs alone, and so do neurons that compute the same.
    """

    def __init__(self, recorder: Recorder, outputs: Tensor, alike: Iterable[tuple[Site, Site]]) -> None:
        """For a recorded run.

        Args:
            recorder: of the run.
            outputs: what it returned [n, ...].
            alike: calls that get the same operands, in pairs.

        Raises:
            Unproved: neurons are the positions of other channels (a linear map over tokens, neuron by neuron).
        """
        returned = recorder.node(outputs)
        assert returned is not None
        kept = [
            pair for node in recorder.nodes for name, other in node.uses if other for pair in _links(name, node, other)
        ]
        kept += [(getattr(one, side), getattr(two, side)) for one, two in alike for side in ("reads", "writes")]
        read = [pair for site in recorder.sites for pair in _read_links(site)]
        self._roots = recorder.roots(torch.arange(recorder.channel_count))
        self._neurons = _components(self._roots, kept + read)
        self._of_several_heads = {
            root
            for root, events in recorder.histories().items()
            if sum(isinstance(event[0], tuple) and event[1] == "value" for event in events) > 1
        }
        self._makers: dict[int, str] = {}
        names = {other: name for node in recorder.nodes for name, other in node.uses}
        for node in recorder.nodes:
            for channel in torch.unique(self._roots[node.labels]).tolist():
                self._makers.setdefault(channel, names.get(node, ""))
        self._sites = {site.number: site for site in recorder.sites if site.name != "add"}
        self._placed = {*self._of(recorder.nodes[0].labels), *self._of(returned.labels)}
        self._check_positions(_components(torch.arange(recorder.channel_count), kept))
        self._place_functions_of_inputs(recorder)
        self._written = {neuron for site in self._sites.values() for neuron in self._of(site.writes)}
        self._keys: dict[int, Tensor] = {}
        self._channel_keys: dict[tuple[int, int], Tensor] = {}

    def _of(self, channels: Tensor) -> list[int]:
        """The number of the neuron of every channel."""
        neurons: list[int] = self._neurons[channels.reshape(-1)].tolist()
        return neurons

    def _check_positions(self, functions: Tensor) -> None:
        """The positions of what a map reads are no neurons (which `functions` leave apart): these have no order.

        Maps with one input may, if what they give stays in its place.
        """
        writers = {site.number: {*functions[site.writes].tolist()} for site in self._sites.values()}
        for site in self._sites.values():
            if len(site.reads) == 1 and self._placed.issuperset(self._of(site.writes)):
                continue
            rows = [functions[row] for row, _ in _read_links(site)]
            for column in torch.stack(rows, 1) if len(rows) > 1 else ():
                met = {*column.tolist()}
                if any(len(met & written) > 1 for written in writers.values()):
                    raise Unproved(f"{site.name} reads neurons at positions of which each is another neuron")

    def _place_functions_of_inputs(self, recorder: Recorder) -> None:
        sources: dict[Node, set[int]] = {}
        for node in recorder.nodes:
            if node in sources and sources[node] <= self._placed:
                self._placed.update(self._of(torch.unique(node.labels)))
            for name, other in node.uses:
                if other is not None and (name == "add" or name not in SITES):
                    sources.setdefault(other, set()).update(self._of(torch.unique(node.labels)))

    @torch.enable_grad()
    def look(self, model: nn.Module, x: Tensor, changed: Mapping[int, Change]) -> None:
        """Find the keys of a network's neurons on samples x [n, ...], with other operands in some of its calls."""
        inputs: dict[int, Tensor] = {}
        results: dict[int, Tensor] = {}
        told_by_inputs = {number for number, site in self._sites.items() if self._is_told_by_inputs(site)}

        def kept(number: int, change: Change) -> Change:
            def run(func: Callable[..., Any], name: str, arguments: Arguments) -> Tensor:
                if number in told_by_inputs:
                    inputs[number] = _in_graph(arguments["input"]).clone()
                    arguments = arguments | {"input": inputs[number]}
                results[number] = _in_graph(change(func, name, arguments))
                return results[number].clone()  # what follows may be in place

            return run

        with Replay({**changed, **{number: kept(number, changed.get(number, called)) for number in self._sites}}):
            outputs = model(x)
        weights = torch.randn(outputs.shape, generator=torch_stream("neurons", "outputs"), dtype=torch.float64)
        if outputs.dim() > 1:
            weights -= weights.mean(1, keepdim=True)  # shifts of all logits give no other order
        seen = [*results.values(), *inputs.values()]
        gradients = torch.autograd.grad((outputs * weights.to(outputs)).sum(), seen, allow_unused=True)
        for (number, values), gradient in zip(results.items(), gradients, strict=False):
            site = self._sites[number]
            self._add_keys(site, site.writes, values.detach(), gradient)
        for (number, values), gradient in zip(inputs.items(), gradients[len(results) :], strict=True):
            site = self._sites[number]
            self._add_keys(site, site.reads, values.detach(), gradient, self._written)

    def _is_told_by_inputs(self, site: Site) -> bool:
        """Whether a call reads neurons that no call writes, or several channels of one."""
        free = [each for each in self._channels_of(site.reads) if each[1] not in self._placed]
        neurons = {neuron for _, neuron in free}
        return not neurons <= self._written or len(neurons) < len({*free})

    def _channels_of(self, channels: Tensor) -> list[tuple[tuple[int, int], int]]:
        """Of every channel the root, which time it stands there if it is a value of several heads, and the neuron."""
        times: dict[int, int] = {}
        found = []
        for root, neuron in zip(self._roots[channels].tolist(), self._of(channels), strict=True):
            times[root] = times.get(root, -1) + 1
            found.append(((root, times[root] if root in self._of_several_heads else 0), neuron))
        return found

    def _add_keys(
        self, site: Site, channels: Tensor, values: Tensor, gradient: Tensor | None, known: Set[int] = frozenset()
    ) -> None:
        """Add to the keys what the values [n, ...] of a call's channels give, but to those of `known` neurons."""
        if self._placed.issuperset(self._of(channels)):
            return

        def columns(tensor: Tensor) -> Tensor:
            return _channels_last(site, tensor).reshape(-1, len(channels)).double().cpu()

        a = columns(values)
        g = torch.zeros_like(a) if gradient is None else columns(gradient)
        v = torch.randn(len(a), generator=torch_stream("neurons"), dtype=torch.float64)
        norms = torch.linalg.vector_norm(a, dim=0)
        keys = torch.stack([v @ (a * g), torch.where(norms > 0, (v @ a).abs() / norms, 0.0)], 1)
        for (channel, neuron), key in zip(self._channels_of(channels), keys, strict=True):
            if neuron not in known:
                self._keys[neuron] = self._keys[neuron] + key if neuron in self._keys else key
            own = self._channel_keys
            if channels is site.reads or channel[0] not in self._of_several_heads:
                own[channel] = own[channel] + key[1] if channel in own else key[1]

    def draws(self, shape: Sequence[int], channels: Mapping[int, Tensor]) -> Tensor:
        """Which of as many draws every entry of an operand gets, [entries].

        Args:
            shape: the operand's.
            channels: of its axes along which channels stand, the channels.
        """
        places = torch.arange(torch.Size(shape).numel()).view(*shape)
        for axis, along in channels.items():
            if len(along) == shape[axis]:
                places = places.index_select(axis, self._ranks(along))
        return places.reshape(-1)

    def _ranks(self, channels: Tensor) -> Tensor:
        """The place of every channel in the order: those that stay in their places first."""
        parts: dict[tuple[int, str], set[tuple[int, int]]] = {}
        for channel, neuron in self._channels_of(channels):
            parts.setdefault((neuron, self._makers.get(channel[0], "")), set()).add(channel)
        times: dict[int, int] = {}
        ranked: list[tuple[int, list[float], int, int]] = []
        for place, (channel, neuron) in enumerate(self._channels_of(channels)):
            times[neuron] = times.get(neuron, 0) + 1
            if neuron in self._placed or neuron not in self._keys:
                ranked.append((0, [], 0, place))
                continue
            key = self._keys[neuron].tolist()
            if len(parts[neuron, self._makers.get(channel[0], "")]) > 1 and channel in self._channel_keys:
                key.append(float(self._channel_keys[channel]))
            ranked.append((1, key, times[neuron], place))
        ranks = torch.empty(len(ranked), dtype=torch.long)
        ranks[torch.tensor([place for *_, place in sorted(ranked)], dtype=torch.long)] = torch.arange(len(ranked))
        return ranks


def _in_graph(values: Tensor) -> Tensor:
    return values if values.requires_grad else values.detach().requires_grad_()


def _links(name: str, source: Node, result: Node) -> Iterator[tuple[Tensor, Tensor]]:
    """Channels of an activation and of what a function makes of them, entry by entry."""
    one, two = source.labels[:1], result.labels[:1]
    if name in MAXIMA:
        one, two = (labels.flatten(2)[..., 0] for labels in (one, two))
    if name in ENTRYWISE | MAXIMA and one.shape == two.shape:
        yield one.reshape(-1), two.reshape(-1)


def _read_links(site: Site) -> Iterator[tuple[Tensor, Tensor]]:
    """Channels that a linear map or a norm reads, and those of its input where they differ between positions."""
    if site.before is None or not len(site.reads) or site.name == "add":
        return
    labels = _channels_last(site, site.before.labels).reshape(-1, len(site.reads))
    for row in torch.unique(labels, dim=0):
        if not torch.equal(row, site.reads):
            yield row, site.reads


def _channels_last(site: Site, values: Tensor) -> Tensor:
    return values.movedim(1, -1) if site.name.startswith(CHANNELS_SECOND) else values


def _components(roots: Tensor, links: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """For every channel the number of its neuron, if channels of one root are one and linked ones are."""
    ends = [torch.cat([roots[link[side]] for link in links]) if links else roots[:0] for side in (0, 1)]
    graph = coo_array((torch.ones(len(ends[0])).numpy(), tuple(end.numpy() for end in ends)), shape=(len(roots),) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1])[roots]
