"""Scores -> the leaderboard of one kind of submission: standings with intervals, and ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from leaderboard.analysis.results import LANE_COLUMNS, Results
from leaderboard.analysis.scoring import RESAMPLES, Scores, add_scores, intervals, tabulate
from leaderboard.analysis.statistics import SIGNIFICANCE, Array, Differences, Interval, geometric_mean, holm
from suite.tracks import TRACKS

NOISE_FLOOR = 0.01
"""Differences of the overall score below this are noise whatever the test says. A/A runs on the quick track (one
submission on three disjoint sets of three seeds) spread over 0.008 (sgd), 0.010 (nesterov) and 0.010 (adam)."""


YARDSTICKS = {"optimizer": "sgd", "architecture": "mlp"}
"""The submission of each kind whose training time is the unit of everybody's."""


@dataclass(frozen=True)
class Standing:
    """One submission's line of the leaderboard.

    `rank` is None for an incomplete submission, and for all where no task is scored: `overall` is then NaN.
    """

    submission: str
    kind: str
    explicit: bool
    rank: int | None
    tied: bool
    overall: Interval
    axes: dict[str, Interval]
    gradient_evaluations: float
    relative_seconds: float | None
    converged: int
    lanes: int
    missing: tuple[str, ...] = ()

    @property
    def rank_text(self) -> str:
        """``2`` alone, ``2=`` where the rank is shared, a dash where there is none."""
        return "–" if self.rank is None else f"{self.rank}{'=' if self.tied else ''}"


@dataclass(frozen=True)
class Board:
    """The leaderboard of one kind of submission.

    `scores` are those of the tasks that count, of everyone; `beside` those of tasks that are not of the track.
    """

    kind: str
    track: str
    standings: list[Standing]
    scores: Scores
    beside: Scores

    @property
    def names(self) -> list[str]:
        """The submissions in the order of the table."""
        return [standing.submission for standing in self.standings]

    @property
    def ranked(self) -> Scores:
        """The scores of the submissions that are ranked."""
        return self.scores.only(standing.submission for standing in self.standings if standing.rank)


def ranks(overall: Array, differences: Differences, noise_floor: float = NOISE_FLOOR) -> list[int]:
    """1 + the number of submissions that are better, for each of overall [submissions].

    a is better than b when the p-value of their paired test, Holm-adjusted over all pairs, is below 5 % and the
    difference exceeds `noise_floor`.
    """
    first, second = np.triu_indices(len(overall), 1)
    gap = differences.difference[first, second]
    better = (holm(differences.p_values()[first, second]) < SIGNIFICANCE) & (np.abs(gap) > noise_floor)
    losers = np.where(gap > 0, second, first)[better]
    return [int(rank) for rank in 1 + np.bincount(losers, minlength=len(overall))]


def best(differences: Differences, merits: Array) -> list[bool]:
    """The entry of the highest merit [entries] and all that are not told from it, down to the lowest such entry.

    Told apart are two entries by a paired test at 5 % and by more than the noise floor. An entry above one that is
    marked is marked too, even if its own few seeds happen to vary less.
    """
    if np.isnan(merits).all():
        return [False] * len(merits)
    top = int(np.nanargmax(merits))
    tied = (differences.p_values()[top] >= SIGNIFICANCE) | (merits[top] - merits <= NOISE_FLOOR)
    return [bool(mark) for mark in merits >= np.nanmin(np.where(tied, merits, np.nan))]


def board(results: Results, kind: str = "optimizer", resamples: int = RESAMPLES) -> Board:
    """The leaderboard of all submissions of `kind`: ranked if they hold the whole track, else shown apart.

    The track's tasks count, as far as anyone ran them; of an unknown track, all tasks do.
    """
    frame = results.frame()
    frame = add_scores(frame[frame["kind"] == kind])
    every = tabulate(frame)
    track = TRACKS.get(results.track)
    counted = [task for task in every.tasks if track is None or task in track.tasks] or every.tasks
    scores = every.of_tasks(counted)
    missing = _missing(scores, track.seeds if track else None)
    lanes = frame.drop_duplicates(["submission", "task", "seed"])
    counting = lanes[lanes["task"].isin(counted)]
    return Board(
        kind,
        results.track,
        _standings(scores, counting, kind, missing, resamples) if scores.cells else _unscored(results, kind),
        scores,
        every.of_tasks(set(every.tasks) - set(counted)),
    )


