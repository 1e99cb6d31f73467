"""Scores -> the leaderboard of one kind of submission: standings with intervals, and ranks."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from leaderboard.analysis.results import RUN_KEYS, Results
from leaderboard.analysis.scoring import RESAMPLES, Scores, add_scores, intervals, tabulate
from leaderboard.analysis.statistics import SIGNIFICANCE, Array, Differences, Interval, geometric_mean, holm
from suite.tracks import TRACKS

NOISE_FLOOR = 0.01
"""Differences of the overall score below this are noise whatever the test says. A/A runs on the quick track (one
submission on three disjoint sets of three seeds) spread over 0.008 (sgd), 0.010 (nesterov) and 0.010 (adam)."""

TIME_REFERENCES = {"optimizer": "sgd", "architecture": "mlp"}
"""The submission of each kind whose training time is the unit of all others'."""


@dataclass(frozen=True)
class Standing:
    """One submission's line of the leaderboard.

    Attributes:
        explicit: whether it regularizes on purpose.
        gradient_evaluations: mean over its runs.
        relative_seconds: training time of a run in units of the time reference's; None where that is missing.
        converged, runs: how many of its runs reached the target loss, and how many it has.
        overall: the overall score; NaN where no task is scored.
        rank: None for an incomplete submission, and for all where no task is scored.
        tied: whether others share the rank.
        axes: axis -> score, of the axes that the submission has.
        missing: the tasks that it lacks, in part or whole.
    """

    submission: str
    kind: str
    explicit: bool
    gradient_evaluations: float
    relative_seconds: float | None
    converged: int
    runs: int
    overall: Interval
    rank: int | None = None
    tied: bool = False
    axes: dict[str, Interval] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def rank_text(self) -> str:
        """``2`` alone, ``2=`` where the rank is shared, a dash where there is none."""
        return "–" if self.rank is None else f"{self.rank}{'=' if self.tied else ''}"


@dataclass(frozen=True)
class Board:
    """The leaderboard of one kind of submission.

    Attributes:
        kind: optimizer or architecture.
        track: the track's name; empty if the results name none.
        standings: the lines, best first.
        scores: all submissions' scores on the tasks that count.
        extra_scores: their scores on tasks that are not of the track.
    """

    kind: str
    track: str
    standings: list[Standing]
    scores: Scores
    extra_scores: Scores

    @property
    def names(self) -> list[str]:
        """The submissions in the order of the table."""
        return [standing.submission for standing in self.standings]

    @property
    def ranked_names(self) -> list[str]:
        """The ranked submissions in the order of the table."""
        return [standing.submission for standing in self.standings if standing.rank]

    @functools.cached_property
    def ranked(self) -> Scores:
        """The scores of the submissions that are ranked."""
        return self.scores.only(self.ranked_names)

    def best_of_axis(self, axis: str) -> set[str]:
        """The ranked submissions that are among the best on `axis`."""
        if not self.ranked.names:
            return set()
        marks = best(self.ranked.differences(axis), self.ranked.axis_means[axis])
        return set(itertools.compress(self.ranked.names, marks))


def ranks(overall: Array, differences: Differences, noise_floor: float = NOISE_FLOOR) -> list[int]:
    """The rank of each submission: 1 + the number of submissions that are better.

    a is better than b when the p-value of their paired test, Holm-adjusted over all pairs, is below 5 % and the
    difference of their `overall` scores [submissions] exceeds `noise_floor`. Ranks can be shared.
    """
    first, second = np.triu_indices(len(overall), 1)
    difference = differences.difference[first, second]
    differ = (holm(differences.p_values()[first, second]) < SIGNIFICANCE) & (np.abs(difference) > noise_floor)
    losers = np.where(difference > 0, second, first)[differ]
    return [int(rank) for rank in 1 + np.bincount(losers, minlength=len(overall))]


def best(differences: Differences, scores: Array) -> list[bool]:
    """Which entries are among the best: the highest, and all down to the lowest that does not differ from it.

    Two entries differ if a paired test at 5 % says so and they are further apart than the noise floor. An entry above
    one that is among the best is so too, even if its own few seeds happen to vary less. `scores` [entries] are NaN for
    an entry without one.
    """
    if np.isnan(scores).all():
        return [False] * len(scores)
    top = int(np.nanargmax(scores))
    tied = (differences.p_values()[top] >= SIGNIFICANCE) | (scores[top] - scores <= NOISE_FLOOR)
    return [bool(mark) for mark in scores >= np.nanmin(np.where(tied, scores, np.nan))]


