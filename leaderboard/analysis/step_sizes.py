"""Scores as functions of the step size, where several settings of a submission were measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard.analysis.results import Results, frame_of, measured
from leaderboard.analysis.scoring import add_scores
from suite.storage.record import Record


@dataclass(frozen=True)
class StepSize:
    """What a submission scored on an axis of a task with one step size.

    Attributes:
        name: the hyper-parameter that is the step size: ``lr``, else the first number that was tuned.
        value: the step size.
        edge: the step size as a fraction of the largest with which every run reached the target loss; None where none.
        score: the mean over runs; 0 for one that missed the target loss.
        runs, converged: how many there are, and how many reached the target loss.
    """

    submission: str
    task: str
    axis: str
    name: str
    value: float
    edge: float | None
    score: float
    runs: int
    converged: int


def step_sizes(results: Results, kind: str) -> list[StepSize]:
    """The scores of every step size that was measured, tuning runs too, by task, axis, submission and step size.

    Submissions and tasks of which one step size alone was measured are left out.
    """
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in results.records:
        if record["kind"] == kind and measured(record):
            groups[record["submission"], record["task"]].append(record)
    found: list[StepSize] = []
    for (submission, task), records in groups.items():
        name = step_size_of([record["hyperparameters"] for record in records])
        if name is None:
            continue
        by_value: defaultdict[float, list[Record]] = defaultdict(list)
        for record in records:
            by_value[record["hyperparameters"][name]].append(record)
        trained = [value for value, runs in by_value.items() if all(run["converged"] for run in runs)]
        edge = max(trained, default=None)
        for value, runs in by_value.items():
            means = add_scores(frame_of(runs)).groupby("axis", observed=True)["score"].mean()
            found += [
                StepSize(
                    submission,
                    task,
                    str(axis),
                    name,
                    value,
                    value / edge if edge else None,
                    float(mean),
                    len(runs),
                    sum(run["converged"] for run in runs),
                )
                for axis, mean in means.items()
            ]
    return sorted(found, key=lambda point: (point.task, point.axis, point.submission, point.value))


def step_size_of(settings: Sequence[Mapping[str, Any]]) -> str | None:
    """The hyper-parameter that is the step size: ``lr``, else the first number that differs; None where none does."""
    varied = [
        name
        for name in (settings[0] if settings else ())
        if all(isinstance(setting.get(name), int | float) for setting in settings)
        and len({setting[name] for setting in settings}) > 1
    ]
    return "lr" if "lr" in varied else next(iter(varied), None)
