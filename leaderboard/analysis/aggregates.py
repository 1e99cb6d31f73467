"""Other ways to make one number of a submission's scores, and how far the order depends on the way.

geometric   geometric mean of the axes; an axis is a mean over families of means over tasks (the overall score)
arithmetic  arithmetic mean of the axes
tasks       geometric mean of the axes; an axis is the mean over its tasks, whatever their family
iqm         interquartile mean of all runs on all axes (Agarwal et al. 2021, arXiv:2108.13264)
worst       the lowest axis
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.ranking import places
from leaderboard.analysis.scoring import CEILING, Scores
from leaderboard.analysis.statistics import Array, geometric_mean, interquartile_mean, nanmean, rank_correlation

OFFICIAL = "geometric"

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Scores that the performance profile asks for."""


def aggregates(scores: Scores) -> dict[str, Array]:
    """Name of the way -> one number for every submission."""
    axes = list(scores.axis_means.values())
    by_task = [nanmean([cell.means() for cell in scores.cells if cell.axis == axis]) for axis in scores.axes]
    runs = np.concatenate([cell.scores for cell in scores.cells], axis=1)
    return {
        OFFICIAL: scores.overall,
        "arithmetic": nanmean(axes),
        "tasks": geometric_mean(by_task),
        "iqm": np.array([interquartile_mean(row[~np.isnan(row)]) for row in runs]),
        "worst": np.min(axes, axis=0),
    }


@dataclass(frozen=True)
class Sensitivity:
    """The ranks [submissions] that a way gives, how they correlate with the official ones (Kendall's tau), and the
    largest number of places by which a submission moves."""

    ranks: list[int]
    tau: float
    largest_move: int


def sensitivity(scores: Scores) -> dict[str, Sensitivity]:
    """Name of the way -> the order that it gives."""
    numbers = aggregates(scores)
    official = places(numbers[OFFICIAL])
    result = {}
    for name, values in numbers.items():
        ranks = places(values)
        move = max((abs(one - other) for one, other in zip(ranks, official, strict=True)), default=0)
        tau = float(rank_correlation(numbers[OFFICIAL], values)) if len(ranks) > 1 else 1.0
        result[name] = Sensitivity(ranks, tau, move)
    return result


def performance_profile(scores: Scores, thresholds: tuple[float, ...] = THRESHOLDS) -> Array:
    """The share of runs that score at least each of `thresholds` [submissions, thresholds], mean over cells.

    A profile that lies above another's everywhere belongs to the better submission under every monotone way to score
    runs (Dolan and Moré 2002, arXiv:cs/0102001; for scores of runs Agarwal et al. 2021).
    """
    marks = np.minimum(np.array(thresholds), CEILING)
    shares = []
    for cell in scores.cells:
        runs = cell.scores[:, :, None]
        shares.append(np.moveaxis(np.where(np.isnan(runs), np.nan, runs >= marks), 1, 0))
    return nanmean([nanmean(share) for share in shares])
