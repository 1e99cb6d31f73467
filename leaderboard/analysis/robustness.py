"""Why a rank is what it is, and how far to trust it: contributions, ranks without a task, seeds needed, tuning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from leaderboard.analysis.ranking import NOISE_FLOOR, Board, ranks
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import RESAMPLES, Scores
from leaderboard.analysis.statistics import (
    SIGNIFICANCE,
    Array,
    Interval,
    best_of,
    geometric_mean,
    holm,
    improvement,
    mean_of_known,
    rank_correlation,
    seeds_to_separate,
)
from suite.storage.record import Record

LEAST = 1e-30
"""Axis scores of 0 count as this where logarithms of them are needed."""


@dataclass(frozen=True)
class Contribution:
    """How much of the difference of two overall scores one axis of one task makes."""

    task: str
    axis: str
    own: float
    other: float
    points: float


def contributions(scores: Scores, name: str, other: str) -> list[Contribution]:
    """The overall score of `name` minus that of `other`, split exactly over the tasks' axes, largest share first.

    Axes combine by their logarithms, tasks within an axis by their differences; the logarithmic mean leads from one to
    the other without a remainder (the log-mean Divisia index; Ang 2005, Energy Policy 33).
    """
    a, b = scores.names.index(name), scores.names.index(other)
    axes = {axis: np.maximum(means, LEAST) for axis, means in scores.axis_means.items()}
    overall = geometric_mean(list(axes.values()))
    factor = {
        axis: _log_mean(overall[a], overall[b]) / len(axes) / _log_mean(means[a], means[b])
        for axis, means in axes.items()
    }
    parts = [
        Contribution(cell.task, cell.axis, float(mean[a]), float(mean[b]), factor[cell.axis] * (own[a] - own[b]))
        for cell, weight in zip(scores.cells, scores.weights, strict=True)
        for mean in [cell.means()]
        for own in [weight * np.nan_to_num(mean)]
    ]
    return sorted(parts, key=lambda part: -abs(part.points))


def _log_mean(a: float, b: float) -> float:
    return a if a == b else (a - b) / math.log(a / b)


def neighbours(board: Board) -> dict[str, str]:
    """Ranked submission -> the one above it in the table; for the first, the one below it."""
    names = [standing.submission for standing in board.standings if standing.rank]
    return dict(zip(names, [*names[1:2], *names], strict=False)) if len(names) > 1 else {}


def leave_one_task_out(scores: Scores) -> dict[str, dict[str, int]]:
    """Task -> the rank that every submission would have without it; a lone task cannot be left out."""
    result = {}
    for task in scores.tasks:
        rest = scores.of_tasks(set(scores.tasks) - {task})
        if rest.cells:
            result[task] = dict(zip(scores.names, ranks(rest.overall, rest.differences()), strict=True))
    return result


@dataclass(frozen=True)
class Separation:
    """Two neighbours of the table: their difference, its adjusted p-value, and the seeds that would tell them apart.

    `needed` is None where no number of seeds would: the difference is within the noise floor.
    """

    upper: str
    lower: str
    difference: float
    p_value: float
    seeds: int
    needed: int | None


def separations(board: Board, power: float = 0.8) -> list[Separation]:
    """How many seeds per task would separate each pair of neighbours.

    The test is that of the ranking at its strictest (5 % over the number of pairs), with the variance seen now and the
    given power.
    """
    scores = board.ranked
    names = [standing.submission for standing in board.standings if standing.rank]
    if len(names) < 2:
        return []
    found = scores.differences()
    first, second = np.triu_indices(len(names), 1)
    adjusted = np.ones_like(found.difference)
    adjusted[first, second] = adjusted[second, first] = holm(found.p_values()[first, second])
    result = []
    for upper, lower in itertools.pairwise(names):
        pair = scores.names.index(upper), scores.names.index(lower)
        difference, error, freedom = (
            float(table[pair]) for table in (found.difference, found.spread.error, found.spread.freedom)
        )
        seeds = min(len(cell.seeds) for cell in scores.cells)
        needed = None
        if abs(difference) > NOISE_FLOOR and freedom > 0:
            strata = freedom / (seeds - 1) if math.isfinite(freedom) else 1.0
            needed = seeds_to_separate(difference, error * math.sqrt(seeds), strata, SIGNIFICANCE / len(first), power)
        result.append(Separation(upper, lower, difference, float(adjusted[pair]), seeds, needed))
    return result


def improvements(scores: Scores) -> Array:
    """Probability [a, b] that submission a beats b on a random seed of a random axis of a random task.

    The mean over cells of the Mann-Whitney statistic (Agarwal et al. 2021, arXiv:2108.13264, section 4.3).
    """
    return mean_of_known([improvement(cell.scores) for cell in scores.cells])


@dataclass(frozen=True)
class Trial:
    """One tuning trial: its setting, how many of its lanes met the stop, and what it is chosen by.

    `criterion` is the mean over lanes of the validation loss, or of the gradient evaluations to the stop; inf if a lane
    missed it. `raced` says that it was ended because another trial was faster already.
    """

    submission: str
    task: str
    trial: int
    hyperparameters: dict[str, Any]
    criterion: float
    by: str
    raced: bool
    chosen: bool


def trials(results: Results) -> list[Trial]:
    """All tuning trials, as the protocol compares them."""
    lanes: dict[tuple[str, str, int], list[Record]] = {}
    for record in results.records:
        if record["phase"] == "tune":
            lanes.setdefault((record["submission"], record["task"], record["trial"]), []).append(record)
    chosen = {(record["submission"], record["task"], record["trial"]) for record in results.scored()}
    validated = {key[1] for key, own in lanes.items() if any(r["validation_loss"] is not None for r in own)}
    found = []
    for key, own in sorted(lanes.items()):
        by = "validation_loss" if key[1] in validated else "gradient_evaluations"
        met = all(record["converged"] for record in own)
        criterion = sum(record[by] for record in own) / len(own) if met else math.inf
        raced = any(record["status"] == "raced" for record in own)
        found.append(Trial(*key, dict(own[0]["hyperparameters"]), criterion, by, raced, key in chosen))
    return found


@dataclass(frozen=True)
class TuningCurve:
    """What a smaller tuning budget would have found: entry k - 1 is about k trials (see `statistics.best_of`)."""

    submission: str
    task: str
    by: str
    best: list[float]
    chance: list[float]


def tuning_curves(found: Iterable[Trial]) -> list[TuningCurve]:
    """The expected best of k trials, for every submission and task whose trials were all run to their end.

    Where trials race (the fewest gradient evaluations win), the slower ones are ended early and have no value to
    average, so these tasks have no curve.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in found:
        groups.setdefault((trial.submission, trial.task), []).append(trial)
    curves = []
    for (submission, task), own in groups.items():
        if not any(trial.raced for trial in own) and own[0].by == "validation_loss":
            best, chance = best_of([trial.criterion for trial in own])
            curves.append(TuningCurve(submission, task, own[0].by, best.tolist(), chance.tolist()))
    return curves


