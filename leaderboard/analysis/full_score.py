"""The overall score on the full track that a submission may expect of which only the quick track was run.

x        a submission's mean scores on all axes of the quick track's tasks
y        its overall score on the tasks of the full track, known of those submissions that were run on both
fit      ridge regression of y on x, the intercept not penalized (Hoerl and Kennard 1970, Technometrics 12): there
         are fewer submissions than scores, and what they do not tell is left at the mean
penalty  that of `PENALTIES` with the least squared error when each submission is left out in turn
error    root mean square error when each submission is left out in turn, with a penalty chosen without it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.ranking import Board
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import CEILING, Scores, add_scores, tabulate
from leaderboard.analysis.statistics import Array, Interval, critical_value
from suite.storage.record import Record
from suite.tracks import FULL

PENALTIES = 10.0 ** np.arange(-2, 4)
"""Scores lie in [0, 1.25]: for a dozen of them the largest leaves the mean, the smallest fits a few exactly."""

LEAST_SUBMISSIONS = 4
"""With fewer on both tracks nothing is predicted: a penalty is chosen among three at least."""

LONG_TRACKS = ("theory", "full")
"""The full track holds the tasks of the theory track, and its records may lie in the logs of both."""


def ridge(features: Array, target: Array, new: Array, penalty: float) -> Array:
    """Predictions [new] of the ridge regression of `target` [n] on `features` [n, p] at `new` [new, p].

    The minimum of ``|target - intercept - features @ w|² + penalty * |w|²``, by way of an n x n system.
    """
    centre = features.mean(axis=0)
    rows = features - centre
    dual = np.linalg.solve(rows @ rows.T + penalty * np.eye(len(rows)), target - target.mean())
    return np.asarray(target.mean() + (new - centre) @ (rows.T @ dual))


def left_out(features: Array, target: Array, penalty: float) -> Array:
    """What `ridge` predicts [n] of each without it: its residual over one minus its leverage (Allen 1974)."""
    rows = features - features.mean(axis=0)
    gram = rows @ rows.T
    hat = gram @ np.linalg.inv(gram + penalty * np.eye(len(rows))) + 1 / len(rows)
    return np.asarray(target - (target - hat @ target) / (1 - hat.diagonal()))


def best_penalty(features: Array, target: Array) -> float:
    """The one of `PENALTIES` with the least squared error of `left_out`; of equals the largest."""
    errors = [float(np.mean((left_out(features, target, penalty) - target) ** 2)) for penalty in PENALTIES]
    return float(PENALTIES[::-1][np.argmin(errors[::-1])])


def predictions_without(features: Array, target: Array) -> Array:
    """What is predicted [n] of each submission from the others, with the penalty that they choose."""
    result = np.empty(len(target))
    for left in range(len(target)):
        rest = np.arange(len(target)) != left
        penalty = best_penalty(features[rest], target[rest])
        result[left] = ridge(features[rest], target[rest], features[[left]], penalty)[0]
    return result


@dataclass(frozen=True)
class FullScores:
    """Predicted overall scores on the full track.

    Attributes:
        predicted: by submission that is ranked on the quick track, with a 95 % interval for a single submission; of one
            that was run on both, what is predicted from the others.
        recorded: by submission that was run on both tracks.
        error: root mean square of predicted minus recorded, each left out in turn.
        error_of_mean: that of predicting the mean of the others: what is predicted is worth something if it errs less.
        tasks: how many scored tasks of the full track `recorded` rests on.
    """

    predicted: dict[str, Interval]
    recorded: dict[str, float]
    error: float
    error_of_mean: float
    tasks: int


def predict_full_scores(board: Board, others: Sequence[Results]) -> FullScores | None:
    """Predict the overall scores on the full track of the submissions of a board of the quick track.

    Args:
        board: of the quick track.
        others: results of other tracks; those of `LONG_TRACKS` are used.

    Returns:
        None if fewer than `LEAST_SUBMISSIONS` are ranked there and have every task that others have on the full track.
    """
    long = _full_scores(board.kind, others)
    quick = board.ranked
    both = [name for name in quick.names if name in long.names]
    if len(both) < LEAST_SUBMISSIONS:
        return None
    features = np.array([cell.means() for cell in quick.cells]).T
    rows = [quick.names.index(name) for name in both]
    target = long.overall[[long.names.index(name) for name in both]]
    without = predictions_without(features[rows], target)
    error = float(np.sqrt(np.mean((without - target) ** 2)))
    values = ridge(features[rows], target, features, best_penalty(features[rows], target))
    values[rows] = without
    half = error * float(critical_value(len(both) - 2))
    predicted = {
        name: Interval(*map(float, np.clip([value, value - half, value + half], 0.0, CEILING)))
        for name, value in zip(quick.names, values, strict=True)
    }
    recorded = dict(zip(both, map(float, target), strict=True))
    # Less the mean of the others, each is n / (n - 1) times what it is less the mean of all.
    of_mean = float(np.std(target)) * len(both) / (len(both) - 1)
    return FullScores(predicted, recorded, error, of_mean, len(long.tasks))


def _full_scores(kind: str, others: Sequence[Results]) -> Scores:
    """The scores on the full track of the submissions of one kind that have all of its tasks that anyone has."""
    of_pair: dict[tuple[str, str], list[Record]] = {}
    for results in sorted(others, key=lambda results: results.track):
        if results.track in LONG_TRACKS:
            found: dict[tuple[str, str], list[Record]] = {}
            for record in results.scored():
                if record["kind"] == kind and record["task"] in FULL:
                    found.setdefault((record["submission"], record["task"]), []).append(record)
            # A log of theory comes after that of full: a pair counts once.
            of_pair = found | of_pair
    records = [record for runs in of_pair.values() for record in runs]
    if not any(record["axes"] for record in records):
        return Scores((), ())
    scores = tabulate(add_scores(Results(records).frame()))
    complete = ~np.isnan(np.array([cell.means() for cell in scores.cells])).any(axis=0)
    return scores.only(name for name, here in zip(scores.names, complete, strict=True) if here)
