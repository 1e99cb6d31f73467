"""Networks as people write them, by what is special about them: each maps [n, *shape] to [n, outputs]."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

WIDTH = 6


class Body(nn.Module):
    """A linear layer, what a subclass does with its [n, WIDTH] outputs, and a linear layer."""

    def __init__(self, shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(math.prod(shape), WIDTH), nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(torch.relu(self.first(x.flatten(1)))))

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden


class Tied(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.other.weight = self.one.weight

    def inner(self, hidden: Tensor) -> Tensor:
        return torch.relu(self.other(torch.relu(self.one(hidden))))


class SharedModule(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.blocks = nn.Sequential(*[nn.Linear(WIDTH, WIDTH)] * 2)

    def inner(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.blocks(hidden))


class SharedBuffer(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("shift", torch.randn(WIDTH))
        self.last.register_buffer("again", self.shift)

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden + self.last.again


class NonPersistent(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("code", torch.randn(WIDTH), persistent=False)

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden + self.code


class IntegerBuffer(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("order", torch.randperm(WIDTH))
        self.register_buffer("mask", torch.rand(WIDTH) > 0.5)
        self.register_buffer("absent", None)

    def inner(self, hidden: Tensor) -> Tensor:
        return torch.where(self.mask, hidden[:, self.order], hidden)


class ExtraState(Body):
    """Counts its calls in training, and shifts by what it has counted."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: dict[str, Any] = {"calls": 0, "names": ("a", ["b", None]), "scale": float(torch.rand(()))}

    def get_extra_state(self) -> Any:
        return self.kept | {"shift": torch.full((WIDTH,), 0.1 * self.kept["calls"], dtype=torch.float64)}

    def set_extra_state(self, state: Any) -> None:
        assert state["names"] == ("a", ["b", None])
        assert torch.equal(state.pop("shift"), torch.full((WIDTH,), 0.1 * state["calls"], dtype=torch.float64))
        self.kept = state

    def inner(self, hidden: Tensor) -> Tensor:
        self.kept["calls"] += self.training
        return hidden * self.kept["scale"] + 0.1 * self.kept["calls"]


class ObjectState(Body):
    """Its extra state is an object of a class of its own."""

    def get_extra_state(self) -> Any:
        return math

    def set_extra_state(self, state: Any) -> None:
        raise AssertionError("it is not held")


class KeepsActivations(Body):
    def inner(self, hidden: Tensor) -> Tensor:
        self.features, self.trace = hidden, [hidden, {"square": hidden.square()}]
        return hidden


