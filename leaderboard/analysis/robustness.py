"""Why a rank is what it is, and how robust: contributions, ranks without a task, seeds needed, tuning, agreement."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from leaderboard.analysis.rank_intervals import rank_intervals
from leaderboard.analysis.ranking import Board, places
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import RESAMPLES, Scores
from leaderboard.analysis.statistics import (
    Array,
    Interval,
    best_of,
    geometric_mean,
    nanmean,
    probability_of_improvement,
    rank_correlation,
    seeds_to_separate,
)
from suite.errors import unknown
from suite.storage.record import Record, Status, search_of

SMALLEST_SCORE = 1e-30
"""Axis scores of 0 are replaced by this where their logarithms are needed."""


@dataclass(frozen=True)
class Contribution:
    """The `points` of the difference of two overall scores that one axis of one task makes up, and its two scores."""

    task: str
    axis: str
    score: float
    other_score: float
    points: float


def contributions(scores: Scores, name: str, other: str) -> list[Contribution]:
    """Split the overall score of `name` minus that of `other` exactly over the axes of all tasks.

    Axes combine by their logarithms, tasks within an axis by their differences; the logarithmic mean leads from one to
    the other without a remainder (the log-mean Divisia index; Ang 2005, Energy Policy 33). The largest come first.
    """
    a, b = scores.names.index(name), scores.names.index(other)
    axes = {axis: np.maximum(means, SMALLEST_SCORE) for axis, means in scores.axis_means.items()}
    overall = geometric_mean(list(axes.values()))
    whole = _log_mean(overall[a], overall[b]) / len(axes)
    factor = {axis: whole / _log_mean(means[a], means[b]) for axis, means in axes.items()}
    parts = []
    for cell, weight in zip(scores.cells, scores.weights, strict=True):
        mean = cell.means()
        weighted = weight * np.nan_to_num(mean)
        points = factor[cell.axis] * (weighted[a] - weighted[b])
        parts.append(Contribution(cell.task, cell.axis, float(mean[a]), float(mean[b]), points))
    return sorted(parts, key=lambda part: -abs(part.points))


def _log_mean(a: float, b: float) -> float:
    return a if a == b else (a - b) / math.log(a / b)


def neighbours(board: Board, against: str | None = None) -> dict[str, str]:
    """Ranked submission -> the one above it in the table; for the first, the one below it.

    With `against`, every other submission -> that one; an InputError if it is not ranked.
    """
    names = board.ranked_names
    if against is not None:
        if against not in names:
            raise unknown("ranked submission", against, names)
        return {name: against for name in names if name != against}
    return dict(zip(names, [*names[1:2], *names], strict=False)) if len(names) > 1 else {}


def leave_one_task_out(scores: Scores) -> dict[str, dict[str, int]]:
    """Task -> the rank that every submission would have without it; a lone task cannot be left out."""
    without = {task: scores.of_tasks(set(scores.tasks) - {task}) for task in scores.tasks}
    return {
        task: dict(zip(scores.names, places(rest.overall), strict=True)) for task, rest in without.items() if rest.cells
    }


@dataclass(frozen=True)
class Separation:
    """Two submissions, the upper one first in the table, with the difference of their overall scores.

    Attributes:
        apart: whether the intervals of the ranks tell them apart.
        seeds: how many they share, on the task where these are fewest.
        needed: how many would tell them apart; None where no number would, because there is no difference.
    """

    upper: str
    lower: str
    difference: float
    apart: bool
    seeds: int
    needed: int | None


def separations(board: Board, power: float = 0.8, against: str | None = None) -> list[Separation]:
    """How many seeds per task would tell each pair of neighbours apart with a probability of `power`.

    With `against`, the pairs are those of every submission with that one; an InputError if it is not ranked.

    The test is that of the ranking in its first step, the strictest, with the variance of today's runs.
    """
    scores, names = board.ranked, board.ranked_names
    if len(names) < 2:
        return []
    differences = scores.differences()
    decided = rank_intervals(differences)
    level = 2 * float(ndtr(-decided.critical))
    result = []
    place = names.index
    pairs = neighbours(board, against).items() if against else itertools.pairwise(names)
    for upper, lower in (sorted(pair, key=place) for pair in pairs):
        pair = scores.names.index(upper), scores.names.index(lower)
        difference, seeds = float(differences.difference[pair]), int(differences.seeds[pair])
        error, freedom = float(differences.spread.error[pair]), float(differences.spread.freedom[pair])
        needed = None
        if difference and freedom > 0:
            strata = freedom / max(seeds - 1, 1) if math.isfinite(freedom) else 1.0
            needed = seeds_to_separate(difference, error * math.sqrt(seeds), strata, level, power)
        result.append(Separation(upper, lower, difference, bool(decided.better[pair]), seeds, needed))
    return result


def probabilities_of_improvement(scores: Scores) -> Array:
    """The probability that one submission beats another on a random seed of a random axis of a random task.

    [submissions, submissions]: the mean over cells of the Mann-Whitney statistic (Agarwal et al. 2021,
    arXiv:2108.13264, section 4.3).
    """
    return nanmean([probability_of_improvement(cell.scores) for cell in scores.cells])


@dataclass(frozen=True)
class Trial:
    """One tuning trial.

    Attributes:
        search, trial: the number of the search, and that of the trial in it.
        criterion: what it is selected by, mean over its runs; inf if one of them missed the target loss.
        by: the criterion's name, ``validation_loss`` or ``gradient_evaluations``.
        raced: whether it was ended because another trial was faster already.
        chosen: whether it was selected.
    """

    submission: str
    task: str
    search: int
    trial: int
    hyperparameters: dict[str, Any]
    criterion: float
    by: str
    raced: bool
    chosen: bool


def trials(results: Results) -> list[Trial]:
    """All tuning trials, compared as the protocol does."""

    def key_of(record: Record) -> tuple[str, str, int, int]:
        return record["submission"], record["task"], search_of(record), record["trial"]

    groups: defaultdict[tuple[str, str, int, int], list[Record]] = defaultdict(list)
    for record in results.records:
        if record["phase"] == "tune":
            groups[key_of(record)].append(record)
    chosen = set(map(key_of, results.scored()))
    validated = {task for (_, task, *_), runs in groups.items() if any(r["validation_loss"] is not None for r in runs)}
    result = []
    for key, runs in sorted(groups.items()):
        by = "validation_loss" if key[1] in validated else "gradient_evaluations"
        converged = all(run["converged"] for run in runs)
        criterion = sum(run[by] for run in runs) / len(runs) if converged else math.inf
        raced = any(run["status"] == Status.RACED for run in runs)
        result.append(Trial(*key, dict(runs[0]["hyperparameters"]), criterion, by, raced, key in chosen))
    return result


@dataclass(frozen=True)
class TuningCurve:
    """What a smaller tuning budget would have given: element k - 1 is about k trials (see `statistics.best_of`)."""

    submission: str
    task: str
    by: str
    best: list[float]
    chance: list[float]


def tuning_curves(trials: Iterable[Trial]) -> list[TuningCurve]:
    """The expected best of k trials, for every submission and task whose trials were all run to their end.

    The trials of all searches count alike: each is a draw from the space.

    Where trials race (the fewest gradient evaluations win), the slower ones are ended early and have no value to
    average, so these tasks have no curve.
    """
    groups: defaultdict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.submission, trial.task].append(trial)
    curves = []
    for (submission, task), group in groups.items():
        if not any(trial.raced for trial in group) and group[0].by == "validation_loss":
            best, chance = best_of([trial.criterion for trial in group])
            curves.append(TuningCurve(submission, task, group[0].by, best.tolist(), chance.tolist()))
    return curves


@dataclass(frozen=True)
class Agreement:
    """How well two tracks order the submissions `names` that they share.

    `first` and `second` are their overall scores [submissions], `tau` is Kendall's rank correlation with its interval
    over resampled seeds, `tasks` says how many tasks of each track it rests on.
    """

    names: tuple[str, ...]
    first: Array
    second: Array
    tau: Interval
    tasks: tuple[int, int]


def agreement(first: Board, second: Board, resamples: int = RESAMPLES, other_tasks: bool = False) -> Agreement | None:
    """The rank correlation of the overall scores of two boards.

    Both boards' seeds are resampled; they share seeds where they share tasks, and the draws respect that.

    Args:
        first, second: the boards.
        resamples: of the bootstrap that the interval comes from.
        other_tasks: take the tasks of `first` out of `second`: does the first predict what it did not see?

    Returns:
        None with fewer than three shared submissions, without tasks, or where all scores of a board are equal.
    """
    shared = sorted({*first.ranked_names} & {*second.ranked_names})
    tasks = set(second.ranked.tasks) - set(first.ranked.tasks if other_tasks else ())
    if len(shared) < 3 or not tasks:
        return None
    one, other = first.ranked.only(shared), second.ranked.only(shared).of_tasks(tasks)
    if np.ptp(one.overall) == 0 or np.ptp(other.overall) == 0:
        return None
    samples = rank_correlation(*(scores.resampled_overall(resamples).T for scores in (one, other)))
    low, high = np.percentile(samples, [2.5, 97.5])
    tau = Interval(float(rank_correlation(one.overall, other.overall)), float(low), float(high))
    return Agreement(one.names, one.overall, other.overall, tau, (len(one.tasks), len(other.tasks)))
