"""A control that moves along the orbit of its network's symmetries while it trains, and else is gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.models import initialize
from suite.seeding import torch_stream
from suite.task import Problem
from tests.controls.test_controls import CLASSES, FEATURES, RAW, SCORED, SGD, WIDTH, end, measures, small_task


def network(problem: Problem, seed: int) -> nn.Module:
    """Two linear layers in a row, then one behind a ReLU."""
    layers = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    return initialize(nn.Sequential(*layers).double(), torch_stream("gauge", seed, "init"))


class Wandering(torch.optim.SGD):
    """Steps as gradient descent does where it began, from wherever on the orbit it is, and goes elsewhere on it.

    The first layer's outputs are taken in another basis; each ReLU neuron has a factor; and all classes' weights and
    biases are moved by one vector, which no probability sees.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        super().__init__(params, lr)
        self.stream = torch_stream("wandering")
        self.mix = torch.eye(WIDTH, dtype=torch.float64)
        self.factors = torch.ones(WIDTH, dtype=torch.float64)
        self.shift, self.constant = torch.zeros(WIDTH, dtype=torch.float64), 0.0

    def _leave(self, tensors: list[Any]) -> None:
        """From where gradient descent is to where the weights are."""
        w1, b1, w2, b2, w3, b3 = tensors
        w1.copy_(self.mix @ w1)
        b1.copy_(self.mix @ b1)
        w2.copy_(self.factors[:, None] * w2 @ torch.linalg.inv(self.mix))
        b2.mul_(self.factors)
        w3.div_(self.factors).add_(self.shift)
        b3.add_(self.constant)

    def _return(self, tensors: list[Any], gradients: list[Any]) -> None:
        """The inverse, and the gradients that gradient descent sees."""
        inverse = torch.linalg.inv(self.mix)
        w1, b1, w2, b2, w3, b3 = tensors
        w1.copy_(inverse @ w1)
        b1.copy_(inverse @ b1)
        w2.copy_(w2 / self.factors[:, None] @ self.mix)
        b2.div_(self.factors)
        w3.sub_(self.shift).mul_(self.factors)
        b3.sub_(self.constant)
        g1, h1, g2, h2, g3, _ = gradients
        g1.copy_(self.mix.T @ g1)
        h1.copy_(self.mix.T @ h1)
        g2.copy_(self.factors[:, None] * g2 @ inverse.T)
        h2.mul_(self.factors)
        g3.div_(self.factors)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        tensors = group["params"]
        self._return(tensors, [tensor.grad for tensor in tensors])
        super().step(closure)
        u, _, v = torch.linalg.svd(torch.randn(WIDTH, WIDTH, generator=self.stream, dtype=torch.float64))
        self.mix = u @ torch.diag(torch.logspace(-1, 1, WIDTH, dtype=torch.float64)) @ v
        self.factors = torch.randn(WIDTH, generator=self.stream, dtype=torch.float64).exp()
        self.shift = torch.randn(WIDTH, generator=self.stream, dtype=torch.float64)
        self.constant = float(torch.randn((), generator=self.stream, dtype=torch.float64))
        self._leave(tensors)


def test_moving_along_the_orbit_gains_nothing() -> None:
    task = replace(small_task(), model=network, batched=False)
    plain, control = (measures(task, end(task, make, SGD)) for make in (torch.optim.SGD, Wandering))
    for name in SCORED:
        assert control[name] == pytest.approx(plain[name], rel=0.01), name
    assert all(control[name] != pytest.approx(plain[name], rel=0.1) for name in (*RAW, "adaptive_sharpness"))


class Shifting(torch.optim.SGD):
    """Gradient descent that moves all classes' weights by one vector: to where their squares, and noise, are least.

    No probability and no gradient changes, as each gradient's sum over classes is 0; so it goes on like the other one.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        super().step(closure)
        for tensor in self.param_groups[0]["params"][-2:]:
            tensor.sub_(tensor.mean(0))


def test_shifting_all_logits_gains_nothing() -> None:
    """By the measure that was scored before it gained."""

    def far(problem: Problem, seed: int) -> nn.Module:
        """A start at which all classes' weights have something in common, as any other has by chance."""
        made: Any = network(problem, seed)
        with torch.no_grad():
            made[-1].weight += 0.3
        return made

    task = replace(small_task(), model=far, batched=False)
    plain, control = (measures(task, end(task, make, SGD)) for make in (torch.optim.SGD, Shifting))
    assert control["adaptive_sharpness"] < 0.95 * plain["adaptive_sharpness"]
    for name in SCORED:
        assert control[name] == pytest.approx(plain[name], rel=1e-6), name
