"""The frozen references of the suite's own tasks that have no closed form: ``lowlands references --all``.

On image tasks score_0 of a measure is its mean over seeds after plain SGD from an adversarial initialization, score_1
the best mean among the reference runs from fresh initializations. `tiny_lm` has no such initialization: its score_0 is
the worst mean among the reference runs. The seeds are neither scoring nor tuning seeds. Make them again and commit
`suite/tasks/references.json` whenever a task, its model or a measure changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.entries import load
from suite.entries.entry import bind
from suite.errors import InputError
from suite.models import restore
from suite.storage import Log, read, seal
from suite.task import Axis, Oracle, Solution, Task
from suite.tasks import find_task
from suite.tasks.images import IMAGE_AXES, frozen, image_measures
from suite.tasks.images_adversarial_init import (
    ADVERSARIAL_INITS,
    from_adversarial_init,
    pretraining_samples,
)
from suite.tasks.sequences_language import LANGUAGE_AXES
from suite.training import TrainingRun, train
from suite.trials import resolve_axes
from suite.trials.provenance import suite_hash

FIRST_SEED, SEEDS = 20_000, 3
Setting = tuple[str, dict[str, float]]  # a submission and its hyper-parameters
Means = dict[str, float]  # over seeds, by measure
SCORE_0 = "score_0"
SCORE_0_SETTING: Setting = ("sgd", {"lr": 0.05})
IMAGE_SETTINGS: tuple[Setting, ...] = (
    ("sgd", {"lr": 0.1}),
    ("momentum", {"lr": 0.02, "momentum": 0.9}),
    ("adam", {"lr": 1e-3}),
    ("adamw", {"lr": 1e-3, "weight_decay": 0.5}),
    ("sam", {"lr": 0.02, "rho": 0.2}),
)
LANGUAGE_TASK = "tiny_lm"
LANGUAGE_SETTINGS: tuple[Setting, ...] = (
    ("adam", {"lr": 3e-3}),
    ("momentum", {"lr": 0.1, "momentum": 0.9}),
    ("muon", {"lr": 0.02, "adamw_lr": 3e-3}),
)


@dataclass(frozen=True)
class ReferenceRun:
    """Training runs of one setting on one task, over the reference seeds.

    Attributes:
        task: its name.
        label: what the file calls them: ``score_0`` from an adversarial initialization, else submission and setting.
        submission, hyperparameters: the setting.
    """

    task: str
    label: str
    submission: str
    hyperparameters: Mapping[str, float]

    @property
    def adversarial(self) -> bool:
        """Whether they start from an adversarial initialization."""
        return self.label == SCORE_0


def reference_runs(names: Sequence[str] = ()) -> list[ReferenceRun]:
    """Those of the tasks `names`, or of all that have frozen references.

    Raises:
        InputError: a task has no frozen references.
    """
    known = [*ADVERSARIAL_INITS, LANGUAGE_TASK]
    for name in names:
        if name not in known:
            raise InputError(f"{name} has no frozen references; these have: {', '.join(known)}.")
    runs = []
    for name in names or known:
        if name in ADVERSARIAL_INITS:
            runs.append(ReferenceRun(name, SCORE_0, *SCORE_0_SETTING))
        for submission, values in IMAGE_SETTINGS if name in ADVERSARIAL_INITS else LANGUAGE_SETTINGS:
            runs.append(ReferenceRun(name, f"{submission} {values}", submission, values))
    return runs


def axes_of(name: str) -> tuple[Axis, ...]:
    """The axes of a task with frozen references, whatever these are."""
    return IMAGE_AXES if name in ADVERSARIAL_INITS else LANGUAGE_AXES


def run_references(work: tuple[ReferenceRun, int]) -> Means | None:
    """Means over seeds of a task's scored measures, as `mean_measures` has them: what a worker does.

    Args:
        work: the runs, and how many seeds.
    """
    run, seeds = work
    task = find_task(run.task)
    if run.adversarial:
        task = from_adversarial_init(task, *ADVERSARIAL_INITS[run.task])
    return mean_measures(task, (run.submission, dict(run.hyperparameters)), range(FIRST_SEED, FIRST_SEED + seeds))


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
        measures = _scored_measures(task, solution) | {"gradient_evaluations": result.gradient_evaluations}
        rows.append({name: float(value) for name, value in measures.items()})
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _scored_measures(task: Task, solution: Solution) -> dict[str, float]:
    """The measures of the task's axes, and of an image task no others: those take longer."""
    if task.family == "images":
        return image_measures(solution, [axis.measure for axis in IMAGE_AXES])
    measures = task.measure(solution)
    return {axis.measure: measures[axis.measure] for axis in axes_of(task.name)}


