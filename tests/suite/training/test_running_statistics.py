"""The first gradient of a step alone updates running statistics: against a loop after SAM's published usage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.entries import load
from suite.optimizers import evaluated
from suite.task import Problem, Task
from suite.training import TrainingRun, train
from tests.suite.toys import regression, toy

BUDGET = 40


def _normed(problem: Problem, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, 2))
        return nn.Sequential(*layers).double()


class Extragradient(torch.optim.SGD):
    """The gradient at the point where a plain step would lead, found by calls of the closure."""

    @torch.no_grad()
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        loss = evaluated(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [p.clone() for p in parameters]
        super().step()
        evaluated(closure)
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)
        super().step()
        return loss


def _published_loop(task: Task, run: TrainingRun, make: Callable[..., Any], steps: int) -> dict[str, Tensor]:
    """Running statistics are switched off for every pass but the first by ``momentum = 0``.

    As in the training script of https://github.com/davda54/sam, which the authors of many papers use.
    """
    model, data = task.model(run.problem, run.seed), run.problem.train
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [module.momentum for module in norms]
    optimizer = make(model.parameters(), **run.settings)
    for step in range(steps):
        passes = 0

        def closure(step: int = step) -> Tensor:
            nonlocal passes
            passes += 1
            for module, momentum in zip(norms, momenta, strict=True):
                module.momentum = momentum if passes == 1 else 0.0
            optimizer.zero_grad()
            loss = task.loss(model(data.x), data.y) / run.problem.lipschitz
            loss.backward()
            for module in norms:
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.fill_(step + 1)
            return loss

        optimizer.step(closure)
    return dict(model.state_dict())


@pytest.mark.parametrize("make", [load("sam").submission.optimizer, Extragradient], ids=["sam", "own"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_first_gradient_of_a_step_alone_updates_running_statistics(make: Callable[..., Any], count: int) -> None:
    task = replace(toy(None, BUDGET), model=_normed)
    runs = [TrainingRun(regression(seed), seed, 0, {"lr": 0.05}) for seed in range(count)]
    for run, result in zip(runs, train(task, runs, make, schedule=lambda _: 1.0), strict=True):
        assert result.gradient_evaluations == 2 * result.steps == BUDGET
        expected = _published_loop(task, run, make, result.steps)
        assert expected.keys() == result.weights.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(result.weights[name], tensor, rtol=1e-10, atol=1e-12)


def test_an_optimizer_that_is_given_gradients_before_its_closure() -> None:
    """The gradient before the closure is the first: its statistics stay, the closure's are left out."""
    import pytorch_optimizer

    task = replace(toy(None, BUDGET), model=_normed)
    run = TrainingRun(regression(0), 0, 0, {"lr": 0.05, "base_optimizer": torch.optim.SGD})
    (result,) = train(task, [run], pytorch_optimizer.SAM)
    assert int(result.weights["1.num_batches_tracked"]) == result.steps
    assert result.gradient_evaluations == 2 * result.steps
