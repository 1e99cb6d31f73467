"""An order of a network's neurons that does not depend on the order in which its weights list them.

Noise that is drawn place by place meets other weights when neurons change places, which no output shows. Drawn in the
order of what the neurons compute, it follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from suite.measures.trace import ELEMENTWISE, MAXIMA, Arguments, Change, Node, Recorder, Replay, Site, called
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
    |a|``. What the network is given and what it returns stay in their places, and so do neurons that compute the same.
    """

    def __init__(self, recorder: Recorder, outputs: Tensor, alike: Iterable[tuple[Site, Site]]) -> None:
        """For a recorded run.

        Args:
            recorder: of the run.
            outputs: what it returned [n, ...].
            alike: calls that get the same operands, in pairs.
        """
        returned = recorder.node(outputs)
        assert returned is not None
        links = [
            pair for node in recorder.nodes for name, other in node.uses if other for pair in _links(name, node, other)
        ]
        links += [(getattr(one, side), getattr(two, side)) for one, two in alike for side in ("reads", "writes")]
        links += [pair for site in recorder.sites for pair in _read_links(site)]
        self._neurons = _components(recorder, links)
        self._placed = {*self._of(recorder.nodes[0].labels), *self._of(returned.labels)}
        self._sites = {site.number: site for site in recorder.sites if site.name != "add"}
        self._keys: dict[int, Tensor] = {}

    def _of(self, channels: Tensor) -> list[int]:
        """The number of the neuron of every channel."""
        neurons: list[int] = self._neurons[channels.reshape(-1)].tolist()
        return neurons

    @torch.enable_grad()
    def look(self, model: nn.Module, x: Tensor, changed: Mapping[int, Change]) -> None:
        """Find the keys of a network's neurons on samples x [n, ...], with other operands in some of its calls."""
        results: dict[int, Tensor] = {}

        def kept(number: int, change: Change) -> Change:
            def run(func: Callable[..., Any], name: str, arguments: Arguments) -> Tensor:
                result = change(func, name, arguments)
                results[number] = result if result.requires_grad else result.detach().requires_grad_()
                return results[number].clone()  # what follows may be in place

            return run

        with Replay({**changed, **{number: kept(number, changed.get(number, called)) for number in self._sites}}):
            outputs = model(x)
        weights = torch.randn(outputs.shape, generator=torch_stream("neurons", "outputs"), dtype=torch.float64)
        if outputs.dim() > 1:
            weights -= weights.mean(1, keepdim=True)  # shifts of all logits give no other order
        gradients = torch.autograd.grad((outputs * weights.to(outputs)).sum(), [*results.values()], allow_unused=True)
        for (number, values), gradient in zip(results.items(), gradients, strict=True):
            self._add_keys(self._sites[number], values.detach(), gradient)

    def _add_keys(self, site: Site, values: Tensor, gradient: Tensor | None) -> None:
        """Add to the keys what a call's result [n, ...] gives."""
        neurons = self._of(site.writes)
        if self._placed.issuperset(neurons):
            return

        def columns(tensor: Tensor) -> Tensor:
            return _channels_last(site, tensor).reshape(-1, len(neurons)).double().cpu()

        a = columns(values)
        g = torch.zeros_like(a) if gradient is None else columns(gradient)
        v = torch.randn(len(a), generator=torch_stream("neurons"), dtype=torch.float64)
        norms = torch.linalg.vector_norm(a, dim=0)
        keys = torch.stack([v @ (a * g), torch.where(norms > 0, (v @ a).abs() / norms, 0.0)], 1)
        for neuron, key in zip(neurons, keys, strict=True):
            self._keys[neuron] = self._keys[neuron] + key if neuron in self._keys else key

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
        times: dict[int, int] = {}
        ranked: list[tuple[int, list[float], int, int]] = []
        for place, neuron in enumerate(self._of(channels)):
            times[neuron] = times.get(neuron, 0) + 1
            if neuron in self._placed or neuron not in self._keys:
                ranked.append((0, [], 0, place))
            else:
                ranked.append((1, self._keys[neuron].tolist(), times[neuron], place))
        ranks = torch.empty(len(ranked), dtype=torch.long)
        ranks[torch.tensor([place for *_, place in sorted(ranked)], dtype=torch.long)] = torch.arange(len(ranked))
        return ranks


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
    labels = _channels_last(site, site.before.labels[:1]).reshape(-1, len(site.reads))
    for row in torch.unique(labels, dim=0):
        if not torch.equal(row, site.reads):
            yield row, site.reads


def _channels_last(site: Site, values: Tensor) -> Tensor:
    return values.movedim(1, -1) if site.name.startswith(CHANNELS_SECOND) else values


def _components(recorder: Recorder, links: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """For every channel the number of its neuron."""
    roots = recorder.roots(torch.arange(recorder.channel_count))
    ends = [torch.cat([roots[link[side]] for link in links]) if links else roots[:0] for side in (0, 1)]
    graph = coo_array((torch.ones(len(ends[0])).numpy(), tuple(end.numpy() for end in ends)), shape=(len(roots),) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1])[roots]
