"""Optimizers whose code runs once for all lanes under `vmap` (`suite.training.vmapped`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import profiler

from suite.optimizers import evaluated
from suite.task import Task
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun, train
from suite.training.vmapped import VmappedGroup

STEPS = 60


class Momentum(torch.optim.Optimizer):
    """Heavy ball of unit length: a norm, a state, and an attribute beside torch's state."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, momentum: float = 0.5) -> None:
        super().__init__(params, {"lr": lr})
        self.momentum, self.count = momentum, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = evaluated(closure)
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                state["mean"].mul_(self.momentum).add_(self.direction(parameter.grad))
                parameter.add_(state["mean"], alpha=-group["lr"])
        return loss

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient / (torch.linalg.vector_norm(gradient) + 1e-12)


class Ascending(Momentum):
    """Takes the gradient where an ascent step leads, as SAM does."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure()
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        before = [parameter.clone() for parameter in parameters]
        for parameter in parameters:
            parameter.add_(self.direction(parameter.grad), alpha=1e-3)
        with torch.enable_grad():
            closure()
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
        super().step()
        return loss


class Choosing(Momentum):
    """Asks for a value, of which each lane has another."""

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient if float(gradient.norm()) > 1e-3 else torch.zeros_like(gradient)


class ChoosingLate(Momentum):
    """Does so long after it was tried out."""

    def direction(self, gradient: Tensor) -> Tensor:
        return super().direction(gradient) * (float(gradient.abs().max() > 0) if self.count > 40 else 1.0)


class Mixing(Momentum):
    """Gives lanes that are stepped together the mean of their gradients, long after it was tried out."""

    def direction(self, gradient: Tensor) -> Tensor:
        if self.count > 25 and _functorch.is_batchedtensor(gradient):
            lanes = _functorch.get_unwrapped(gradient)
            lanes.copy_(lanes.mean(0, keepdim=True).expand_as(lanes))
        return super().direction(gradient)


class WritingData(Momentum):
    """Writes to `data`, which vmap does not allow."""

    def direction(self, gradient: Tensor) -> Tensor:
        gradient.data.mul_(0.5)
        return gradient


class Drawing(Momentum):
    """Draws random numbers."""

    def direction(self, gradient: Tensor) -> Tensor:
        return super().direction(gradient) * torch.rand(())


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of lanes that were stepped by one optimizer under vmap."""
    lanes: list[int] = []
    step = VmappedGroup.step

    def counted(group: VmappedGroup, closure: Callable[[], Tensor] | None = None) -> None:
        step(group, closure)
        lanes.append(len(group.lanes))

    monkeypatch.setattr(VmappedGroup, "step", counted)
    return iter([lanes])  # type: ignore[return-value]


def short(name: str, budget: int = STEPS) -> Task:
    """A task whose runs end at different steps: some reach the target loss, which is near the initial one."""
    task = find_task(name)
    target = replace(task.target, budget=budget, check_every=min(task.target.check_every, 10))
    return replace(task, target=target)


def trained(task: Task, make: Any, vmaps: bool, monkeypatch: pytest.MonkeyPatch) -> list[TrainingResult]:
    """Two trials of three seeds, by one optimizer each or by one per run."""
    runs = [
        TrainingRun(task.problem(seed), seed, trial, {"lr": rate})
        for trial, rate in enumerate((0.02, 0.005))
        for seed in range(3)
    ]
    if not vmaps:
        with monkeypatch.context() as patch:
            patch.setattr("suite.training.loop.supports_vmapped_steps", lambda setup, runs: False)
            return train(task, runs, make)
    return train(task, runs, make)


def assert_same(one: list[TrainingResult], other: list[TrainingResult]) -> None:
    """Equal to the last bit."""
    for a, b in zip(one, other, strict=True):
        assert (a.status, a.steps, a.gradient_evaluations, a.history) == (
            b.status,
            b.steps,
            b.gradient_evaluations,
            b.history,
        )
        assert (a.stepping, a.placement, a.target_evaluations) == (b.stepping, b.placement, b.target_evaluations)
        for name, weight in a.weights.items():
            assert torch.equal(weight, b.weights[name])


@pytest.mark.parametrize("make", [Momentum, Ascending])
@pytest.mark.parametrize("name", ["sparse_regression", "univariate_relu", "stochastic_sparse[batch=4]"])
def test_lanes_get_what_optimizers_of_their_own_give_to_the_last_bit(
    name: str, make: Any, stepped: Iterator[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, task = next(stepped), short(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = trained(task, make, True, monkeypatch)
    assert set(lanes[-20:]) == {3}
    assert_same(together, trained(task, make, False, monkeypatch))


def test_a_lane_that_has_ended_leaves_the_others_alone(
    stepped: Iterator[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, task = next(stepped), short("sparse_regression", 200)
    whole = trained(task, Momentum, False, monkeypatch)
    losses = sorted(result.train_loss for result in whole[:3])
    task = replace(task, target=replace(task.target, loss=losses[1]))  # two of three lanes reach it
    together = trained(task, Momentum, True, monkeypatch)
    assert lanes
    assert len({result.steps for result in together[:3]}) > 1
    assert_same(together, trained(task, Momentum, False, monkeypatch))


@pytest.mark.parametrize("make", [Choosing, WritingData, Drawing])
def test_what_vmap_refuses_is_stepped_lane_by_lane(
    make: Any, stepped: Iterator[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, task = next(stepped), short("sparse_regression")
    together = trained(task, make, True, monkeypatch)
    assert 3 not in lanes  # two lanes are those of the trial
    assert {result.stepping for result in together} == {"per lane"}
    assert_same(together, trained(task, make, False, monkeypatch))


@pytest.mark.parametrize("make", [ChoosingLate, Mixing])
def test_what_differs_later_is_found_and_trained_lane_by_lane(
    make: Any, stepped: Iterator[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, task = next(stepped), short("sparse_regression")
    together = trained(task, make, True, monkeypatch)
    assert 20 < lanes.count(3) < 2 * STEPS
    assert {result.stepping for result in together} == {"per lane"}
    assert_same(together, trained(task, make, False, monkeypatch))


def test_steps_are_marked_where_a_profiler_reads_the_marks() -> None:
    task = short("sparse_regression", 20)
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.01}) for seed in range(2)]
    mark = profiler.record_function
    with torch.profiler.profile() as found:
        train(task, runs, Momentum)
    assert any("Optimizer.step#Momentum" in event.key for event in found.key_averages())
    train(task, runs, Momentum)
    assert profiler.record_function is mark
