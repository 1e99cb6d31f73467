"""The frozen references of the image tasks: read from `references.json`, made by ``python -m suite.references``.

null: the mean over seeds of what plain SGD reaches from an adversarial start. ideal: the best mean over seeds among the
reference runs below, measure by measure: a stretch value that no single run reaches on every axis. The seeds are
neither scoring nor tuning seeds. Rerun and commit the output whenever a task, its model or a measure changes.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.task import Problem, Task

FILE = Path(__file__).with_suffix(".json")
SEEDS = (20_000, 20_001, 20_002)

RUNS: tuple[tuple[str, dict[str, float]], ...] = (
    ("sgd", {"lr": 0.1}),
    ("momentum", {"lr": 0.02, "momentum": 0.9}),
    ("adam", {"lr": 1e-3}),
    ("adamw", {"lr": 1e-3, "weight_decay": 0.5}),
    ("momentum", {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-3}),
    ("sam", {"lr": 0.02, "rho": 0.2}),
)
NULL_RUN: tuple[str, dict[str, float]] = ("sgd", {"lr": 0.05})


@functools.cache
def _frozen() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text())) if FILE.is_file() else {}


def reference(task: str, measure: str) -> tuple[float, float]:
    """(null, ideal) of `measure` on `task`; NaN where none is frozen yet, which scores nothing."""
    entry = _frozen().get(task, {}).get(measure, {})
    return entry.get("null", math.nan), entry.get("ideal", math.nan)


def _mean_measures(task: Task, optimizer: str, settings: dict[str, float]) -> dict[str, float] | None:
    """Means over `SEEDS` of all measures; None if a seed misses the stop."""
    from suite.loading import load
    from suite.task import Oracle, Solution
    from suite.training import Lane, train

    make = load(optimizer).submission.optimizer
    assert make is not None
    lanes = [Lane(task.problem(seed), seed, 0, settings) for seed in SEEDS]
    rows = []
    for lane, result in zip(lanes, train(task, lanes, make), strict=True):
        if not result.converged:
            return None
        model = task.model(lane.problem, lane.seed)
        model.load_state_dict(result.weights)
        rows.append(task.measure(Solution(model.eval(), result.initial, lane.problem, Oracle(), lane.seed)))
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def make(task: Task) -> dict[str, Any]:
    """Run everything and return the entry of `task` for the file."""
    from suite.adversarial import poisoned_start

    plain = task.model

    @functools.cache
    def start(seed: int) -> Any:
        problem = task.problem(seed)
        return poisoned_start(plain(problem, seed), problem, seed).state_dict()

    def bad_model(problem: Problem, seed: int) -> Any:
        model = plain(problem, seed)
        model.load_state_dict(start(seed))
        return model

    null = _mean_measures(replace(task, model=bad_model), *NULL_RUN)
    if null is None:
        raise RuntimeError("SGD from the adversarial start missed the stop on some seed.")
    runs = {f"{name} {settings}": _mean_measures(task, name, settings) for name, settings in RUNS}
    entry: dict[str, Any] = {}
    for axis in task.axes:
        values = {run: row[axis.measure] for run, row in runs.items() if row is not None}
        best = (max if axis.higher else min)(values, key=values.__getitem__)
        entry[axis.measure] = {"null": null[axis.measure], "ideal": values[best], "ideal_of": best}
    return entry | {"seeds": list(SEEDS), "null_run": null, "runs": runs}


def main(names: list[str]) -> None:
    """Make the references of the tasks `names` and write them to the file."""
    from suite.tasks import find_task

    frozen = dict(_frozen())
    for name in names:
        frozen[name] = make(find_task(name))
    FILE.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ["mnist5k_mlp"])
