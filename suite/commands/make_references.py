"""Make the frozen references of the image tasks: ``python -m suite.commands.make_references``.

score_0 of a measure is its mean over seeds after plain SGD from an adversarial initialization, score_1 the best mean
among the reference runs from fresh initializations. The seeds are neither scoring nor tuning seeds. Rerun and commit
`suite/tasks/references.json` whenever a task, its model or a measure changes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.entries import load
from suite.entries.entry import bind
from suite.errors import InputError
from suite.models import restore
from suite.storage import Log, read, seal
from suite.task import Oracle, Solution, Task
from suite.tasks import find_task
from suite.tasks.images import IMAGE_AXES, REFERENCES_FILE, frozen, image_measures
from suite.tasks.images_adversarial_init import ADVERSARIAL_INITS, from_adversarial_init
from suite.training import TrainingRun, train
from suite.trials import resolve_axes

FIRST_SEED, SEEDS = 20_000, 3
Setting = tuple[str, dict[str, float]]  # a submission and its hyper-parameters
Means = dict[str, float]  # over seeds, by measure
SCORE_0_SETTING: Setting = ("sgd", {"lr": 0.05})
SCORE_1_SETTINGS: tuple[Setting, ...] = (
    ("sgd", {"lr": 0.1}),
    ("momentum", {"lr": 0.02, "momentum": 0.9}),
    ("adam", {"lr": 1e-3}),
    ("adamw", {"lr": 1e-3, "weight_decay": 0.5}),
    ("sam", {"lr": 0.02, "rho": 0.2}),
)


def mean_measures(task: Task, setting: Setting, seeds: range) -> Means | None:
    """Means over `seeds` of the scored measures and of the gradient evaluations; None if a seed missed the target."""
    submission, hyperparameters = setting
    make = bind(load(submission).submission, task).make
    runs = [TrainingRun(task.problem(seed), seed, 0, hyperparameters) for seed in seeds]
    for run in runs:  # what adversarial initializations cost is not the runs' own, if it is not paid while they train
        task.model(run.problem, run.seed)
    rows = []
    for run, result in zip(runs, train(task, runs, make), strict=True):
        if not result.converged:
            return None
        model = task.model(run.problem, run.seed)
        restore(model, result.weights)
        solution = Solution(model.eval(), result.initial, run.problem, Oracle(), run.seed)
        measures = image_measures(solution, [axis.measure for axis in IMAGE_AXES])
        measures["gradient_evaluations"] = result.gradient_evaluations
        rows.append({name: float(value) for name, value in measures.items()})
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def make_references(
    name: str, seeds: range, finished: dict[str, Means | None], save: Callable[[dict[str, Any]], None]
) -> None:
    """Make the references of the task `name`: `save` gets its entry of the file after every run.

    The runs of the labels in `finished` are not repeated. A `RuntimeError` says that the run of score_0, or every run
    of score_1, missed the target loss.
    """
    fresh = find_task(name)
    means = dict(finished)
    for label, task, setting in (
        ("score_0", from_adversarial_init(fresh, *ADVERSARIAL_INITS[name]), SCORE_0_SETTING),
        *((f"{submission} {values}", fresh, (submission, values)) for submission, values in SCORE_1_SETTINGS),
    ):
        if label not in means:
            means[label] = mean_measures(task, setting, seeds)
            save({"runs": means, "seeds": list(seeds)})
    score_0 = means.pop("score_0")
    converged = {label: row for label, row in means.items() if row is not None}
    if score_0 is None or not converged:
        raise RuntimeError(
            f"{name}: SGD from the adversarial initialization, or every run from a fresh one, missed the target loss."
        )
    axes = {}
    for axis in IMAGE_AXES:
        measure = axis.measure
        best = (max if axis.higher else min)(converged, key=lambda label: converged[label][measure])
        axes[measure] = {"score_0": score_0[measure], "score_1": converged[best][measure], "score_1_run": best}
    save({"axes": axes, "runs": means | {"score_0": score_0}, "seeds": list(seeds)})


def give_axes(log: Path) -> int:
    """Give the scored records in `log` the axes of their image tasks, as frozen now; the number that had others.

    A task that was run before its references were frozen need not be run again. An `InputError` leaves the log as it
    was where a damaged line would be lost, or where a solution was not measured by what is scored now.
    """
    contents = read(log)
    if contents.damaged:
        raise InputError(f"{log}: line {contents.damaged[0][0]} is damaged ({contents.damaged[0][1]}).")
    records, changed = [], 0
    for record in contents.records:
        task = find_task(record["task"])
        if record["phase"] == "score" and task.family == "images":
            axes = resolve_axes(task.axes, None)
            changed += record["axes"] != axes
            known = record["measures"].keys() | record.get("undefined", {}).keys()
            for axis in task.axes if record["converged"] else ():
                if axis.measure not in known:
                    raise InputError(f"{log}: a run of {record['submission']} on {task.name} has no {axis.measure}.")
            record = seal(record | {"axes": axes, "reported": list(task.reported)})
        records.append(record)
    rewritten = log.with_suffix(".axes")
    rewritten.unlink(missing_ok=True)  # of a call that was cut off
    Log(rewritten).append(*records)
    rewritten.replace(log)
    return changed


def main(arguments: list[str]) -> None:
    """Make the references of the named tasks and write them to the file."""
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

        def save(entry: dict[str, Any], name: str = name) -> None:
            entries = json.loads(REFERENCES_FILE.read_text()) if REFERENCES_FILE.is_file() else {}
            REFERENCES_FILE.write_text(json.dumps(entries | {name: entry}, indent=1, sort_keys=True) + "\n")

        known = frozen().get(name, {}).get("runs", {}) if options.resume else {}
        measures = {axis.measure for axis in IMAGE_AXES}
        finished = {label: row for label, row in known.items() if row is None or measures <= row.keys()}
        make_references(name, range(FIRST_SEED, FIRST_SEED + options.seeds), finished, save)


if __name__ == "__main__":
    main(sys.argv[1:])
