"""Networks whose neurons are listed in another order: flatness is as it was, or says that it is not canonical.

The networks have what built-in ones have not: functions of several neurons, products, heads that share values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.measures import measure
from suite.task import Split

INPUTS, HIDDEN, CLASSES = 12, 6, 3
FLATNESS = ("canonical_sharpness", "adaptive_sharpness")
Order = Tensor
ORDER = torch.tensor([3, 0, 5, 1, 4, 2])
SWAP = torch.tensor([6, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11])
"""Of two times six channels, the first of both."""


class Hidden(nn.Module):
    """Outputs [n, classes] of what `make` makes of hidden channels [n, width], of which a layer reads `read`."""

    def __init__(self, make: Callable[[Tensor], Tensor], width: int = HIDDEN, read: int = HIDDEN) -> None:
        super().__init__()
        self.first, self.last, self.make = nn.Linear(INPUTS, width), nn.Linear(read, CLASSES), make

    def forward(self, x: Tensor) -> Any:
        return self.last(self.make(self.first(x)))

    def reorder(self, writes: Order, reads: Order) -> None:
        for tensor in (self.first.weight, self.first.bias):
            tensor.data = tensor.data[writes]
        self.last.weight.data = self.last.weight.data[:, reads]


class Tokens(Hidden):
    """Four tokens of three inputs: their channels are mixed along the tokens, one by one."""

    def __init__(self) -> None:
        super().__init__(torch.relu, read=HIDDEN * 5)
        self.first, self.mix = nn.Linear(3, HIDDEN), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        channels = self.first(x.unflatten(1, (4, 3))).relu().transpose(1, 2)
        return self.last(self.mix(channels).relu().flatten(1))


class SharedValues(nn.Module):
    """Attention with two heads of queries for each head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.queries, self.keys, self.values = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6)
        self.out, self.last = nn.Linear(12, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        tokens = self.first(x.unflatten(1, (4, 3))).relu()
        heads = [each(tokens).unflatten(2, (-1, 3)).transpose(1, 2) for each in (self.queries, self.keys, self.values)]
        mixed = functional.scaled_dot_product_attention(*heads, enable_gqa=True)
        return self.last(self.out(mixed.transpose(1, 2).flatten(2)).relu().mean(1))

    def reorder(self, heads: Order) -> None:
        """Other places for the heads of queries [4]."""
        places = torch.arange(12).view(4, 3)[heads].flatten()
        for tensor in (self.queries.weight, self.queries.bias):
            tensor.data = tensor.data[places]
        self.out.weight.data = self.out.weight.data[:, places]


class Images(nn.Module):
    """Two convolutions with `make` between them."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, HIDDEN, 2), nn.Conv2d(HIDDEN, 4, 2), nn.Linear(4, CLASSES)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        maps = self.make(self.first(x.unflatten(1, (1, 3, 4))).relu())
        return self.last(self.second(maps).relu().sum((2, 3)))

    def reorder(self, writes: Order, last: Order) -> None:
        for layer, order in ((self.first, writes), (self.second, last)):
            for tensor in (layer.weight, layer.bias):
                assert tensor is not None
                tensor.data = tensor.data[order]
        self.second.weight.data = self.second.weight.data[:, writes]
        self.last.weight.data = self.last.weight.data[:, last]


def halves(make: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda h: make(*h.chunk(2, 1))


BOTH = torch.cat([ORDER, ORDER + HIDDEN])
NETWORKS: dict[str, tuple[Callable[[], Any], Sequence[Order]]] = {
    "a softmax": (lambda: Hidden(lambda h: h.softmax(1)), (ORDER, ORDER)),
    "a cube": (lambda: Hidden(lambda h: h.relu() ** 3), (ORDER, ORDER)),
    "clamped": (lambda: Hidden(lambda h: h.relu().clamp(max=1)), (ORDER, ORDER)),
    "of length 1": (lambda: Hidden(lambda h: functional.normalize(h.relu(), dim=1)), (ORDER, ORDER)),
    "a difference": (lambda: Hidden(halves(lambda u, v: u.relu() - v.tanh()), 12), (BOTH, ORDER)),
    "a gate": (lambda: Hidden(halves(lambda u, v: functional.silu(u) * v), 12), (BOTH, ORDER)),
    "a sum": (lambda: Hidden(halves(lambda u, v: u.relu() + v.relu()), 12), (SWAP, torch.arange(HIDDEN))),
    "a product": (lambda: Hidden(halves(lambda u, v: u.relu() * v.relu()), 12), (SWAP, torch.arange(HIDDEN))),
    "images": (lambda: Images(torch.log1p), (ORDER, torch.tensor([2, 3, 1, 0]))),
    "interpolated": (lambda: Images(lambda h: functional.interpolate(h, scale_factor=2)), (ORDER, torch.arange(4))),
    "shared values": (SharedValues, (torch.tensor([1, 0, 2, 3]),)),
}


def reordered(make: Callable[[], Any], orders: Sequence[Order]) -> tuple[nn.Module, nn.Module, Split]:
    """A network, the same with its neurons in another order, and inputs with the labels that it gives them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
        x = torch.randn(160, INPUTS, dtype=torch.float64)
    other = copy.deepcopy(model)
    other.reorder(*orders)
    with torch.no_grad():
        outputs = model(x)
        assert float((outputs - other(x)).abs().max()) <= 1e-12
    return model, other, Split(x, outputs.argmax(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_orders_move_nothing(name: str) -> None:
    model, other, data = reordered(*NETWORKS[name])
    before, after = (measure(each, data, FLATNESS) for each in (model, other))
    for key, value in before.items():
        assert not value.note
        assert after[key] == pytest.approx(value, rel=1e-8), key


def test_a_neuron_that_is_a_part_of_two_functions_may_change_its_sign() -> None:
    """``relu(z)`` and ``relu(-z)`` change places."""
    model, _, data = reordered(lambda: Hidden(lambda h: torch.cat([h.relu(), (-h).relu()], 1), read=12), (ORDER, BOTH))
    other: Any = copy.deepcopy(model)
    for tensor in (other.first.weight, other.first.bias):
        tensor.data[0] *= -1
    other.last.weight.data = other.last.weight.data[:, SWAP]
    before, after = (measure(each, data, FLATNESS) for each in (model, other))
    assert dict(after) == pytest.approx(dict(before), rel=1e-8)


def test_neurons_that_are_positions_are_said() -> None:
    columns = (ORDER[:, None] * 5 + torch.arange(5)).flatten()
    model, _, data = reordered(Tokens, (ORDER, columns))
    assert "positions of which each is another neuron" in measure(model, data, FLATNESS)["canonical_sharpness"].note
