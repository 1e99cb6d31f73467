"""Two sets of results -> differences, and which of them are regressions.

For every submission that both sets have, on the tasks and seeds that both have:

    summaries    overall score, axes, cost, runs at the target loss, and all measures together
    single tasks every axis' score, its measure on the measure's own scale, cost, runs at the target loss

    scores       Student's paired t with Welch's degrees of freedom, as in the ranking
    measures,    paired t; the variance of few seeds is moderated by all samples of the comparison, each in units of
    costs        the scatter that the shipped records show on its task (`moderation`), and never lowered
    runs at the  sign test over seeds (McNemar's exact test); where the runs of a pair had the same data, each that was
    target loss  lost is told by name, and more lost than gained is a regression whatever the test says
    all measures sign-flip permutation test over all seeds of all tasks, where no normality is assumed; measures of one
                 run keep their signs to each other

Many differences are tested, so each interval is wider than 95 %: the 5 % of false alarms are halved between summaries
and single tasks, and each half is divided by the number of differences in it (Bonferroni). All intervals of a
comparison hold together in 95 % of the comparisons of equals. Tasks on which all records are identical are no tests.

What excludes 0 and is within the tolerance is a `change`, and no regression. Runs of a pair share data and
initialization, so that a few seeds show changes of a percent; code that should do what it did may not make any.

A comparison of equals is silent, and so is one that cannot find anything: where fewer than two seeds of BASE reached
the target loss on a task, no measure of it can become worse, and the comparison is `blind` there.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from leaderboard.analysis.differences import Differences, Stratum, paired_differences
from leaderboard.analysis.moderation import fit_prior
from leaderboard.analysis.paired_runs import COST, COSTS, Sample, TaskPairs, paired, usual_scatter
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores, tabulate
from leaderboard.analysis.statistics import (
    SIGNIFICANCE,
    Array,
    Interval,
    critical_value,
    sign_flip_p_value,
)
from suite.errors import InputError
from suite.storage.record import Record

TOLERANCE = 0.02
"""Differences of a score, or of a measure in shares of its distance from score_0 to score_1, up to this are accepted:
scores of one submission on other seeds differ by half as much."""

COST_TOLERANCE = 0.1
"""A rise of the gradient evaluations up to this share is accepted."""

SLIGHT = 1e-3
"""Differences up to this share say nothing of code: another order of sums may shift all runs alike by so much."""

OVERALL, TARGET, MEASURES = "overall", "runs at the target loss", "all measures"


class Verdict(StrEnum):
    """What became of a quantity."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    CHANGE = "change"
    """Its interval excludes 0, and it is within the tolerance."""
    SAME = "same"
    IDENTICAL = "identical"
    """Every record is what it was."""


class Quantity(StrEnum):
    """What a difference is of."""

    SCORE = "score"
    MEASURE = "measure"
    COST = "cost"
    TARGET = "runs"


@dataclass(frozen=True)
class Difference:
    """NEW minus BASE of one submission.

    Attributes:
        task: empty for what is summed up over tasks.
        axis: an axis or `OVERALL`, a measure or `MEASURES`, `COST`, or `TARGET`.
        base, new: the score, the measure, the gradient evaluations, or the number of runs, of either set.
        difference: positive is better: of scores, or of measures in shares of the distance from score_0 to score_1; of
            costs the logarithm of the ratio, where negative is better; of runs the share of all.
        seeds: how many it rests on per task.
        p_value: of the exact test, where that decides.
    """

    submission: str
    task: str
    axis: str
    base: float
    new: float
    difference: Interval
    seeds: int
    verdict: str
    quantity: Quantity = Quantity.SCORE
    p_value: float | None = None


@dataclass(frozen=True)
class Comparison:
    """All differences, and notes on what could not be compared.

    Attributes:
        blind: submission -> the tasks on which nothing can become worse.
        compared: submission -> the number of tasks.
    """

    differences: list[Difference]
    notes: list[str]
    blind: dict[str, list[str]] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    @property
    def regressions(self) -> list[Difference]:
        """What became worse."""
        return [difference for difference in self.differences if difference.verdict == Verdict.REGRESSION]

    @property
    def improvements(self) -> list[Difference]:
        """What became better."""
        return [difference for difference in self.differences if difference.verdict == Verdict.IMPROVEMENT]

    @property
    def changes(self) -> list[Difference]:
        """What changed for sure and within the tolerance."""
        return [difference for difference in self.differences if difference.verdict == Verdict.CHANGE]

    @property
    def blind_submissions(self) -> list[str]:
        """The submissions that cannot become worse on any task."""
        return [name for name, tasks in self.blind.items() if len(tasks) == self.compared[name]]


