"""Scores: what every run scored, and how runs, tasks and families combine. Pure functions.

The contract of all arrays: submissions x tasks x seeds. A `Cell` is one axis of one task and holds
[submissions, seeds], NaN where a submission lacks the seed; `Scores` is the list of all cells, whose rows are the same
submissions. All axes of a task have the same columns, one for each seed that anyone ran. Arrays over resampled seeds
are [submissions, resamples].

    score   = clip(g(score_0, value) / g(score_0, score_1), 0, 1.25)     of a run; 0 if it missed the target loss
    cell    = mean over seeds
    axis    = mean over families of the mean over the family's tasks
    overall = geometric mean of the axes

Each axis of each task has two frozen references, whose scores are 0 and 1, so a score depends on nobody else in the
table. The geometric mean keeps one axis from making up for another. Intervals and tests treat the seeds within tasks
as the source of variance, jointly for all submissions, because submissions share seeds (Agarwal et al. 2021,
arXiv:2108.13264, on why and how to report intervals over few runs).
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from leaderboard.analysis.differences import Differences, Source, Stratum, paired_differences, spread
from leaderboard.analysis.statistics import (
    Array,
    Interval,
    Spread,
    bootstrap_counts,
    expansion,
    geometric_mean,
    nanmean,
)

AXES = ("flatness", "norm", "generalization")
"""The order of the axes. `suite.task.AXES` is the same, in a module that imports torch; a test compares the two."""

CEILING = 1.25
"""No run scores more: a solution better than `score_1` must not make up for others."""

RESAMPLES = 2_000
BOOTSTRAP_SEED = 20180813


def axis_score(
    value: ArrayLike, score_0: ArrayLike, score_1: ArrayLike, log: ArrayLike, floor: ArrayLike, converged: ArrayLike
) -> Array:
    """``clip(g(score_0, value) / g(score_0, score_1), 0, 1.25)`` elementwise; all arguments broadcast.

    g(a, b) is ``log a - log b`` on a log scale, with value and score_1 bounded below by `floor` (NaN: no bound), and
    ``a - b`` on a linear one. A NaN among value and references scores 0, and so does a run that has not converged.
    """
    value, score_0, score_1, floor = (np.asarray(a, dtype=float) for a in (value, score_0, score_1, floor))
    bound = np.where(np.isnan(floor), 0.0, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(a) for a in (score_0, np.maximum(value, bound), np.maximum(score_1, bound))]
        ratio = np.where(log, (logs[0] - logs[1]) / (logs[0] - logs[2]), (score_0 - value) / (score_0 - score_1))
    ratio = np.where(np.isnan(ratio) | np.isnan(value) | ~np.asarray(converged, dtype=bool), 0.0, ratio)
    return np.clip(ratio, 0.0, CEILING)


def add_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` (of `Results.frame`) with a column `score` for each run and axis."""
    score = axis_score(
        frame["value"], frame["score_0"], frame["score_1"], frame["scale"] == "log", frame["floor"], frame["converged"]
    )
    return frame.assign(score=score)


@dataclass(frozen=True)
class Cell:
    """One axis of one task: what every run scored and measured.

    Attributes:
        higher: whether larger values of the measure are better.
        seeds: the columns.
        scores: [submissions, seeds], NaN where a submission lacks the seed.
        measured: [submissions, seeds], NaN also where a run missed the target loss.
        searches: [submissions, seeds], the number of the tuning search whose setting the run was made with.
    """

    task: str
    family: str
    axis: str
    measure: str
    higher: bool
    seeds: tuple[int, ...]
    scores: Array
    measured: Array
    searches: NDArray[np.intp]

    @property
    def stratum(self) -> Stratum:
        """The scores, as what runs contribute."""
        return Stratum(self.scores, self.searches)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whether every run of a submission [submissions] reached the target loss and was measured."""
        return np.asarray((np.isnan(self.measured) == np.isnan(self.scores)).all(axis=1))

    def means(self) -> Array:
        """The mean score [submissions] over seeds; NaN for a submission that lacks the task."""
        return nanmean(self.scores.T)

    @functools.cached_property
    def patterns(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(submissions, seeds): pairs of indices, one for each group of submissions with equal seeds and searches."""
        known = np.where(np.isnan(self.scores), -1, self.searches)
        patterns, group = np.unique(known, axis=0, return_inverse=True)
        return [(np.flatnonzero(group.ravel() == n), np.flatnonzero(seeds >= 0)) for n, seeds in enumerate(patterns)]

    def resampled(self, resamples: int) -> Array:
        """Means [submissions, resamples] over resampled seeds, about the mean of each search.

        The draw depends on the task and the number of seeds alone: all axes and all submissions with the same seeds are
        resampled jointly, and nobody's interval depends on who else is there. Deviations are scaled by
        sqrt(n / (n - searches)), because a bootstrap of n seeds underestimates their variance by that much.
        """
        result = np.full((len(self.scores), resamples), np.nan)
        for rows, columns in self.patterns:
            count = len(columns)
            if not count:
                continue
            scores, searches = self.scores[np.ix_(rows, columns)], self.searches[rows[0], columns]
            about = scores.copy()
            for search in set(searches.tolist()):
                about[:, searches == search] -= scores[:, searches == search].mean(axis=1, keepdims=True)
            generator = np.random.default_rng([BOOTSTRAP_SEED, *self.task.encode()])
            deviation = about @ bootstrap_counts(count, resamples, generator).T
            free = count - len(set(searches.tolist()))
            scale = math.sqrt(count / free) if free else math.nan
            result[rows] = np.clip(scores.mean(axis=1, keepdims=True) + scale * deviation, 0.0, CEILING)
        return result

    def differences(self) -> Differences:
        """All pairs of submissions compared on this cell."""
        return paired_differences([self.stratum])

    def estimates(self) -> list[Interval]:
        """The mean scores [submissions] with their intervals."""
        return intervals(self.means(), self.resampled(RESAMPLES), spread([self.stratum]))