@dataclass(frozen=True)
class Agreement:
    """How well two tracks order the same submissions: Kendall's tau with its interval over resampled seeds.

    `tasks`: how many tasks of each track that rests on.
    """

    names: tuple[str, ...]
    first: Array
    second: Array
    tau: Interval
    tasks: tuple[int, int]


def agreement(first: Board, second: Board, resamples: int = RESAMPLES, other_tasks: bool = False) -> Agreement | None:
    """The rank correlation of the overall scores of two boards.

    None with fewer than three shared submissions, without tasks, or where all scores of a board are equal.

    Both boards' seeds are resampled; they share seeds where they share tasks, and the draws respect that. With
    `other_tasks` the second board counts without the tasks of the first: does the first foretell what it did not see?
    """
    shared = sorted({*first.ranked.names} & {*second.ranked.names})
    known = set(first.ranked.tasks) if other_tasks else set()
    rest = [task for task in second.ranked.tasks if task not in known]
    if len(shared) < 3 or not rest:
        return None
    scores = first.ranked.only(shared), second.ranked.only(shared).of_tasks(rest)
    if any(np.ptp(own.overall) == 0 for own in scores):
        return None
    samples = rank_correlation(*(own.resampled_overall(resamples).T for own in scores))
    low, high = np.percentile(samples, [2.5, 97.5])
    tau = Interval(float(rank_correlation(*(own.overall for own in scores))), float(low), float(high))
    tasks = len(scores[0].tasks), len(scores[1].tasks)
    return Agreement(scores[0].names, scores[0].overall, scores[1].overall, tau, tasks)