@dataclass(frozen=True)
class _Estimate:
    """A difference without bounds and verdict; its standard error and degrees of freedom, or its p-value."""

    difference: Difference
    error: float = math.nan
    freedom: float = 0.0
    by_name: bool = False
    """A regression whatever the test says."""


def compare(
    base: Results,
    new: Results,
    tolerance: float = TOLERANCE,
    cost_tolerance: float = COST_TOLERANCE,
    *,
    shipped: Results | None = None,
    level: float = SIGNIFICANCE,
) -> Comparison:
    """Compare all submissions that both sides have, on the tasks and seeds that both have.

    Args:
        base, new: the two sets of results.
        tolerance: differences of scores and measures up to this are no regression.
        cost_tolerance: nor is a rise of the gradient evaluations up to this share.
        shipped: records of any submissions on the same tasks, which show how runs usually scatter there.
        level: of all tests together.

    Raises:
        InputError: nothing is shared, they are of two boards, or a task's seed has other data in the other set.
    """
    _check_data(base, new)
    pairs = paired(base, new)
    if not pairs:
        raise InputError("The two results share no run of a submission: there is nothing to compare.")
    identical = {(one.submission, one.task) for one in pairs if one.identical}
    estimates = [*_scores(base, new), *_samples(pairs, shipped), *_runs_at_target(pairs)]
    tested = [estimate for estimate in estimates if not _is_identical(estimate.difference, pairs, identical)]
    tests = Counter(bool(estimate.difference.task) for estimate in tested)
    differences = []
    for estimate in estimates:
        if _is_identical(estimate.difference, pairs, identical):
            value = estimate.difference.difference.value
            bounds = (value, value) if estimate.difference.seeds > 1 else (math.nan, math.nan)
            interval = Interval(value, *bounds)
            differences.append(replace(estimate.difference, difference=interval, verdict=Verdict.IDENTICAL))
            continue
        tolerances = {Quantity.COST: math.log1p(cost_tolerance), Quantity.TARGET: 0.0}
        allowed = tolerances.get(estimate.difference.quantity, tolerance)
        differences.append(_judge(estimate, level / 2 / tests[bool(estimate.difference.task)], allowed))
    blind: defaultdict[str, list[str]] = defaultdict(list)
    for one in pairs:
        if one.blind:
            blind[one.submission].append(one.task)
    compared = Counter(one.submission for one in pairs)
    order = {name: place for place, name in enumerate(compared)}
    differences.sort(key=lambda difference: (order[difference.submission], difference.task))
    return Comparison(differences, _notes(base, new, pairs), dict(blind), dict(compared))


def _is_identical(difference: Difference, pairs: Sequence[TaskPairs], identical: set[tuple[str, str]]) -> bool:
    """Whether all records behind a difference are identical."""
    return all(
        (one.submission, one.task) in identical
        for one in pairs
        if one.submission == difference.submission and difference.task in ("", one.task)
    )


def _judge(estimate: _Estimate, level: float, tolerance: float) -> Difference:
    """The difference with its interval at `level`, and the verdict."""
    difference, value = estimate.difference, estimate.difference.difference.value
    half = float(critical_value(estimate.freedom, level)) * estimate.error if estimate.error else 0.0
    interval = Interval(value, value - half, value + half)
    apart = interval.low > 0 or interval.high < 0
    if difference.p_value is not None:
        interval, apart = Interval(value, math.nan, math.nan), difference.p_value <= level
    verdict = Verdict.SAME
    if (apart and abs(value) > tolerance) or estimate.by_name:
        worse = value > 0 if difference.quantity is Quantity.COST else value < 0
        verdict = Verdict.REGRESSION if worse else Verdict.IMPROVEMENT
    elif apart and abs(value) > SLIGHT:
        verdict = Verdict.CHANGE
    return replace(difference, difference=interval, verdict=verdict)