def references_of(name: str, means: Mapping[str, Means | None], seeds: int) -> dict[str, Any]:
    """The entry of a task in the file.

    Args:
        name: of the task.
        means: of its runs, by label; None where a seed missed the target loss.
        seeds: how many the means are over.

    Raises:
        InputError: the run of score_0 missed the target loss, or so many others that nothing can be told apart.
    """
    fresh = {label: row for label, row in means.items() if row is not None and label != SCORE_0}
    start = means.get(SCORE_0)
    if (start is None) if SCORE_0 in means else (len(fresh) < 2):
        raise InputError(f"{name}: too few reference runs reached the target loss: {', '.join(fresh) or 'none'}.")
    if not fresh:
        raise InputError(f"{name}: no reference run from a fresh initialization reached the target loss.")
    axes = {}
    for axis in axes_of(name):
        order = sorted(fresh, key=lambda label: fresh[label][axis.measure], reverse=axis.higher)
        best, worst = order[0], start if start is not None else fresh[order[-1]]
        axes[axis.measure] = {
            "score_0": worst[axis.measure],
            "score_1": fresh[best][axis.measure],
            "score_1_run": best,
        }
    return {"axes": axes, "runs": dict(means), "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds))}


class Progress:
    """The means of finished reference runs, kept in a file so that they are not repeated.

    Attributes:
        outdated: how many the file has of another version of the source; they are made again.
    """

    def __init__(self, path: Path, seeds: int) -> None:
        self._path, self._seeds, self.outdated = path, seeds, 0
        self._kept: list[dict[str, Any]] = []
        for row in map(json.loads, path.read_text().splitlines() if path.is_file() else ()):
            if (row["source"], row["seeds"]) == (suite_hash(), seeds):
                self._kept.append(row)
            else:
                self.outdated += 1

    def has(self, run: ReferenceRun) -> bool:
        """Whether the runs are finished."""
        return any((row["task"], row["label"]) == (run.task, run.label) for row in self._kept)

    def add(self, run: ReferenceRun, means: Means | None) -> None:
        """Keep what came of the runs."""
        row = {"source": suite_hash(), "seeds": self._seeds, "task": run.task, "label": run.label, "means": means}
        self._kept.append(row)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(f"{json.dumps(each)}\n" for each in self._kept))

    def means(self, name: str) -> dict[str, Means | None]:
        """Those of a task, by label."""
        return {row["label"]: row["means"] for row in self._kept if row["task"] == name}


def write_references(path: Path, entries: Mapping[str, Any]) -> None:
    """Put the entries of some tasks into the file of frozen references; those of others stay."""
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | dict(entries), indent=1, sort_keys=True) + "\n")


def training_share(run: ReferenceRun) -> float:
    """How many times the training of one of the task's scored runs by plain SGD a run from its adversarial start takes.

    1 for other runs. It is counted in samples, by the gradient evaluations of the references that are frozen now.
    """
    task = find_task(run.task)
    known = frozen().get(run.task, {}).get("runs", {}).get("sgd {'lr': 0.1}")
    if not run.adversarial or known is None:
        return 1.0
    wrong, _ = ADVERSARIAL_INITS[run.task]
    problem = task.problem(FIRST_SEED)
    batch = task.batch_size or len(problem.train)
    trained = from_adversarial_init(task, *ADVERSARIAL_INITS[run.task]).target.budget * batch
    return float((trained + pretraining_samples(problem, wrong)) / (known["gradient_evaluations"] * batch))


def finished_entries(runs: Iterable[ReferenceRun], progress: Progress, seeds: int) -> dict[str, Any]:
    """The entries of the tasks of `runs`, all of which are finished."""
    return {name: references_of(name, progress.means(name), seeds) for name in dict.fromkeys(run.task for run in runs)}


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
