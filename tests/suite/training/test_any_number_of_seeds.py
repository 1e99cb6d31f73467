"""A run has the same result whatever else is trained with it, also by optimizers that change their ways late."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD

from suite.optimizers import evaluated
from suite.training import TrainingResult, TrainingRun, train
from suite.training.groups import ENTRYWISE, is_entrywise
from tests.suite.toys import regression, toy

BUDGET = 80


class Late(SGD):
    """Plain gradient descent, until the step `start`; then `late` comes before every step."""

    def __init__(self, params: Iterable[Tensor], lr: float, start: int) -> None:
        super().__init__(params, lr=lr)
        self.start, self.count = start, 0

    def late(self, parameters: list[Tensor]) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = evaluated(closure)
        self.count += 1
        if self.count > self.start:
            self.late([p for group in self.param_groups for p in group["params"]])
        super().step()
        return loss


class Clip(Late):
    """The norm of all gradients together is clipped."""

    def late(self, parameters: list[Tensor]) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1e-2)


class Preconditioned(Late):
    """Shampoo's preconditioner, of the first axis of every parameter."""

    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            assert p.grad is not None
            flat = p.grad.reshape(len(p), -1)
            statistics = self.state[p].setdefault("statistics", 1e-4 * torch.eye(len(p), dtype=p.dtype))
            statistics.add_(flat @ flat.T)
            values, vectors = torch.linalg.eigh(statistics)
            p.grad.copy_((vectors * values**-0.25 @ vectors.T @ flat).view_as(p))


class TorchNoise(Late):
    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            p.add_(1e-3 * torch.randn_like(p))


class ForkedNoise(Late):
    """It puts the generator back, so that nobody sees that it has drawn."""

    def late(self, parameters: list[Tensor]) -> None:
        with torch.random.fork_rng(devices=[]):
            for p in parameters:
                p.add_(1e-3 * torch.randn_like(p))


class NumpyNoise(Late):
    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            p.add_(torch.from_numpy(1e-3 * np.random.standard_normal(p.shape)))  # noqa: NPY002


class PythonNoise(Late):
    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            p.add_(1e-3 * random.gauss(0, 1))


GENERATOR = np.random.default_rng(0)
STEPS = [0]


class ModuleNoise(Late):
    """It draws from a generator of its module."""

    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            p.add_(1e-3 * GENERATOR.standard_normal())


class ModuleCount(Late):
    """Its module counts the steps of all."""

    def late(self, parameters: list[Tensor]) -> None:
        STEPS[0] += 1
        self.param_groups[0]["lr"] = 0.1 / (1 + STEPS[0])


class ClassCount(Late):
    """Its class counts the steps of all."""

    steps = 0

    def late(self, parameters: list[Tensor]) -> None:
        ClassCount.steps += 1
        self.param_groups[0]["lr"] = 0.1 / (1 + ClassCount.steps)


class Precision(Late):
    """It changes a setting of the process, which the next run would find."""

    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            p.mul_(float(torch.tensor(1 + 1e-6)))
        torch.set_default_dtype(torch.float64)


class Hook(Late):
    """Gradients are clipped by a hook that is added late."""

    def late(self, parameters: list[Tensor]) -> None:
        if self.count == self.start + 1:
            for p in parameters:
                p.register_hook(lambda gradient: gradient.clamp(-1e-2, 1e-2))


class EarlyHook(SGD):
    """Gradients are clipped by a hook."""

    def __init__(self, params: Iterable[Tensor], lr: float, start: int) -> None:
        parameters = list(params)
        super().__init__(parameters, lr=lr)
        for p in parameters:
            p.register_hook(lambda gradient: gradient.clamp(-1e-2, 1e-2))


class InBackward(SGD):
    """The step is taken as soon as a gradient is there."""

    def __init__(self, params: Iterable[Tensor], lr: float, start: int) -> None:
        parameters = list(params)
        super().__init__(parameters, lr=lr)
        for p in parameters:
            p.register_post_accumulate_grad_hook(self._now)

    @torch.no_grad()
    def _now(self, p: Tensor) -> None:
        assert p.grad is not None
        p.sub_(p.grad, alpha=self.param_groups[0]["lr"])

    def step(self, closure: Any = None) -> None:
        pass


class OnGraph(SGD):
    """Gradients are clipped by a hook on the graph's nodes, which no parameter shows."""

    def __init__(self, params: Iterable[Tensor], lr: float, start: int) -> None:
        parameters = list(params)
        super().__init__(parameters, lr=lr)
        self.nodes = [torch.autograd.graph.get_gradient_edge(p).node for p in parameters]
        for node in self.nodes:
            node.register_prehook(lambda gradients: tuple(g.clamp(-1e-2, 1e-2) for g in gradients))


class Alias(Late):
    """Momentum from the weights before, which a new storage leaves where they were."""

    def late(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            before = self.state[p].get("before", p.data)
            self.state[p]["before"] = p.data
            p.data = p.data + 0.5 * (p.data - before)


def scheduled(params: Iterable[Tensor], lr: float, start: int) -> SGD:
    """SGD of torch with its step size in a tensor, which a scheduler changes after each step."""
    optimizer = SGD(params, lr=torch.tensor(lr, dtype=torch.float64))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < start else 0.1)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return optimizer


