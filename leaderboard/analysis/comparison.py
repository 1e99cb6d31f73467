"""Two sets of results -> differences with intervals, and which of them are regressions.

For every submission that both sets have: the overall score, the axes, every axis of every task, and the gradient
evaluations to the target loss. Runs of one seed share data and initialization, so differences are paired; their
intervals are Student's with Welch's degrees of freedom, as in the ranking.

    estimate every difference and its standard error
    judge each at the level  5 % / 2 / number of summaries       overall scores, axes and costs
                         or  5 % / 2 / number of task scores     every axis of every task

Many differences are tested, so each interval is wider than 95 %: the 5 % of false alarms are halved between summaries
and single tasks, and each half is divided by the number of differences in it (Bonferroni). All intervals of a
comparison hold together in 95 % of the comparisons of equals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from leaderboard.analysis.differences import Differences, Stratum, paired_differences
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores, tabulate
from leaderboard.analysis.statistics import (
    SIGNIFICANCE,
    Array,
    Interval,
    critical_value,
)
from suite.errors import InputError

TOLERANCE = 0.02
"""Differences of a score up to this are accepted: runs of one submission on other seeds differ by half as much."""

COST_TOLERANCE = 0.1
"""A rise of the gradient evaluations up to this share is accepted."""

OVERALL, COST = "overall", "gradient evaluations"


@dataclass(frozen=True)
class Difference:
    """NEW minus BASE of one submission.

    Attributes:
        task: empty for what is summed up over tasks.
        axis: an axis, or `OVERALL`, or `COST`.
        base, new: the score of either set, or the mean gradient evaluations.
        difference: of the scores (regressions are negative), or the logarithm of the ratio of costs (regressions are
            positive).
        seeds: how many it rests on per task.
        verdict: regression, improvement or same.
    """

    submission: str
    task: str
    axis: str
    base: float
    new: float
    difference: Interval
    seeds: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All differences, and notes on what could not be compared."""

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


_Estimate = tuple[Difference, float, float]
"""A difference without bounds and verdict, its standard error and degrees of freedom."""


def compare(
    base: Results, new: Results, tolerance: float = TOLERANCE, cost_tolerance: float = COST_TOLERANCE
) -> Comparison:
    """Compare all submissions that both sets have, on the tasks and seeds that both have.

    Args:
        base, new: the two sets of results.
        tolerance: differences of scores up to this are no regression.
        cost_tolerance: nor is a rise of the gradient evaluations up to this share.

    Raises:
        InputError: nothing is shared, or a task's seed has other data in the other set.
    """
    _check_data(base, new)
    frames = [add_scores(results.frame()) for results in (base, new)]
    in_base, in_new = (set(zip(frame["submission"], frame["kind"], strict=True)) for frame in frames)
    estimates = [estimate for name, _ in sorted(in_base & in_new) for estimate in _compare_one(name, *frames)]
    if not estimates:
        raise InputError("The two results share no submission with two seeds of one task: there is nothing to compare.")
    tests = Counter(bool(difference.task) for difference, _, _ in estimates)
    tolerances = {COST: math.log1p(cost_tolerance)}
    differences = []
    for difference, error, freedom in estimates:
        level = SIGNIFICANCE / 2 / tests[bool(difference.task)]
        half = float(critical_value(freedom, level)) * error if error else 0.0
        differences.append(_judge(difference, half, tolerances.get(difference.axis, tolerance)))
    return Comparison(differences, _notes(base, new))


def _judge(difference: Difference, half: float, tolerance: float) -> Difference:
    """`difference` with an interval of `half` to either side, and the verdict."""
    value = difference.difference.value
    interval = Interval(value, value - half, value + half)
    verdict = "same"
    if (interval.low > 0 or interval.high < 0) and abs(value) > tolerance:
        worse = value > 0 if difference.axis == COST else value < 0
        verdict = "regression" if worse else "improvement"
    return replace(difference, difference=interval, verdict=verdict)