def boards(results: Results) -> list[Board]:
    """One board for every kind of submission that there is."""
    return [board(results, kind) for kind in results.kinds()]


def _missing(scores: Scores, seeds: int | None) -> dict[str, tuple[str, ...]]:
    """Submission -> the tasks of which it holds fewer than `seeds` seeds, or than anyone holds if that is less."""
    held = {cell.task: (~np.isnan(cell.scores)).sum(axis=1) for cell in scores.cells}
    needed = {task: min(count.max(), seeds or math.inf) for task, count in held.items()}
    return {
        name: tuple(sorted(task for task, count in held.items() if count[row] < needed[task]))
        for row, name in enumerate(scores.names)
    }


def _standings(
    scores: Scores, lanes: pd.DataFrame, kind: str, missing: dict[str, tuple[str, ...]], resamples: int
) -> list[Standing]:
    samples = scores.resampled(resamples)
    axes = {axis: intervals(scores.axis_means[axis], samples[axis], scores.spread(axis)) for axis in scores.axes}
    overall = intervals(scores.overall, geometric_mean(list(samples.values())), scores.spread())
    complete = [name for name in scores.names if not missing[name]]
    ranked = scores.only(complete)
    rank = dict(zip(complete, ranks(ranked.overall, ranked.differences()), strict=True))
    taken = list(rank.values())
    seconds = relative_seconds(lanes, YARDSTICKS[kind])
    standings = [
        replace(
            _unranked(name, lanes[lanes["submission"] == name], seconds),
            rank=rank.get(name),
            tied=taken.count(rank.get(name, 0)) > 1,
            overall=overall[row],
            axes={axis: values[row] for axis, values in axes.items() if not math.isnan(values[row].value)},
            missing=missing[name],
        )
        for row, name in enumerate(scores.names)
    ]
    return sorted(standings, key=lambda s: (s.rank is None, s.rank or 0, s.gradient_evaluations, s.submission))


def _unranked(name: str, lanes: pd.DataFrame, seconds: dict[str, float]) -> Standing:
    return Standing(
        submission=name,
        kind=str(lanes["kind"].iloc[0]),
        explicit=bool(lanes["explicit"].iloc[0]),
        rank=None,
        tied=False,
        overall=Interval(math.nan, math.nan, math.nan),
        axes={},
        gradient_evaluations=float(lanes["gradient_evaluations"].mean()),
        relative_seconds=seconds.get(name),
        converged=int(lanes["converged"].sum()),
        lanes=len(lanes),
    )


def _unscored(results: Results, kind: str) -> list[Standing]:
    """Where no task has references, all submissions without a rank."""
    records = [{name: record[name] for name in LANE_COLUMNS} for record in results.scored() if record["kind"] == kind]
    lanes = pd.DataFrame(records, columns=list(LANE_COLUMNS))
    seconds = relative_seconds(lanes, YARDSTICKS[kind])
    standings = [_unranked(str(name), own, seconds) for name, own in lanes.groupby("submission")]
    return sorted(standings, key=lambda s: (s.gradient_evaluations, s.submission))


def relative_seconds(lanes: pd.DataFrame, yardstick: str) -> dict[str, float]:
    """Submission -> geometric mean over tasks of the training seconds per lane, relative to `yardstick`'s.

    Submissions that share no task with it are left out, and so are all where it is not in the results.
    """
    means = lanes.pivot_table(index="submission", columns="task", values="seconds", observed=True)
    if yardstick not in means.index:
        return {}
    ratios = (means / means.loc[yardstick]).where(means > 0)
    own = geometric_mean(ratios.to_numpy().T)
    return {str(name): float(ratio) for name, ratio in zip(means.index, own, strict=True) if math.isfinite(ratio)}
