"""Frame -> scores: what every lane scored, and how lanes, tasks and families combine. Pure functions.

Each axis of each task has two frozen references, `score_0` (score 0) and `score_1` (score 1), so a score depends on nobody
else in the table. StackedModels are averaged within a task, tasks within a family, families with equal weight; the overall
score is the geometric mean of the axes, so that none can buy off another. Intervals and tests treat seeds within tasks
as what varies, jointly for all submissions, because submissions share seeds (Agarwal et al. 2021, arXiv:2108.13264, on
why and how to report intervals over few runs).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from leaderboard.analysis.statistics import (
    Array,
    Differences,
    Interval,
    Spread,
    bootstrap_counts,
    expansion,
    geometric_mean,
    mean_of_known,
    paired_differences,
    spread,
)

AXES = ("flatness", "norm", "generalization")


CEILING = 1.25
"""No lane scores more: a solution better than the score_1 must not pay for others."""


RESAMPLES = 2_000


BOOTSTRAP_SEED = 20180813


def axis_score(
    value: ArrayLike, score_0: ArrayLike, score_1: ArrayLike, log: ArrayLike, floor: ArrayLike, converged: ArrayLike
) -> Array:
    """``clip(g(score_0, value) / g(score_0, score_1), 0, 1.25)`` elementwise; all arguments broadcast.

    g(a, b) is ``log a - log b`` where `log` holds, with value and score_1 bounded below by `floor` (NaN: no floor), and
    ``a - b`` elsewhere. A lane that missed the stop or whose measure is not finite scores 0.
    """
    value, score_0, score_1, floor = (np.asarray(a, dtype=float) for a in (value, score_0, score_1, floor))
    bound = np.where(np.isnan(floor), 0.0, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(a) for a in (score_0, np.maximum(value, bound), np.maximum(score_1, bound))]
        ratio = np.where(log, (logs[0] - logs[1]) / (logs[0] - logs[2]), (score_0 - value) / (score_0 - score_1))
    ratio = np.where(np.isnan(ratio) | np.isnan(value) | ~np.asarray(converged, dtype=bool), 0.0, ratio)
    return np.clip(ratio, 0.0, CEILING)


def add_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column `score` per lane and axis."""
    score = axis_score(
        frame["value"], frame["score_0"], frame["score_1"], frame["scale"] == "log", frame["floor"], frame["converged"]
    )
    return frame.assign(score=score)


