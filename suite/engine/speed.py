"""How fast this machine is: the processor time of a fixed piece of work, by which recorded costs are scaled."""

from __future__ import annotations

import time

import torch
from torch import nn

REPEATS = 5
"""In all they take 0.1 to 0.2 seconds."""

STEPS = 60


def reference_seconds() -> float:
    """Seconds of CPU that a fixed piece of training takes, on one thread: the least of a few repeats.

    A loop in double precision on forty samples, whose time is that of calls as on the small tasks, and one in single
    precision on a batch of images, whose time is that of matrix products.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return min(_seconds() for _ in range(REPEATS))
    finally:
        torch.set_num_threads(threads)


def _seconds() -> float:
    small = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1)).double()
    large = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    begin = time.process_time()
    _train(small, torch.randn(40, 10, dtype=torch.float64), STEPS)
    _train(large, torch.randn(64, 784), STEPS // 2)
    return time.process_time() - begin


def _train(model: nn.Module, inputs: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