def board(results: Results, kind: str = "optimizer", resamples: int = RESAMPLES) -> Board:
    """The leaderboard of all submissions of `kind`: ranked if they have the whole track, else listed below.

    The track's tasks count, as far as anyone ran them; where the track is unknown, all tasks do. Intervals come from a
    bootstrap of `resamples`.
    """
    frame = results.frame()
    frame = add_scores(frame[frame["kind"] == kind])
    all_scores = tabulate(frame)
    track = TRACKS.get(results.track)
    counting = [task for task in all_scores.tasks if track is None or task in track.tasks] or all_scores.tasks
    scores = all_scores.of_tasks(counting)
    extra_scores = all_scores.of_tasks(set(all_scores.tasks) - set(counting))
    if scores.cells:
        runs = frame[frame["task"].isin(counting)].drop_duplicates(["submission", "task", "seed"])
        standings = _standings(scores, runs, kind, track.seeds if track else None, resamples)
    else:
        standings = _unscored(results, kind)
    return Board(kind, results.track, standings, scores, extra_scores)


def boards(results: Results) -> list[Board]:
    """One board for every kind of submission that there is."""
    return [board(results, kind) for kind in results.kinds()]


def _missing(scores: Scores, seeds: int | None) -> dict[str, tuple[str, ...]]:
    """Submission -> the tasks of which it has fewer than `seeds` seeds, or than anyone has if that is less."""
    counts = {cell.task: (~np.isnan(cell.scores)).sum(axis=1) for cell in scores.cells}
    needed = {task: min(count.max(), seeds or math.inf) for task, count in counts.items()}
    return {
        name: tuple(sorted(task for task, count in counts.items() if count[row] < needed[task]))
        for row, name in enumerate(scores.names)
    }


def _standings(scores: Scores, runs: pd.DataFrame, kind: str, seeds: int | None, resamples: int) -> list[Standing]:
    missing = _missing(scores, seeds)
    samples = scores.resampled(resamples)
    axes = {axis: intervals(scores.axis_means[axis], samples[axis], scores.spread(axis)) for axis in scores.axes}
    overall = intervals(scores.overall, geometric_mean(list(samples.values())), scores.spread())
    complete = [name for name in scores.names if not missing[name]]
    ranked = scores.only(complete)
    rank_of = dict(zip(complete, ranks(ranked.overall, ranked.differences()), strict=True))
    all_ranks = list(rank_of.values())
    seconds = relative_seconds(runs, TIME_REFERENCES[kind])
    standings = [
        replace(
            _unranked(name, runs[runs["submission"] == name], seconds),
            rank=rank_of.get(name),
            tied=all_ranks.count(rank_of.get(name, 0)) > 1,
            overall=overall[row],
            axes={axis: values[row] for axis, values in axes.items() if not math.isnan(values[row].value)},
            missing=missing[name],
        )
        for row, name in enumerate(scores.names)
    ]
    return sorted(standings, key=lambda s: (s.rank is None, s.rank or 0, s.gradient_evaluations, s.submission))


def _unranked(name: str, runs: pd.DataFrame, seconds: dict[str, float]) -> Standing:
    return Standing(
        submission=name,
        kind=str(runs["kind"].iloc[0]),
        explicit=bool(runs["explicit"].iloc[0]),
        gradient_evaluations=float(runs["gradient_evaluations"].mean()),
        relative_seconds=seconds.get(name),
        converged=int(runs["converged"].sum()),
        runs=len(runs),
        overall=Interval(math.nan, math.nan, math.nan),
    )


def _unscored(results: Results, kind: str) -> list[Standing]:
    """Where no task has references, all submissions without a rank."""
    records = [{name: record[name] for name in RUN_KEYS} for record in results.scored() if record["kind"] == kind]
    runs = pd.DataFrame(records, columns=list(RUN_KEYS))
    seconds = relative_seconds(runs, TIME_REFERENCES[kind])
    standings = [_unranked(str(name), group, seconds) for name, group in runs.groupby("submission")]
    return sorted(standings, key=lambda s: (s.gradient_evaluations, s.submission))


def relative_seconds(runs: pd.DataFrame, reference: str) -> dict[str, float]:
    """Submission -> geometric mean over tasks of the training seconds per run, relative to those of `reference`.

    Submissions that share no task with it are left out, and so are all where it is not in the results.
    """
    means = runs.pivot_table(index="submission", columns="task", values="seconds", observed=True)
    if reference not in means.index:
        return {}
    ratios = (means / means.loc[reference]).where(means > 0)
    relative = geometric_mean(ratios.to_numpy().T)
    return {str(name): float(ratio) for name, ratio in zip(means.index, relative, strict=True) if math.isfinite(ratio)}
