"""What the tests of every family need."""

from __future__ import annotations

import functools

from suite.entries import load
from suite.task import Oracle, Solution, Task
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun, train


def trained(task: Task, submission: str, lr: float, seeds: int = 2, **more: float) -> list[dict[str, float]]:
    """The measures of `submission`'s first setting with step size `lr`, per seed; every run must reach the target."""
    entry = load(submission).submission
    settings = entry.settings(1)[0] | {"lr": lr} | more
    runs = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in range(seeds)]
    results = train(task, runs, entry.optimizer)  # type: ignore[arg-type]
    return [measured(task, run, result) for run, result in zip(runs, results, strict=True)]


@functools.cache
def oracle_of(name: str, seed: int) -> Oracle:
    """Some oracles take a solver a second: each is solved once for all tests."""
    task = find_task(name)
    return task.oracle(task.problem(seed), seed) if task.oracle else Oracle()


def measured(task: Task, run: TrainingRun, result: TrainingResult) -> dict[str, float]:
    assert result.converged, result.status
    model = task.model(run.problem, run.seed)
    model.load_state_dict(result.weights)
    oracle = oracle_of(task.name, run.seed)
    return task.measure(Solution(model.eval(), result.initial, run.problem, oracle, run.seed, run.settings))
