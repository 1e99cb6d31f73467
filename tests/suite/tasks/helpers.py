"""What the tests of every family need."""

from __future__ import annotations

from suite.loading import load
from suite.task import Oracle, Solution, Task
from suite.training import Lane, Trained, train


def trained(task: Task, submission: str, lr: float, seeds: int = 2) -> list[dict[str, float]]:
    """The measures of `submission`'s first setting with step size `lr`, per seed; every lane must meet the stop."""
    made = load(submission).submission
    settings = made.settings(1)[0] | {"lr": lr}
    lanes = [Lane(task.problem(seed), seed, 0, settings) for seed in range(seeds)]
    results = train(task, lanes, made.optimizer)  # type: ignore[arg-type]
    return [measured(task, lane, result) for lane, result in zip(lanes, results, strict=True)]


def measured(task: Task, lane: Lane, result: Trained) -> dict[str, float]:
    assert result.converged, result.status
    model = task.model(lane.problem, lane.seed)
    model.load_state_dict(result.weights)
    oracle = task.oracle(lane.problem) if task.oracle else Oracle()
    return task.measure(Solution(model.eval(), result.initial, lane.problem, oracle, lane.seed))
