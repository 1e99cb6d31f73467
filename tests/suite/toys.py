"""A small regression that tests of the training loop share."""

from __future__ import annotations

import torch
from torch import nn

from suite.seeding import torch_stream
from suite.task import Axis, Problem, Split, Target, Task
from suite.tasks.losses import mean_squared_error


def regression(seed: int) -> Problem:
    stream = torch_stream("toy", seed, "data")
    x = torch.randn(24, 6, generator=stream, dtype=torch.float64)
    return Problem(Split(x, torch.sin(x[:, :2])), lipschitz=2.0)


def network(problem: Problem, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def matrix(problem: Problem, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 2, bias=False)).double()


def toy(batch_size: int | None, budget: int = 60, target_loss: float = 0.0) -> Task:
    return Task(
        family="toy",
        problem=regression,
        model=network,
        loss=mean_squared_error,
        target=Target(target_loss, budget, check_every=5),
        measure=lambda solution: {},
        axes=(Axis("norm", "none", "linear", 0.0, 1.0),),
        papers=(),
        batch_size=batch_size,
        name="toy",
    )
