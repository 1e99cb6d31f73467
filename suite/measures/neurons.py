"""An order of a network's neurons that does not depend on the order in which its weights list them.

Noise that is drawn place by place meets other weights when neurons change places, which no output shows. Drawn in the
order of what the neurons compute, it follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from suite.measures.trace import ELEMENTWISE, MAXIMA, Node, Recorder, Site
from suite.seeding import torch_stream

CHANNELS_SECOND = ("conv", "group_norm", "batch_norm")
"""How the names of functions begin whose channels stand along the second axis; those of others are along the last."""
ENTRYWISE = ELEMENTWISE | {"mul", "__mul__", "layer_norm", "rms_norm", "group_norm", "batch_norm"}
"""An entry of the result belongs to the neuron that the entry of the argument does."""


class NeuronOrder:
    """The neurons in the order of their keys, which a run on samples gives.

    A neuron is what a channel becomes through nonlinear functions and norms, in all calls that read or write it with
    the same operands. Its key is the sum over these calls of ``|<a, v>| / |a|`` of its values a on the samples, for one
    random vector v: no factor and no sign moves a term, and values before and behind a nonlinearity tell z from -z.
    What the network is given and what it returns stay in their places, and so do neurons that compute the same.
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
        for one, two in alike:
            links += [(one.reads, two.reads), (one.writes, two.writes)]
        self._neurons = _components(recorder, links)
        self._placed = {*self._of(recorder.nodes[0].labels), *self._of(returned.labels)}
        self._keys: dict[int, float] = {}

    def _of(self, channels: Tensor) -> list[int]:
        """The number of the neuron of every channel."""
        neurons: list[int] = self._neurons[channels.reshape(-1)].tolist()
        return neurons

    def observer(self, site: Site, offset: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], None]:
        """What is to be told the input and the result of a call.

        Args:
            site: the call.
            offset: the input less what is taken from it before it is read.
        """

        def see(inputs: Tensor, result: Tensor) -> None:
            if len(site.reads):
                self._look(offset(inputs), site.reads, site.name)
            self._look(result, site.writes, site.name)

        return see

    def _look(self, values: Tensor, channels: Tensor, name: str) -> None:
        """Add to the keys of channels [c] what their values [n, ...] give."""
        neurons = self._of(channels)
        if self._placed.issuperset(neurons):
            return
        values = values.movedim(1, -1) if name.startswith(CHANNELS_SECOND) else values
        for neuron, key in _keys(values.detach().double().cpu().reshape(-1, len(neurons)), neurons).items():
            self._keys[neuron] = self._keys.get(neuron, 0.0) + key

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
        ranked = []
        for place, neuron in enumerate(self._of(channels)):
            times[neuron] = times.get(neuron, 0) + 1
            stays = neuron in self._placed
            ranked.append(
                (not stays, 0.0 if stays else self._keys.get(neuron, 0.0), 0 if stays else times[neuron], place)
            )
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


def _components(recorder: Recorder, links: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """For every channel the number of its neuron."""
    roots = recorder.roots(torch.arange(recorder.channel_count))
    ends = [torch.cat([roots[link[side]] for link in links]) if links else roots[:0] for side in (0, 1)]
    graph = coo_array((torch.ones(len(ends[0])).numpy(), tuple(end.numpy() for end in ends)), shape=(len(roots),) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1])[roots]


def _keys(values: Tensor, neurons: Sequence[int]) -> dict[int, float]:
    """By neuron, ``|<a, v>| / |a|`` of its values in the columns of [rows, c]; 0 if they are 0."""
    times: dict[int, int] = {}
    number = {neuron: at for at, neuron in enumerate(dict.fromkeys(neurons))}
    occurrence = []
    for neuron in neurons:
        occurrence.append(times.get(neuron, 0))
        times[neuron] = occurrence[-1] + 1
    vectors = torch.randn(max(times.values()), len(values), generator=torch_stream("neurons"), dtype=torch.float64).T
    belongs = torch.tensor([number[neuron] for neuron in neurons])
    products = torch.zeros(len(number), dtype=torch.float64)
    products.index_add_(0, belongs, (values * vectors[:, occurrence]).sum(0))
    squares = torch.zeros_like(products).index_add_(0, belongs, values.square().sum(0))
    keys = torch.where(squares > 0, products.abs() / squares.sqrt(), 0.0)
    return dict(zip(number, keys.tolist(), strict=True))
