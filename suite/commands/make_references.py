"""How the references of the image tasks are made: ``python -m suite.commands.make_references``.

The seeds are neither scoring nor tuning seeds. Rerun and commit the output whenever a task, its model or a measure
changes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.tasks.images_adversarial_init import ADVERSARIAL_INITS
from suite.tasks.references import FILE, frozen

if TYPE_CHECKING:
    from suite.task import Task


FIRST_SEED = 20_000


SEEDS = 3


Run = tuple[str, dict[str, float]]


Means = dict[str, float]


RUNS: tuple[Run, ...] = (
    ("sgd", {"lr": 0.1}),
    ("momentum", {"lr": 0.02, "momentum": 0.9}),
    ("adam", {"lr": 1e-3}),
    ("adamw", {"lr": 1e-3, "weight_decay": 0.5}),
    ("sam", {"lr": 0.02, "rho": 0.2}),
)


NULL_RUN: Run = ("sgd", {"lr": 0.05})


def mean_measures(task: Task, run: Run, seeds: range) -> Means | None:
    """Means over `seeds` of what is scored, and of the gradient evaluations; None if a seed misses the stop."""
    from suite.entries.loading import load
    from suite.task import Oracle, Solution
    from suite.tasks.images import AXES, image_measures
    from suite.training.loop import TrainingRun, train

    names = [axis.measure for axis in AXES]
    optimizer, settings = run
    make = load(optimizer).submission.optimizer
    assert make is not None
    lanes = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in seeds]
    rows = []
    for lane, result in zip(lanes, train(task, lanes, make), strict=True):
        if not result.converged:
            return None
        model = task.model(lane.problem, lane.seed)
        model.load_state_dict(result.weights)
        solution = Solution(model.eval(), result.initial, lane.problem, Oracle(), lane.seed)
        scored = {name: float(value) for name, value in image_measures(solution, names).items()}
        rows.append(scored | {"gradient_evaluations": float(result.gradient_evaluations)})
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def make(name: str, seeds: range, known: dict[str, Means | None], keep: Callable[[dict[str, Any]], None]) -> None:
    """Run everything for the task `name` that is not in `known`; `keep` gets the entry of the file after every run."""
    from suite.tasks.images import AXES
    from suite.tasks.images_adversarial_init import from_adversarial_init
    from suite.tasks.registry import find_task

    fresh = find_task(name)
    runs = dict(known)
    for task, run in (
        (from_adversarial_init(fresh, ADVERSARIAL_INITS[name]), NULL_RUN),
        *((fresh, run) for run in RUNS),
    ):
        label = f"{run[0]} {run[1]}" if task is fresh else "score_0"
        if label not in runs:
            runs[label] = mean_measures(task, run, seeds)
            keep({"runs": runs, "seeds": list(seeds)})
    score_0 = runs.pop("score_0")
    met = {label: row for label, row in runs.items() if row is not None}
    if score_0 is None or not met:
        raise RuntimeError(f"{name}: SGD from the adversarial start, or every run from a fresh one, missed the stop.")
    axes = {}
    for axis in AXES:
        best = (max if axis.higher else min)(met, key=lambda label: met[label][axis.measure])
        axes[axis.measure] = {"score_0": score_0[axis.measure], "score_1": met[best][axis.measure], "score_1_run": best}
    keep({"axes": axes, "runs": runs | {"score_0": score_0}, "seeds": list(seeds)})


def give_axes(log: Path) -> int:
    """Give the scored records in `log` the axes of their image tasks, as frozen now; the number that had others.

    Whoever ran a task before its references were frozen has its measures, and need not run it again.

    Raises:
        InputError: a line of the log is damaged: it would be lost. The log is as it was.
    """
    from suite.errors import InputError
    from suite.storage.log import Log, read
    from suite.storage.record import seal
    from suite.tasks.registry import find_task
    from suite.trials.evaluate import resolve_axes

    found = read(log)
    if found.damaged:
        raise InputError(f"{log}: line {found.damaged[0][0]} is damaged ({found.damaged[0][1]}).")
    records, changed = [], 0
    for record in found.records:
        task = find_task(record["task"])
        if record["phase"] == "score" and task.family == "images":
            now = {"axes": resolve_axes(task.axes, None), "reported": list(task.reported)}
            changed += record["axes"] != now["axes"]
            record = seal(record | now)
        records.append(record)
    whole = log.with_suffix(".axes")
    whole.unlink(missing_ok=True)  # of a call that was cut off
    Log(whole).append(*records)
    whole.replace(log)
    return changed


def main(arguments: list[str]) -> None:
    """Make the references of the tasks that are named and write them to the file."""
    parser = argparse.ArgumentParser(prog="python -m suite.commands.make_references", description=main.__doc__)
    parser.add_argument("tasks", nargs="*", default=list(ADVERSARIAL_INITS), metavar="TASK")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many seeds from {FIRST_SEED} on")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the file already holds")
    parser.add_argument("--axes-of", type=Path, metavar="LOG", help="make nothing: give these records their axes")
    options = parser.parse_args(arguments)
    if options.axes_of:
        print(f"{give_axes(options.axes_of)} records have new axes.")
        return
    for name in options.tasks:

        def keep(entry: dict[str, Any], name: str = name) -> None:
            frozen = json.loads(FILE.read_text()) if FILE.is_file() else {}
            FILE.write_text(json.dumps(frozen | {name: entry}, indent=1, sort_keys=True) + "\n")

        held = frozen().get(name, {}).get("runs", {}) if options.resume else {}
        make(name, range(FIRST_SEED, FIRST_SEED + options.seeds), held, keep)


if __name__ == "__main__":
    main(sys.argv[1:])