class KeepsAttention(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.map: Tensor | None = None
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def inner(self, hidden: Tensor) -> Tensor:
        outputs, self.map = self.attention(hidden[:, None], hidden[:, None], hidden[:, None])
        return outputs[:, 0]


class PlainAttribute(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.code, self.more = torch.randn(WIDTH), {"scales": [torch.rand(WIDTH), torch.rand(())]}

    def inner(self, hidden: Tensor) -> Tensor:
        vector, number = self.more["scales"]
        return (hidden + self.code.to(hidden)) * vector.to(hidden) * number.to(hidden)


class KeepsLock(Body):
    """What it keeps cannot be copied, beside a running mean that is to be."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lock = threading.Lock()
        self.kept = {"locks": [self.lock], "means": [torch.zeros(WIDTH)], "self": SimpleNamespace(lock=self.lock)}

    def inner(self, hidden: Tensor) -> Tensor:
        with self.lock:
            (mean,) = self.kept["means"]
            if self.training:
                mean.mul_(0.9).add_(0.1 * hidden.detach().mean(0))
            return hidden - mean.to(hidden)


class PlainMean(Body):
    """A running mean that is no buffer."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.mean = torch.zeros(WIDTH)

    def inner(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.mean = (0.9 * self.mean.to(hidden) + 0.1 * hidden.mean(0)).detach()
        return hidden - self.mean.to(hidden)


class PlainMatrix(Body):
    """Raises where its weights were converted and the matrix was not."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.matrix = torch.randn(WIDTH, WIDTH, dtype=torch.get_default_dtype())

    def to(self, *arguments: Any, **options: Any) -> PlainMatrix:
        super().to(*arguments, **options)
        self.matrix = self.matrix.to(*arguments, **options)
        return self

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden @ self.matrix


class Layer(Body):
    """Passes the hidden values through the layer that `make` builds."""

    def __init__(self, make: Callable[[], nn.Module], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.layer = make()

    def inner(self, hidden: Tensor) -> Tensor:
        return self.layer(hidden)


def with_layer(make: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    return lambda *arguments: Layer(make, *arguments)


class Computes(Body):
    """Passes the hidden values through a function."""

    def __init__(self, function: Callable[[Tensor], Tensor], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.function = function

    def inner(self, hidden: Tensor) -> Tensor:
        return self.function(hidden)


def computing(function: Callable[[Tensor], Tensor]) -> Callable[..., nn.Module]:
    return lambda *arguments: Computes(function, *arguments)


def gram(hidden: Tensor) -> Tensor:
    """[n, WIDTH, WIDTH], positive definite."""
    return hidden[:, :, None] * hidden[:, None] + torch.eye(WIDTH).to(hidden)


class Recurrent(Body):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cell = kind(WIDTH, WIDTH, batch_first=True)

    def inner(self, hidden: Tensor) -> Tensor:
        return self.cell(torch.stack([hidden, hidden.cos()], dim=1))[0][:, -1]


class Empty(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.nothing, self.none = nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(WIDTH, 0))

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden + (hidden @ self.none).sum() + self.nothing.sum()


class Frozen(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.first.requires_grad_(False)


class Lists(Body):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scales = nn.ParameterList([torch.rand(WIDTH) for _ in range(2)])
        self.named = nn.ParameterDict({"shift": torch.rand(WIDTH)})

    def inner(self, hidden: Tensor) -> Tensor:
        return hidden * self.scales[0] * self.scales[1] + self.named["shift"]


class Averaged(Body):
    """Evaluates with an average of its weights."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.average = torch.optim.swa_utils.AveragedModel(self.first)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.average.update_parameters(self.first)
        layer = self.first if self.training else self.average
        return self.last(torch.relu(layer(x.flatten(1))))


def lazy(shape: Sequence[int], outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.LazyLinear(WIDTH), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Dropout(0.2), nn.LazyLinear(outputs)
    )


def scripted(shape: Sequence[int], outputs: int) -> nn.Module:
    return torch.jit.script(
        nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs))
    )


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "tied": Tied,
    "shared module": SharedModule,
    "shared buffer": SharedBuffer,
    "buffer that is not persistent": NonPersistent,
    "integer and boolean buffers": IntegerBuffer,
    "extra state": ExtraState,
    "extra state that is an object": ObjectState,
    "keeps activations": KeepsActivations,
    "keeps attention": KeepsAttention,
    "plain attributes": PlainAttribute,
    "plain running mean": PlainMean,
    "keeps a lock": KeepsLock,
    "plain matrix": PlainMatrix,
    "hooked weight norm": with_layer(lambda: nn.utils.weight_norm(linear())),
    "hooked spectral norm": with_layer(lambda: nn.utils.spectral_norm(linear())),
    "weight norm": with_layer(lambda: parametrizations.weight_norm(linear())),
    "spectral norm": with_layer(lambda: parametrizations.spectral_norm(linear())),
    "orthogonal": with_layer(lambda: parametrizations.orthogonal(linear())),
    "batch norm": with_layer(lambda: nn.BatchNorm1d(WIDTH)),
    "batch norm without scale": with_layer(lambda: nn.BatchNorm1d(WIDTH, affine=False)),
    "dropout": with_layer(lambda: nn.Dropout(0.3)),
    "layer norm": with_layer(lambda: nn.LayerNorm(WIDTH)),
    "parametric ReLU": with_layer(lambda: nn.PReLU(WIDTH)),
    "LSTM": lambda *arguments: Recurrent(nn.LSTM, *arguments),
    "GRU": lambda *arguments: Recurrent(nn.GRU, *arguments),
    "converts to single precision": computing(lambda hidden: hidden.float()),
    "Fourier transform": computing(lambda hidden: torch.fft.fft(hidden).real),
    "solves": computing(lambda hidden: torch.linalg.solve(gram(hidden), hidden)),
    "Cholesky": computing(lambda hidden: torch.linalg.cholesky(gram(hidden))[:, -1]),
    "parameters without entries": Empty,
    "frozen": Frozen,
    "lists of parameters": Lists,
    "averaged weights": Averaged,
    "lazy": lazy,
    "scripted": scripted,
}
