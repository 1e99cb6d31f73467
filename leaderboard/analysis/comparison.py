"""Two sets of results -> differences with intervals, and which of them are regressions.

For every submission that both sets hold: the overall score, the axes, every axis of every task, and the gradient
evaluations to the stop. StackedModels of one seed share data and initialisation, so differences are paired; their intervals are
Student's with Welch's degrees of freedom, as in the ranking.

Many differences are looked at, so each interval is wider than 95 %: half of the 5 % of false alarms is for what is
summed up (overall, axes and cost), half for the single tasks, and either half is divided by the number of differences
in it (Bonferroni). All intervals of a comparison hold together in 95 % of the comparisons of equals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores, tabulate
from leaderboard.analysis.statistics import (
    SIGNIFICANCE,
    Array,
    Differences,
    Interval,
    critical_value,
    paired_differences,
)
from suite.errors import InputError

TOLERANCE = 0.02
"""Differences of a score up to this are accepted: twice the noise floor of the ranking."""


COST_TOLERANCE = 0.1
"""A rise of the gradient evaluations up to this share is accepted."""


OVERALL, COST = "overall", "gradient evaluations"


@dataclass(frozen=True)
class Difference:
    """NEW minus BASE of one submission on `axis` (or overall, or the cost) of `task` (empty: of all tasks).

    Scores: the difference of scores, regressions are negative. Cost: the logarithm of the ratio, regressions are
    positive. `verdict` is regression, improvement or same.
    """

    submission: str
    task: str
    axis: str
    base: float
    new: float
    difference: Interval
    seeds: int
    verdict: str

    @property
    def label(self) -> str:
        """What is compared, in words."""
        return f"{self.submission}, {self.axis}" + (f" on {self.task}" if self.task else "")


@dataclass(frozen=True)
class Comparison:
    """All differences, and what could not be compared."""

    differences: list[Difference]
    notes: list[str]

    @property
    def regressions(self) -> list[Difference]:
        """What became worse."""
        return [difference for difference in self.differences if difference.verdict == "regression"]

    @property
    def improvements(self) -> list[Difference]:
        """What became better."""
        return [difference for difference in self.differences if difference.verdict == "improvement"]


@dataclass(frozen=True)
class _Found:
    """A difference without its interval yet: how well it is known, and of which task it is (empty: of all)."""

    submission: str
    task: str
    axis: str
    base: float
    new: float
    difference: float
    error: float
    freedom: float
    seeds: int


def compare(
    base: Results, new: Results, tolerance: float = TOLERANCE, cost_tolerance: float = COST_TOLERANCE
) -> Comparison:
    """Compare all submissions that both hold, on the tasks and seeds that both hold.

    Raises:
        InputError: nothing is shared, or a task's seed has other data in the other set.
    """
    _check_data(base, new)
    sides = [add_scores(results.frame()) for results in (base, new)]
    found = [item for name in _shared_submissions(*sides) for item in _compare_one(name, *sides)]
    if not found:
        raise InputError("The two results share no submission with two seeds of one task: there is nothing to compare.")
    summed = sum(not item.task for item in found)
    levels = {
        whole: SIGNIFICANCE / 2 / max(1, count) for whole, count in ((True, summed), (False, len(found) - summed))
    }
    bounds = {COST: math.log1p(cost_tolerance)}
    return Comparison(
        [_judge(item, levels[not item.task], bounds.get(item.axis, tolerance)) for item in found], _notes(base, new)
    )


def _judge(item: _Found, level: float, tolerance: float) -> Difference:
    half = float(critical_value(item.freedom, level)) * item.error if item.error else 0.0
    interval = Interval(item.difference, item.difference - half, item.difference + half)
    verdict = "same"
    if (interval.low > 0 or interval.high < 0) and abs(item.difference) > tolerance:
        worse = item.difference > 0 if item.axis == COST else item.difference < 0
        verdict = "regression" if worse else "improvement"
    return Difference(item.submission, item.task, item.axis, item.base, item.new, interval, item.seeds, verdict)


def _check_data(base: Results, new: Results) -> None:
    prints = {(record["task"], record["seed"]): record["data_fingerprint"] for record in base.scored()}
    for record in new.scored():
        known = prints.get((record["task"], record["seed"]))
        if None not in (known, record["data_fingerprint"]) and known != record["data_fingerprint"]:
            raise InputError(
                f"Task {record['task']!r}, seed {record['seed']} has other data in the two results; they cannot be "
                f"compared."
            )


def _notes(base: Results, new: Results) -> list[str]:
    """What was not compared, or not like with like."""
    notes = []
    old, fresh = ({(r["submission"], r["task"]) for r in results.scored()} for results in (base, new))
    for side, only in (("BASE", old - fresh), ("NEW", fresh - old)):
        for submission in sorted({name for name, _ in only}):
            tasks = sorted(task for name, task in only if name == submission)
            notes.append(f"Only {side} holds {submission} on {', '.join(tasks)}.")
    before, after = ({r["task"]: r["axes"] for r in results.scored() if r["seed"] == 0} for results in (base, new))
    changed = sorted(task for task in before.keys() & after.keys() if before[task] != after[task])
    if changed:
        notes.append(f"Measures or references of {', '.join(changed)} differ, and with them the scores of equal runs.")
    return notes


def _shared_submissions(base: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    held = [set(zip(side["submission"], side["kind"], strict=True)) for side in (base, new)]
    return sorted(name for name, _ in held[0] & held[1])


def _compare_one(name: str, base: pd.DataFrame, new: pd.DataFrame) -> Iterator[_Found]:
    """All differences of one submission, on what both hold."""
    sides = [side[side["submission"] == name].set_index(["task", "axis", "seed"]) for side in (base, new)]
    shared = sides[0].index.intersection(sides[1].index)
    lanes = Counter(task for task, _ in {(task, seed) for task, _, seed in shared})
    shared = shared[shared.get_level_values("task").isin([task for task, seeds in lanes.items() if seeds > 1])]
    if not len(shared):
        return
    # BASE and NEW are two entries of a table like any other.
    frame = pd.concat([side.loc[shared].reset_index().assign(submission=n) for n, side in enumerate(sides)])
    scores = tabulate(frame)
    seeds = {cell.task: len(cell.seeds) for cell in scores.cells}
    yield _found(name, "", OVERALL, scores.overall, scores.differences(), min(seeds.values()))
    for axis, means in scores.axis_means.items():
        yield _found(name, "", axis, means, scores.differences(axis), min(seeds.values()))
    yield from _cost(name, frame)
    for cell in scores.cells:
        yield _found(name, cell.task, cell.axis, cell.means(), cell.differences(), seeds[cell.task])


def _found(name: str, task: str, axis: str, values: Array, compared: Differences, seeds: int) -> _Found:
    error, freedom = compared.spread.error[1, 0], compared.spread.freedom[1, 0]
    return _Found(
        name, task, axis, float(values[0]), float(values[1]), float(compared.difference[1, 0]), float(error),
        float(freedom), seeds,
    )  # fmt: skip


def _cost(name: str, frame: pd.DataFrame) -> Iterator[_Found]:
    """The logarithm of the ratio of gradient evaluations, mean over tasks, of the lanes that met the stop in both."""
    lanes = frame.drop_duplicates(["submission", "task", "seed"])
    table, met = (
        lanes.pivot_table(index="submission", columns=["task", "seed"], values=column, observed=True)
        for column in ("gradient_evaluations", "converged")
    )
    both = table.loc[:, met.min() == 1]
    tasks = both.columns.get_level_values("task")
    strata = [np.log(both.loc[:, tasks == task].to_numpy()) for task in dict.fromkeys(tasks)]
    strata = [stratum / len(strata) for stratum in strata]
    if strata:
        means = np.sum([stratum.mean(axis=1) for stratum in strata], axis=0)
        seeds = min(stratum.shape[1] for stratum in strata)
        yield _found(name, "", COST, np.exp(means), paired_differences(means, strata), seeds)
