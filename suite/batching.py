"""One program for all lanes, or one lane after the other: what is possible, and what is faster on the device.

On a CPU the rule is fixed, because a choice by the clock could fall otherwise in the next run and change the last bits
of every result. It is each task's `batched`, and was measured: small networks gain from sharing one program; wide ones
do not (784-256-256-10 with 8 lanes: 0.7 times), and convolutions lose (0.4 times). On other devices, which were
not measured, one gradient is timed both ways on the run's own lanes. The record says which way was taken (`stepping`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suite.lanes import Lanes, SingleLane
from suite.task import Problem, Split, Task

REPEATS = 5

ROUNDING = 1e-2
"""Relative difference of gradients that are the same but for rounding, generously."""


def possible(task: Task, problem: Problem, seed: int, device: torch.device | str) -> bool:
    """Whether `vmap` runs the task's network with the right gradients, changes no buffers and draws no random numbers.

    A module that does not compute with the weights that are put in place, but with others that it keeps, would be
    trained in part.

    Batch norm changes its statistics in place: under `vmap` they would be lost where only some lanes go on. Dropout
    draws for all lanes from one generator: what a lane gets would depend on its neighbours.
    """
    with torch.random.fork_rng(devices=[]):
        stack, batch = _stacked(task, [(problem, seed)] * 2, device)
        before = {name: buffer.clone() for name, buffer in stack.buffers.items()}
        state = torch.get_rng_state()
        try:
            stack.evaluate(batch.x, batch.y)
        except Exception:  # a network that is broken as such says so when its lane is trained by itself
            return False
        if not torch.equal(state, torch.get_rng_state()):
            return False
        single = SingleLane(
            task.model(problem, seed).to(device), task.loss, torch.ones((), dtype=task.dtype, device=device)
        )
        single.evaluate(batch.x[:1], batch.y[:1])
    return _same_gradients(stack, single) and all(
        torch.equal(before[name], buffer) for name, buffer in stack.buffers.items()
    )


def _same_gradients(stack: Lanes, single: SingleLane) -> bool:
    """Whether the first lane's gradients are those of the module by itself, but for rounding."""
    pairs = [(stack.gradient(name, 0), single.gradient(name, 0)) for name in stack.parameters]
    if any((found is None) != (expected is None) for found, expected in pairs):
        return False
    norm = torch.linalg.vector_norm
    whole = sum(float(norm(expected)) ** 2 for _, expected in pairs if expected is not None) ** 0.5
    for found, expected in pairs:
        if found is None or expected is None:
            continue
        # What cancels within a tensor leaves rounding errors of what did not.
        slack = 10 * torch.finfo(expected.dtype).eps * (1 + whole)
        if not float(norm(found - expected)) <= ROUNDING * float(norm(expected)) + slack:
            return False
    return True


def pays(task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str) -> bool:
    """Whether the lanes, given by data and seed, are trained faster as one program."""
    if torch.device(device).type == "cpu":
        return task.batched
    return seconds(together(task, lanes, device), device) < seconds(apart(task, lanes, device), device)


def together(task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str) -> Callable[[], Tensor]:
    """One gradient of every lane on its first batch, as one program: returns the losses [lanes]."""
    stack, batch = _stacked(task, lanes, device)
    return lambda: stack.evaluate(batch.x, batch.y)


def apart(task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str) -> Callable[[], Tensor]:
    """The same gradients, one lane after the other."""
    scale = torch.ones((), dtype=task.dtype, device=device)
    singles = [SingleLane(task.model(problem, seed).to(device), task.loss, scale) for problem, seed in lanes]
    batches = [_first(task, problem, device) for problem, _ in lanes]
    return lambda: torch.cat([s.evaluate(b.x[None], b.y[None]) for s, b in zip(singles, batches, strict=True)])


def _first(task: Task, problem: Problem, device: torch.device | str) -> Split:
    """The first batch of a lane."""
    train, rows = problem.train, slice(task.batch_size)
    return Split(train.x[rows], train.y[rows]).to(device)


def _stacked(task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str) -> tuple[Lanes, Split]:
    """The lanes as one program, and their first batches."""
    models = [task.model(problem, seed).to(device) for problem, seed in lanes]
    stack = Lanes(models, task.loss, torch.ones(len(lanes), dtype=task.dtype, device=device))
    batches = [_first(task, problem, device) for problem, _ in lanes]
    return stack, Split(torch.stack([batch.x for batch in batches]), torch.stack([batch.y for batch in batches]))


def seconds(work: Callable[[], object], device: torch.device | str) -> float:
    """Median time of `work`, after one call that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        work()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])
