"""A submission's optimizer on a task: how it is built and stepped, and by which schedule and loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suite.building import Budget, MakeOptimizer, Parameters, Settings, build, in_a_group, wants_model
from suite.lanes import Loss
from suite.manner import Manner, find_manner
from suite.task import Problem, Task

Schedule = Callable[[float], float]
OwnLoss = Callable[[Tensor, Tensor, Loss], Tensor]


def common_schedule(progress: float) -> float:
    """The step size's factor after the share `progress` of the budget: 1 up to a half, then cosine to 0."""
    if progress <= 0.5:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, 2.0 * progress - 1.0)))


@dataclass(frozen=True)
class Method:
    """make and budget: how the optimizer is built. manner: how it wants to be stepped.

    schedule: share of the budget that is spent -> factor of every step size. loss: what is descended.
    """

    make: MakeOptimizer
    budget: Budget
    manner: Manner
    schedule: Schedule
    loss: Loss

    @property
    def alone(self) -> bool:
        """Whether each lane must be trained by itself. (Closures of lanes that draw would share one stream.)"""
        manner = self.manner
        return manner.graph or wants_model(self.make) or (manner.draws and manner.closure)

    def build(self, parameters: Parameters, settings: Settings, model: nn.Module) -> Any:
        """The optimizer of `parameters`; `model` is the module that they belong to, for a constructor that asks."""
        return build(self.make, parameters, settings, self.budget, model, self.manner.split)


def find_method(
    task: Task,
    problem: Problem,
    seed: int,
    settings: Settings,
    make: MakeOptimizer,
    device: torch.device | str,
    schedule: Schedule | None,
    own_loss: OwnLoss | None,
) -> Method:
    """How `make` trains on `task`, tried out on a copy of the network of `problem` and `seed`.

    Raises:
        Exception: what the optimizer raised, if it can be stepped in no manner.
    """
    train, rows = problem.train, slice(task.batch_size)
    budget = Budget(task.stop.budget, len(train))
    loss = task.loss if own_loss is None else _with(own_loss, task.loss)

    def made(model: nn.Module, manner: Manner) -> Any:
        return build(make, dict(model.named_parameters()), settings, budget, model, manner.split)

    def found() -> Method:
        manner = find_manner(
            task.model(problem, seed).to(device),
            loss,
            train.x[rows].to(device),
            train.y[rows].to(device),
            torch.tensor(problem.smoothness, dtype=task.dtype, device=device),
            made,
        )
        return Method(make, budget, manner, schedule or common_schedule, loss)

    return in_a_group(found)


def _with(own: OwnLoss, loss: Loss) -> Loss:
    return lambda outputs, targets: own(outputs, targets, loss)