def _check_data(base: Results, new: Results) -> None:
    if base.board_version != new.board_version:
        raise InputError(
            f"BASE is of board {base.board_version} and NEW of board {new.board_version}; their scores cannot be "
            "compared."
        )
    fingerprints = {(record["task"], record["seed"]): record["data_fingerprint"] for record in base.scored()}
    for record in new.scored():
        before, after = fingerprints.get((record["task"], record["seed"])), record["data_fingerprint"]
        if None not in (before, after) and before != after:
            raise InputError(
                f"Task {record['task']!r}, seed {record['seed']} has other data in the two results; they cannot be "
                f"compared."
            )


def _notes(base: Results, new: Results, pairs: Sequence[TaskPairs]) -> list[str]:
    """What was lost, and what was not compared or is not comparable."""
    notes = []
    for one in pairs:
        lost = [f"{run['seed']}" + (f" (trial {run['trial']})" if run["trial"] else "") for run in one.changed(True)]
        if lost and one.share_data:
            notes.append(
                f"{one.submission} on {one.task}: at the target loss in BASE and not in NEW: seed {', '.join(lost)}."
            )
    in_base, in_new = ({(r["submission"], r["task"]) for r in results.scored()} for results in (base, new))
    for side, only in (("BASE", in_base - in_new), ("NEW", in_new - in_base)):
        for submission in sorted({name for name, _ in only}):
            tasks = sorted(task for name, task in only if name == submission)
            notes.append(f"Only {side} holds {submission} on {', '.join(tasks)}.")
    before, after = ({(r["task"], r["seed"]): r["axes"] for r in results.scored()} for results in (base, new))
    changed = sorted({key[0] for key in before.keys() & after.keys() if before[key] != after[key]})
    if changed:
        notes.append(f"Measures or references of {', '.join(changed)} differ, and with them the scores of equal runs.")
    return notes


def _scores(base: Results, new: Results) -> Iterator[_Estimate]:
    """The differences of all scores."""
    frames = [add_scores(results.frame()) for results in (base, new)]
    names = set(frames[0]["submission"]) & set(frames[1]["submission"])
    for name in sorted(names):
        yield from _scores_of_one(name, *frames)


def _scores_of_one(name: str, base: pd.DataFrame, new: pd.DataFrame) -> Iterator[_Estimate]:
    """All scores of one submission, on the runs that both sets have."""
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
    for cell in scores.cells:
        yield _estimate(name, cell.task, cell.axis, cell.means(), cell.differences(), seeds[cell.task])


def _estimate(
    name: str,
    task: str,
    axis: str,
    values: Array,
    differences: Differences,
    seeds: int,
    quantity: Quantity = Quantity.SCORE,
) -> _Estimate:
    """values [2]: of BASE and NEW; differences [2, 2]."""
    value, error, freedom = (
        float(array[1, 0]) for array in (differences.difference, differences.spread.error, differences.spread.freedom)
    )
    interval = Interval(value, math.nan, math.nan)
    made = Difference(name, task, axis, float(values[0]), float(values[1]), interval, seeds, Verdict.SAME, quantity)
    return _Estimate(made, error, freedom)


def _samples(pairs: Sequence[TaskPairs], shipped: Results | None) -> Iterator[_Estimate]:
    """Measures and costs: of every task, and summed up over the tasks of a submission."""
    scatter = {} if shipped is None else usual_scatter(shipped)
    found = [(one, sample) for one in pairs for sample in one.samples() if len(sample.seeds) > 1]
    scales = np.array([scatter.get((one.task, sample.name), math.nan) for one, sample in found])
    freedoms = np.array([len(sample.seeds) - 1 for _, sample in found], dtype=float)
    variances = np.array([np.var(sample.differences, ddof=1) for _, sample in found])
    # Where no scale is known, a sample has its own variance alone: measures of different tasks have no common one.
    known = ~np.isnan(scales)
    scales[~known] = 1.0
    relative = variances / scales**2
    prior = fit_prior(relative[known], freedoms[known])
    moderated, freedom = prior.moderated(relative, freedoms)
    moderated = np.where(known, np.fmax(moderated, relative), relative)
    freedom = np.where(known, np.minimum(freedom, freedoms[known].sum()), freedoms)
    for (one, sample), scale, variance, degrees in zip(found, scales, moderated, freedom, strict=True):
        quantity = Quantity.COST if sample.name in COSTS else Quantity.MEASURE
        value, count = float(sample.differences.mean()), len(sample.seeds)
        interval = Interval(value, math.nan, math.nan)
        made = Difference(
            one.submission, one.task, sample.name, sample.base, sample.new, interval, count, Verdict.SAME, quantity
        )
        yield _Estimate(made, scale * math.sqrt(variance / count), float(degrees))
    for name in dict.fromkeys(one.submission for one in pairs):
        own = [(one.task, sample) for one, sample in found if one.submission == name]
        runs = [pair for one in pairs if one.submission == name for pair in one.pairs]
        yield from _cost(name, [sample for _, sample in own if sample.name == COST], runs)
        yield from _all_measures(name, [one for one in own if one[1].name not in COSTS], scatter)