@dataclass(frozen=True)
class Cell:
    """One axis of one task: what every lane scored and measured, [submissions, seeds].

    `scores` is NaN where a submission lacks the lane, `measured` also where a lane missed the stop. `higher` says that
    larger values of the measure are better.
    """

    task: str
    family: str
    axis: str
    measure: str
    higher: bool
    seeds: tuple[int, ...]
    scores: Array
    measured: Array

    def means(self) -> Array:
        """The mean score [submissions] over seeds; NaN for a submission that lacks the task."""
        return mean_of_known(self.scores.T)

    @functools.cached_property
    def patterns(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(submissions, seeds) index pairs of the submissions that hold the same seeds."""
        held, which = np.unique(~np.isnan(self.scores), axis=0, return_inverse=True)
        return [(np.flatnonzero(which.ravel() == n), np.flatnonzero(seeds)) for n, seeds in enumerate(held)]

    def resampled(self, resamples: int) -> Array:
        """Means [submissions, resamples] over resampled seeds.

        The draw depends on the task and the number of seeds alone: all axes and all submissions with the same seeds are
        resampled jointly, and nobody's interval depends on who else is there. Deviations are scaled by
        sqrt(n / (n - 1)), without which n seeds seem to vary less than they do.
        """
        result = np.full((len(self.scores), resamples), np.nan)
        for rows, columns in self.patterns:
            count = len(columns)
            if not count:
                continue
            own = self.scores[np.ix_(rows, columns)]
            generator = np.random.default_rng([BOOTSTRAP_SEED, *self.task.encode()])
            mean = own.mean(axis=1, keepdims=True)
            deviation = (own - mean) @ bootstrap_counts(count, resamples, generator).T
            scale = math.sqrt(count / (count - 1)) if count > 1 else math.nan
            result[rows] = np.clip(mean + scale * deviation, 0.0, CEILING)
        return result

    def differences(self) -> Differences:
        """All pairs of submissions compared on this cell."""
        return paired_differences(self.means(), [self.scores])

    def estimates(self) -> list[Interval]:
        """The mean scores [submissions] with their intervals."""
        return intervals(self.means(), self.resampled(RESAMPLES), spread([self.scores]))


def intervals(values: Array, samples: Array, known: Spread) -> list[Interval]:
    """Bootstrap percentile intervals [submissions] of samples [submissions, resamples], widened for few seeds."""
    bounds = values + expansion(known.freedom) * (np.percentile(samples, [2.5, 97.5], axis=1) - values)
    low, high = np.clip(bounds, 0.0, CEILING)
    return [Interval(*map(float, row)) for row in zip(values, low, high, strict=True)]


@dataclass(frozen=True)
class Scores:
    """All scores of one kind of submission: `names` are the rows of every cell."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def axes(self) -> list[str]:
        """The axes that some task has, in their order."""
        return [axis for axis in AXES if any(cell.axis == axis for cell in self.cells)]

    @property
    def tasks(self) -> list[str]:
        """The tasks, each once."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    def only(self, names: Iterable[str]) -> Scores:
        """The scores of `names` alone."""
        wanted = set(names)
        rows = [row for row, name in enumerate(self.names) if name in wanted]
        cells = [replace(cell, scores=cell.scores[rows], measured=cell.measured[rows]) for cell in self.cells]
        return Scores(tuple(self.names[row] for row in rows), tuple(cells))

    def of_tasks(self, tasks: Iterable[str]) -> Scores:
        """The scores on `tasks` alone."""
        wanted = set(tasks)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.task in wanted))

    def combine(self, values: Sequence[Array]) -> dict[str, Array]:
        """Axis -> mean over tasks, then over families with equal weight, of one array per cell (NaN: task absent)."""
        means = {}
        for axis in self.axes:
            families: dict[str, list[Array]] = {}
            for cell, value in zip(self.cells, values, strict=True):
                if cell.axis == axis:
                    families.setdefault(cell.family, []).append(value)
            means[axis] = mean_of_known([mean_of_known(tasks) for tasks in families.values()])
        return means

    @functools.cached_property
    def axis_means(self) -> dict[str, Array]:
        """Axis -> score [submissions]."""
        return self.combine([cell.means() for cell in self.cells])

    @functools.cached_property
    def overall(self) -> Array:
        """Overall scores [submissions]."""
        return geometric_mean(list(self.axis_means.values()))

    def resampled(self, resamples: int) -> dict[str, Array]:
        """Axis -> scores [submissions, resamples] over resampled seeds."""
        return self.combine([cell.resampled(resamples) for cell in self.cells])

    def resampled_overall(self, resamples: int) -> Array:
        """Overall scores [submissions, resamples] over resampled seeds."""
        return geometric_mean(list(self.resampled(resamples).values()))

    @functools.cached_property
    def weights(self) -> Array:
        """[cells, submissions]: how much a cell's mean adds to its axis score, 0 where a submission lacks the task."""
        known = [(~np.isnan(cell.means())).astype(float) for cell in self.cells]
        tasks: dict[tuple[str, str], Array] = {}
        for cell, here in zip(self.cells, known, strict=True):
            tasks[cell.axis, cell.family] = tasks.get((cell.axis, cell.family), 0.0) + here
        families = {axis: np.sum([n > 0 for (own, _), n in tasks.items() if own == axis], axis=0) for axis in self.axes}
        return np.array(
            [
                here / np.maximum(1.0, tasks[cell.axis, cell.family] * families[cell.axis])
                for cell, here in zip(self.cells, known, strict=True)
            ]
        )

    def sensitivity(self) -> Array:
        """[cells, submissions]: the derivative of the overall score after a cell's mean.

        The geometric mean's derivative after an axis is the overall score over (number of axes times the axis score).
        """
        count = np.sum([~np.isnan(mean) for mean in self.axis_means.values()], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = {axis: self.overall / (count * mean) for axis, mean in self.axis_means.items()}
        slopes = [np.nan_to_num(factors[cell.axis], posinf=0.0) for cell in self.cells]
        return np.reshape(slopes, self.weights.shape) * self.weights

    def _strata(self, axis: str | None) -> list[Array]:
        """Per task, what each seed contributes [submissions, seeds] to the axis score, or to first order overall."""
        here = np.array([axis in (None, cell.axis) for cell in self.cells])
        slopes = (self.sensitivity() if axis is None else self.weights) * here[:, None]
        tasks: dict[str, list[Array]] = {}
        for cell, slope in zip(self.cells, slopes, strict=True):
            tasks.setdefault(cell.task, []).append(slope[:, None] * cell.scores)
        return [np.where(np.isnan(parts).all(axis=0), np.nan, np.nansum(parts, axis=0)) for parts in tasks.values()]

    def spread(self, axis: str | None = None) -> Spread:
        """How well each overall score is known, or each score of an axis."""
        return spread(self._strata(axis))

    def differences(self, axis: str | None = None) -> Differences:
        """All pairs compared by their overall scores, or by their scores of an axis."""
        return paired_differences(self.overall if axis is None else self.axis_means[axis], self._strata(axis))


def tabulate(frame: pd.DataFrame) -> Scores:
    """The frame of one kind of submission, with scores, as arrays."""
    submissions = frame["submission"].astype("category").cat.remove_unused_categories()
    frame = frame.assign(row=submissions.cat.codes)
    names = tuple(submissions.cat.categories)
    # All axes of a task have the same columns, so that a seed's contributions to them can be added up.
    of_task = {task: np.unique(seeds) for task, seeds in frame.groupby("task", observed=True)["seed"]}
    cells = []
    for (axis, family, task), part in frame.groupby(["axis", "family", "task"], sort=True, observed=True):
        seeds = of_task[task]
        tables = np.full((2, len(names), len(seeds)), np.nan)
        value = part["value"].where(part["converged"]).to_numpy()
        columns = np.searchsorted(seeds, part["seed"].to_numpy())
        tables[:, part["row"].to_numpy(), columns] = part["score"].to_numpy(), value
        higher = bool((part["score_1"] > part["score_0"]).iloc[0])
        measure = str(part["measure"].iloc[0])
        cells.append(Cell(str(task), str(family), str(axis), measure, higher, tuple(seeds.tolist()), *tables))
    return Scores(names, tuple(cells))
