"""What optimizers of real libraries do (docs/namesakes.md), in toys: runs come out as an ordinary loop gives them.

`test_any_optimizer` has those that draw random numbers in double precision, and those that keep gradients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.seeding import seed_of
from suite.task import Problem, Split, Task
from suite.training import TrainingRun, common_schedule, train
from tests.suite.toys import network, regression, toy

BUDGET = 20
SETTINGS = {"lr": 0.1}


class Spending(torch.optim.SGD):
    """Leaves nonsense in the gradients that it was given, as memory that it had use for."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.fill_(float("nan"))


class Dropping(torch.optim.SGD):
    """Leaves no gradient behind."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        self.zero_grad(set_to_none=True)


class Single(torch.optim.SGD):
    """Cannot be copied or pickled."""

    def __deepcopy__(self, memory: Any) -> Any:
        raise TypeError("not to be copied")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not to be pickled")


class HalfPrecise(torch.optim.Optimizer):
    """Keeps its momentum in single precision, whatever its weights have."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter, dtype=torch.float32))
                momentum.mul_(0.9).add_(parameter.grad.float())
                parameter.sub_(group["lr"] * momentum.to(parameter.dtype))


class Reloading(torch.optim.SGD):
    """Loses all its state when it is reloaded."""

    def load_state_dict(self, state_dict: Any) -> None:
        self.state.clear()


class Drawing(torch.optim.SGD):
    """Adds noise from torch's global generator to every step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(0.01 * torch.randn_like(parameter))


def _single(seed: int) -> Problem:
    problem = regression(seed)
    return Problem(Split(problem.train.x.float(), problem.train.y.float()), lipschitz=problem.lipschitz)


def _task(dtype: torch.dtype) -> Task:
    task = toy(None, BUDGET)
    if dtype == torch.float64:
        return task
    return replace(task, problem=_single, model=lambda problem, seed: network(problem, seed).float(), dtype=dtype)


def _loop(task: Task, run: TrainingRun, make: Any, steps: int) -> dict[str, Tensor]:
    """An ordinary loop."""
    model: nn.Module = task.model(run.problem, run.seed)
    torch.manual_seed(seed_of(task.name, run.seed, "optimizer"))
    optimizer = make(model.parameters(), **SETTINGS)
    for spent in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = SETTINGS["lr"] * common_schedule(spent / BUDGET)
        optimizer.zero_grad()
        (task.loss(model(run.problem.train.x), run.problem.train.y) / run.problem.lipschitz).backward()
        optimizer.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("make", [Spending, Dropping, Single, HalfPrecise, Reloading, Drawing])
def test_runs_are_those_of_an_ordinary_loop(make: Any, dtype: torch.dtype, batched: bool) -> None:
    task = _task(dtype)
    runs = [TrainingRun(task.problem(seed), seed, 0, SETTINGS) for seed in range(2)]
    # Rounding of single precision decides nothing in 20 steps; state in single precision has its rounding, too.
    exact = dtype == torch.float64 and make is not HalfPrecise
    tolerances = {"rtol": 1e-8, "atol": 1e-10} if exact else {"rtol": 1e-4, "atol": 1e-5}
    for run, result in zip(runs, train(task, runs, make, batched=batched), strict=True):
        assert result.gradient_evaluations >= BUDGET // 2
        with torch.random.fork_rng(devices=[]):
            expected = _loop(task, run, make, result.gradient_evaluations)
        for name, weight in expected.items():
            torch.testing.assert_close(result.weights[name], weight, **tolerances)