def _cost(name: str, samples: Sequence[Sample], runs: Sequence[tuple[Record, Record]]) -> Iterator[_Estimate]:
    """The log ratio of gradient evaluations, mean over tasks, of the runs that reached the target loss in both sets.

    Stated beside it are the means over all runs of each set, which are what tables show.
    """
    if samples:
        strata = [Stratum(np.stack([0 * sample.differences, sample.differences]) / len(samples)) for sample in samples]
        means = np.array([np.mean([run["gradient_evaluations"] for run in side]) for side in zip(*runs, strict=True)])
        seeds = min(len(sample.seeds) for sample in samples)
        yield _estimate(name, "", COST, means, paired_differences(strata), seeds, Quantity.COST)


def _all_measures(
    name: str, samples: Sequence[tuple[str, Sample]], scatter: Mapping[tuple[str, str], float]
) -> Iterator[_Estimate]:
    """All measures of all tasks: what is usual on a task is the unit, signs are flipped seed by seed.

    Measures of one run depend on each other, so that those of a task's seed change their signs together.
    """
    if not samples or all(not sample.differences.any() for _, sample in samples):
        return
    sums: defaultdict[tuple[str, int], float] = defaultdict(float)
    for task, sample in samples:
        # A unit from the sample itself must not know its signs.
        parts = sample.differences / (scatter.get((task, sample.name)) or _size(sample)) / len(sample.seeds)
        for seed, part in zip(sample.seeds, parts, strict=True):
            sums[task, seed] += part
    parts = np.array(list(sums.values()))
    value = float(np.mean([sample.differences.mean() for _, sample in samples]))
    p_value = sign_flip_p_value(parts) if value * parts.sum() > 0 else 1.0
    seeds = min(len(sample.seeds) for _, sample in samples)
    interval = Interval(value, math.nan, math.nan)
    yield _Estimate(
        Difference(name, "", MEASURES, math.nan, math.nan, interval, seeds, Verdict.SAME, Quantity.MEASURE, p_value)
    )


def _size(sample: Sample) -> float:
    """The root mean square of the differences; 1 where they are 0."""
    return float(np.sqrt(np.mean(sample.differences**2))) or 1.0


def _runs_at_target(pairs: Sequence[TaskPairs]) -> Iterator[_Estimate]:
    """How many runs reached the target loss: on every task, and on all tasks of a submission."""
    groups: defaultdict[tuple[str, str], list[TaskPairs]] = defaultdict(list)
    for one in pairs:
        groups[one.submission, ""].append(one)
        groups[one.submission, one.task].append(one)
    for (name, task), group in groups.items():
        yield _target(name, task, group)


def _target(name: str, task: str, group: Sequence[TaskPairs]) -> _Estimate:
    from scipy.stats import binomtest

    runs = [pair for one in group for pair in one.pairs]
    base, new = (sum(bool(run["converged"]) for run in side) for side in zip(*runs, strict=True))
    lost, gained = map(sum, zip(*(one.balance() for one in group), strict=True))
    p_value = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    value = Interval((new - base) / len(runs), math.nan, math.nan)
    seeds = min(one.seeds for one in group)
    by_name = bool(task) and new < base and all(one.share_data for one in group)
    made = Difference(name, task, TARGET, base, new, value, seeds, Verdict.SAME, Quantity.TARGET, p_value)
    return _Estimate(made, by_name=by_name)