def pulled(params: Iterable[Tensor], lr: float, start: int) -> SGD:
    """SGD of torch with a hook on its steps that pulls all parameters together towards length 1."""
    parameters = list(params)
    optimizer, count = SGD(parameters, lr=lr), [0]

    @torch.no_grad()
    def pull(*_: Any) -> None:
        count[0] += 1
        if count[0] > start:
            norm = torch.stack([p.norm() for p in parameters]).norm()
            for p in parameters:
                p.mul_(1 - 1e-3 * (norm - 1))

    optimizer.register_step_post_hook(pull)
    return optimizer


class Sharp(Late):
    """A second gradient at perturbed weights, in a storage of their own."""

    @torch.no_grad()
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        loss = evaluated(closure)
        self.count += 1
        parameters = [p for group in self.param_groups for p in group["params"]]
        if self.count > self.start:
            before = [p.data for p in parameters]
            for p in parameters:
                p.data = p.data + 0.05 * p.grad
            evaluated(closure)
            for p, value in zip(parameters, before, strict=True):
                p.data = value
        SGD.step(self)
        return loss


class ZeroOrder(Late):
    """MeZO: directions whose seed comes from numpy (Malladi et al. 2023, arXiv:2305.17333)."""

    @torch.no_grad()
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        seed = np.random.randint(10**6)  # noqa: NPY002
        up = self._shifted(seed, 1e-3, closure)
        down = self._shifted(seed, -2e-3, closure)
        self._shifted(seed, 1e-3 - self.param_groups[0]["lr"] * (up - down) / 2e-3, None)
        return up

    def _shifted(self, seed: int, length: float, closure: Any) -> float:
        torch.manual_seed(seed)
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(length * torch.randn_like(p))
        return 0.0 if closure is None else float(evaluated(closure))


FAMILY = (
    *(Clip, Preconditioned, TorchNoise, ForkedNoise, NumpyNoise, PythonNoise, ModuleNoise, ModuleCount, ClassCount),
    *(Precision, Hook, EarlyHook, InBackward, OnGraph, Alias, scheduled, pulled, Sharp, ZeroOrder),
)


def _runs(count: int, start: int) -> list[TrainingRun]:
    settings_ = {"lr": 0.1, "start": start}
    return [TrainingRun(regression(seed), seed, 0, settings_) for seed in range(count)]


def _same(one: TrainingResult, other: TrainingResult) -> None:
    assert (one.status, one.gradient_evaluations, one.steps) == (other.status, other.gradient_evaluations, other.steps)
    for name, weight in one.weights.items():
        torch.testing.assert_close(weight, other.weights[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("make", FAMILY, ids=lambda make: make.__name__)
def test_a_run_is_the_same_with_four_others(make: Callable[..., Any]) -> None:
    task = toy(None, 50)
    (alone,) = train(task, _runs(1, 29), make)
    _same(alone, train(task, _runs(5, 29), make, batched=True)[0])
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("make", FAMILY, ids=lambda make: make.__name__)
@settings(max_examples=10, deadline=None)
@given(start=st.integers(1, BUDGET - 10))
def test_a_run_is_the_same_whatever_is_trained_with_it(make: Callable[..., Any], start: int) -> None:
    task = toy(None, BUDGET)
    (alone,) = train(task, _runs(1, start), make)
    for count in (2, 5):
        together = train(task, _runs(count, start), make, batched=True)
        _same(alone, together[0])
    (last,) = train(task, _runs(5, start)[-1:], make)
    _same(last, together[-1])


@pytest.mark.parametrize("make", sorted(ENTRYWISE, key=lambda make: make.__name__))
def test_entrywise_optimizers_step_stacked_lanes_as_separate_ones(make: Callable[..., Any]) -> None:
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 5, generator=stream, dtype=torch.float64)
    gradients = torch.randn(30, 3, 4, 5, generator=stream, dtype=torch.float64)
    gradients *= torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)[:, None, None]

    def end(lanes: slice | int) -> Tensor:
        parameter = torch.nn.Parameter(start[lanes].clone())
        optimizer = make([parameter], lr=0.01)
        assert is_entrywise(optimizer)
        for gradient in gradients:
            parameter.grad = gradient[lanes].clone()
            optimizer.step()
        return parameter.detach()

    torch.testing.assert_close(end(slice(3)), torch.stack([end(0), end(1), end(2)]), rtol=1e-12, atol=1e-14)


def test_what_is_added_to_an_entrywise_optimizer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def sgd() -> SGD:
        return SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)

    assert is_entrywise(sgd())
    assert not is_entrywise(Clip([torch.nn.Parameter(torch.ones(2))], lr=0.1, start=3))
    hooked, replaced = sgd(), sgd()
    hooked.register_step_post_hook(lambda *_: None)
    monkeypatch.setattr(replaced, "step", lambda closure=None: None)
    assert not is_entrywise(hooked)
    assert not is_entrywise(replaced)
    monkeypatch.setattr(SGD, "step", lambda self, closure=None: None)
    assert not is_entrywise(sgd())
