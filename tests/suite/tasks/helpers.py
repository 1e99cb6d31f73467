"""What the tests of every family need."""

from __future__ import annotations

import functools

from suite.entries.loading import load
from suite.task import Oracle, Solution, Task
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun, train


def trained(task: Task, submission: str, lr: float, seeds: int = 2, **more: float) -> list[dict[str, float]]:
    """The measures of `submission`'s first setting with step size `lr`, per seed; every lane must meet the stop."""
    made = load(submission).submission
    settings = made.settings(1)[0] | {"lr": lr} | more
    lanes = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in range(seeds)]
    results = train(task, lanes, made.optimizer)  # type: ignore[arg-type]
    return [measured(task, lane, result) for lane, result in zip(lanes, results, strict=True)]


@functools.cache
def oracle_of(name: str, seed: int) -> Oracle:
    """Some oracles take a solver a second: each is solved once for all tests."""
    task = find_task(name)
    return task.oracle(task.problem(seed), seed) if task.oracle else Oracle()


def measured(task: Task, lane: TrainingRun, result: TrainingResult) -> dict[str, float]:
    assert result.converged, result.status
    model = task.model(lane.problem, lane.seed)
    model.load_state_dict(result.weights)
    oracle = oracle_of(task.name, lane.seed)
    return task.measure(Solution(model.eval(), result.initial, lane.problem, oracle, lane.seed, lane.settings))