def _check_data(base: Results, new: Results) -> None:
    fingerprints = {(record["task"], record["seed"]): record["data_fingerprint"] for record in base.scored()}
    for record in new.scored():
        before, after = fingerprints.get((record["task"], record["seed"])), record["data_fingerprint"]
        if None not in (before, after) and before != after:
            raise InputError(
                f"Task {record['task']!r}, seed {record['seed']} has other data in the two results; they cannot be "
                f"compared."
            )


def _notes(base: Results, new: Results) -> list[str]:
    """What was not compared, or is not comparable."""
    notes = []
    in_base, in_new = ({(r["submission"], r["task"]) for r in results.scored()} for results in (base, new))
    for side, pairs in (("BASE", in_base - in_new), ("NEW", in_new - in_base)):
        for submission in sorted({name for name, _ in pairs}):
            tasks = sorted(task for name, task in pairs if name == submission)
            notes.append(f"Only {side} holds {submission} on {', '.join(tasks)}.")
    before, after = ({r["task"]: r["axes"] for r in results.scored() if r["seed"] == 0} for results in (base, new))
    changed = sorted(task for task in before.keys() & after.keys() if before[task] != after[task])
    if changed:
        notes.append(f"Measures or references of {', '.join(changed)} differ, and with them the scores of equal runs.")
    return notes


def _compare_one(name: str, base: pd.DataFrame, new: pd.DataFrame) -> Iterator[_Estimate]:
    """All differences of one submission, on the runs that both sets have."""
    frames = [frame[frame["submission"] == name].set_index(["task", "axis", "seed"]) for frame in (base, new)]
    shared = frames[0].index.intersection(frames[1].index)
    counts = Counter(task for task, _ in {(task, seed) for task, _, seed in shared})
    shared = shared[shared.get_level_values("task").isin([task for task, count in counts.items() if count > 1])]
    if not len(shared):
        return
    # BASE and NEW become two submissions, 0 and 1, of one table.
    frame = pd.concat([frame.loc[shared].reset_index().assign(submission=n) for n, frame in enumerate(frames)])
    scores = tabulate(frame)
    seeds = {cell.task: len(cell.seeds) for cell in scores.cells}
    yield _estimate(name, "", OVERALL, scores.overall, scores.differences(), min(seeds.values()))
    for axis, means in scores.axis_means.items():
        yield _estimate(name, "", axis, means, scores.differences(axis), min(seeds.values()))
    yield from _cost(name, frame)
    for cell in scores.cells:
        yield _estimate(name, cell.task, cell.axis, cell.means(), cell.differences(), seeds[cell.task])


def _estimate(name: str, task: str, axis: str, values: Array, differences: Differences, seeds: int) -> _Estimate:
    """values [2]: of BASE and NEW; differences [2, 2]."""
    value, error, freedom = (
        float(array[1, 0]) for array in (differences.difference, differences.spread.error, differences.spread.freedom)
    )
    interval = Interval(value, math.nan, math.nan)
    return Difference(name, task, axis, float(values[0]), float(values[1]), interval, seeds, "same"), error, freedom


def _cost(name: str, frame: pd.DataFrame) -> Iterator[_Estimate]:
    """The log ratio of gradient evaluations, mean over tasks, of the runs that reached the target loss in both sets.

    Stated beside it are the means over all runs of each set, which are what tables show.
    """
    runs = frame.drop_duplicates(["submission", "task", "trial", "seed"])
    evaluations, converged = (
        runs.pivot_table(index="submission", columns=["task", "seed"], values=column, observed=True)
        for column in ("gradient_evaluations", "converged")
    )
    both = evaluations.loc[:, converged.min() == 1]
    tasks = both.columns.get_level_values("task")
    strata = [np.log(both.loc[:, tasks == task].to_numpy()) for task in dict.fromkeys(tasks)]
    if strata:
        means = runs.groupby("submission", observed=True)["gradient_evaluations"].mean().loc[both.index].to_numpy()
        seeds = min(stratum.shape[1] for stratum in strata)
        differences = paired_differences([Stratum(stratum / len(strata)) for stratum in strata])
        yield _estimate(name, "", COST, means, differences, seeds)