def intervals(values: Array, samples: Array, spread: Spread) -> list[Interval]:
    """Bootstrap percentile intervals, widened for few seeds (see `statistics.expansion`).

    `values` are estimates [submissions] with their `spread`, `samples` the same over resampled seeds
    [submissions, resamples]. Intervals are within [0, 1.25].
    """
    bounds = values + expansion(spread.freedom) * (np.percentile(samples, [2.5, 97.5], axis=1) - values)
    low, high = np.clip(bounds, 0.0, CEILING)
    return [Interval(*map(float, row)) for row in zip(values, low, high, strict=True)]


@dataclass(frozen=True)
class Scores:
    """All scores of one kind of submission: `names` are the rows of every cell."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def axes(self) -> list[str]:
        """The axes that some task has, in the order of `AXES`."""
        return [axis for axis in AXES if any(cell.axis == axis for cell in self.cells)]

    @property
    def tasks(self) -> list[str]:
        """The tasks, each once."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    def only(self, names: Iterable[str]) -> Scores:
        """The scores of the submissions `names` alone."""
        wanted = set(names)
        rows = [row for row, name in enumerate(self.names) if name in wanted]
        cells = [
            replace(cell, scores=cell.scores[rows], measured=cell.measured[rows], searches=cell.searches[rows])
            for cell in self.cells
        ]
        return Scores(tuple(self.names[row] for row in rows), tuple(cells))

    def of_tasks(self, tasks: Iterable[str]) -> Scores:
        """The scores on `tasks` alone."""
        wanted = set(tasks)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.task in wanted))

    def combine(self, values: Sequence[Array]) -> dict[str, Array]:
        """Axis -> mean over the tasks of a family, then over families, [submissions, ...].

        `values` has an array [submissions, ...] per cell, NaN where a submission lacks the task.
        """
        families: defaultdict[tuple[str, str], list[Array]] = defaultdict(list)
        for cell, value in zip(self.cells, values, strict=True):
            families[cell.axis, cell.family].append(value)
        means = {key: nanmean(tasks) for key, tasks in families.items()}
        return {axis: nanmean([mean for (of_axis, _), mean in means.items() if of_axis == axis]) for axis in self.axes}

    @functools.cached_property
    def axis_means(self) -> dict[str, Array]:
        """Axis -> score [submissions]."""
        return self.combine([cell.means() for cell in self.cells])

    @functools.cached_property
    def family_means(self) -> dict[str, Array]:
        """Family -> mean score [submissions] over its tasks and their axes."""
        families: defaultdict[str, list[Array]] = defaultdict(list)
        for cell in self.cells:
            families[cell.family].append(cell.means())
        return {family: nanmean(means) for family, means in sorted(families.items())}

    @functools.cached_property
    def overall(self) -> Array:
        """Overall scores [submissions]."""
        return geometric_mean(list(self.axis_means.values()))

    def of_seeds(self) -> Array:
        """Overall scores [submissions, seeds] of one seed on all tasks.

        Of the seeds that every task has: those of which some task has no run would be scored on other tasks.
        """
        common = sorted(set.intersection(*(set(cell.seeds) for cell in self.cells))) if self.cells else []
        each = [
            geometric_mean(list(self.combine([cell.scores[:, cell.seeds.index(seed)] for cell in self.cells]).values()))
            for seed in common
        ]
        return np.column_stack(each) if each else np.full((len(self.names), 0), np.nan)

    def resampled(self, resamples: int) -> dict[str, Array]:
        """Axis -> scores [submissions, resamples] over resampled seeds."""
        return self.combine([cell.resampled(resamples) for cell in self.cells])

    def resampled_overall(self, resamples: int) -> Array:
        """Overall scores [submissions, resamples] over resampled seeds."""
        return geometric_mean(list(self.resampled(resamples).values()))

    @functools.cached_property
    def weights(self) -> Array:
        """[cells, submissions]: the weight of a cell's mean in its axis score, 0 where a submission lacks the task."""
        present = [(~np.isnan(cell.means())).astype(float) for cell in self.cells]
        tasks: dict[tuple[str, str], Array] = {}
        for cell, here in zip(self.cells, present, strict=True):
            tasks[cell.axis, cell.family] = tasks.get((cell.axis, cell.family), 0.0) + here
        families = {
            axis: np.sum([count > 0 for (of_axis, _), count in tasks.items() if of_axis == axis], axis=0)
            for axis in self.axes
        }
        counts = [tasks[cell.axis, cell.family] * families[cell.axis] for cell in self.cells]
        return np.array([here / np.maximum(1.0, count) for here, count in zip(present, counts, strict=True)])

    def sensitivity(self) -> Array:
        """[cells, submissions]: the derivative of the overall score with respect to a cell's mean.

        That of the geometric mean with respect to an axis is the overall score / (number of axes * the axis score).
        """
        count = np.sum([~np.isnan(mean) for mean in self.axis_means.values()], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = {axis: self.overall / (count * mean) for axis, mean in self.axis_means.items()}
        slopes = [np.nan_to_num(factors[cell.axis], posinf=0.0) for cell in self.cells]
        return np.reshape(slopes, self.weights.shape) * self.weights

    def _strata(self, axis: str | None) -> list[Stratum]:
        """Per task, what each run contributes [submissions, seeds] to the axis score, or to first order overall."""
        of_axis = np.array([axis in (None, cell.axis) for cell in self.cells])
        slopes = (self.sensitivity() if axis is None else self.weights) * of_axis[:, None]
        tasks: defaultdict[str, list[Array]] = defaultdict(list)
        for cell, slope in zip(self.cells, slopes, strict=True):
            tasks[cell.task].append(slope[:, None] * cell.scores)
        searches = {cell.task: cell.searches for cell in self.cells}
        return [
            Stratum(np.where(np.isnan(parts).all(axis=0), np.nan, np.nansum(parts, axis=0)), searches[task])
            for task, parts in tasks.items()
        ]

    def spread(self, axis: str | None = None) -> Spread:
        """The spread [submissions] of the overall scores, or of the scores of an axis, over seeds."""
        return spread(self._strata(axis))

    def spread_over_searches(self) -> Spread:
        """The spread [submissions] of the overall scores over seeds and the draw of the tuning search."""
        return spread(self._strata(None), Source.SEARCHES, moderate=True)

    def differences(self, axis: str | None = None, source: Source = Source.SEEDS) -> Differences:
        """All pairs of submissions compared by their overall scores, or by their scores of an axis."""
        return paired_differences(self._strata(axis), source)


def tabulate(frame: pd.DataFrame) -> Scores:
    """Arrange a frame with scores, of one kind of submission, as arrays (see the contract above)."""
    submissions = frame["submission"].astype("category").cat.remove_unused_categories()
    frame = frame.assign(row=submissions.cat.codes)
    names = tuple(submissions.cat.categories)
    # All axes of a task have the same columns, so that a seed's contributions to them can be added up.
    seeds_of = {task: np.unique(seeds) for task, seeds in frame.groupby("task", observed=True)["seed"]}
    cells = []
    for (axis, family, task), part in frame.groupby(["axis", "family", "task"], sort=True, observed=True):
        seeds = seeds_of[task]
        searches = np.zeros((len(names), len(seeds)), dtype=np.intp)
        value = part["value"].where(part["converged"]).to_numpy()
        place = part["row"].to_numpy(), np.searchsorted(seeds, part["seed"].to_numpy())
        searches[place] = part["search"].to_numpy()
        tables = _over_trials(np.array([part["score"].to_numpy(), value]), place, searches)
        higher = bool((part["score_1"] > part["score_0"]).iloc[0])
        measure = str(part["measure"].iloc[0])
        cells.append(
            Cell(
                str(task),
                str(family),
                str(axis),
                measure,
                higher,
                tuple(seeds.tolist()),
                tables[0],
                tables[1],
                searches,
            )
        )
    return Scores(names, tuple(cells))


def _over_trials(values: Array, place: tuple[NDArray[Any], NDArray[Any]], searches: NDArray[np.intp]) -> Array:
    """[quantities, submissions, seeds]: means of `values` [quantities, runs] over the runs of a submission and seed.

    Where a search scores several trials, every seed must have all of them: one that lacks a run is missing.
    """
    index, size = np.ravel_multi_index(place, searches.shape), searches.size
    counts = np.bincount(index, minlength=size).reshape(searches.shape)
    sums = np.stack([np.bincount(index, part, size).reshape(searches.shape) for part in values])
    for search in np.unique(searches) if counts.max(initial=0.0) > 1 else ():
        of_search = np.where(searches == search, counts, 0)
        counts[(of_search > 0) & (of_search < of_search.max(axis=1, keepdims=True))] = 0
    return np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1)
