"""Scores -> the leaderboard of one kind of submission: standings with intervals, and ranks."""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.analysis.differences import Differences, Source
from leaderboard.analysis.hierarchy import differences_over_tasks, spread_over_tasks
from leaderboard.analysis.rank_intervals import rank_intervals
from leaderboard.analysis.results import RUN_KEYS, Results, frame_of
from leaderboard.analysis.scoring import CEILING, RESAMPLES, Cell, Scores, add_scores, intervals, tabulate
from leaderboard.analysis.statistics import SIGNIFICANCE, Array, Interval, Spread, critical_value, geometric_mean
from suite.storage.record import search_of
from suite.submission import FIXED
from suite.tracks import TRACKS, Track

PRINTED_DECIMALS = 3
"""Of the overall score in every table. Submissions tie where they agree to these."""

FEW_SEEDS = 5
"""With fewer, and where an axis scores 0, an interval of ranks may hold less often than it says (`docs/scores.md`)."""

ROUGH = "~"
"""Marks an interval of ranks that may be too narrow."""

TIME_REFERENCES = {"optimizer": "sgd", "architecture": "mlp"}
"""The submission of each kind whose training time is the unit of all others'."""


@dataclass(frozen=True)
class Standing:
    """One submission's line of the leaderboard.

    Attributes:
        explicit: whether it regularizes on purpose: measured, or declared where nothing was measured.
        gradient_evaluations: mean over its runs.
        relative_seconds: training time of a run in units of the time reference's; None where that is missing.
        converged, runs: how many of its runs reached the target loss, and how many it has.
        overall: the overall score; NaN where no task is scored.
        rank: the place in the order of the overall scores; None for an incomplete submission, for one of which no run
            reached a target loss, and for all where no task is scored.
        tied: whether others share the rank, because their scores agree to all printed digits.
        rank_interval: the ranks that the seeds leave open, for all submissions together with 95 %.
        rough: whether that interval may be too narrow: few seeds, or an axis whose score is 0.
        rank_over_searches, rank_over_tasks: the same over seeds and the draw of the tuning search, and over tasks; None
            where nothing is known of that.
        half_over_searches, half_over_tasks: half of the 95 % interval of the overall score over seeds and the draw of
            the search, and over tasks; None likewise.
        expected: the overall score of a setting drawn from the space, without selection; None unless every trial of a
            search was measured, on each task.
        axes: axis -> score, of the axes that the submission has.
        families: family of tasks -> mean score over its tasks and their axes.
        missing: the tasks that it lacks, in part or whole.
        behaviors: what its probes saw it do beside following gradients (`suite.behavior`); None: it was not probed.
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
    rank_interval: tuple[int, int] | None = None
    rough: bool = False
    rank_over_searches: tuple[int, int] | None = None
    rank_over_tasks: tuple[int, int] | None = None
    half_over_searches: float | None = None
    half_over_tasks: float | None = None
    expected: float | None = None
    axes: dict[str, Interval] = field(default_factory=dict)
    families: dict[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    behaviors: tuple[str, ...] | None = None

    @property
    def rank_text(self) -> str:
        """``5 [5-7]``, ``5= [5-7]`` where the rank is shared; a dash where there is none."""
        if self.rank is None or self.rank_interval is None:
            return "–"
        low, high = self.rank_interval
        return f"{self.rank}{'=' if self.tied else ''} [{low}-{high}]{ROUGH if self.rough else ''}"


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
        """The ranked submissions that are among the best on `axis`, and all of whose runs there are measured."""
        if not self.ranked.names:
            return set()
        marks = best(self.ranked.differences(axis), self.ranked.axis_means[axis])
        complete = np.all([cell.complete for cell in self.ranked.cells if cell.axis == axis], axis=0)
        return set(itertools.compress(self.ranked.names, complete & marks))


def places(scores: Array) -> list[int]:
    """The rank of each of `scores` [submissions]: 1 + the number of those that are printed as a higher number.

    It depends on the scores alone: who else is there moves it only by being above or below.
    """
    printed = np.round(scores, PRINTED_DECIMALS)
    return [int(rank) for rank in 1 + (printed > printed[:, None]).sum(axis=1)]


def best(differences: Differences, scores: Array) -> list[bool]:
    """Which entries are among the best: the highest, and all down to the lowest that does not differ from it.

    Two entries differ if a paired test at 5 % says so. An entry above one that is among the best is so too, even if its
    own few seeds happen to vary less. A score of 0 is never among the best. `scores` [entries] are NaN for an entry
    without one.
    """
    if np.isnan(scores).all():
        return [False] * len(scores)
    top = int(np.nanargmax(scores))
    tied = differences.p_values()[top] >= SIGNIFICANCE
    lowest = np.nanmin(np.where(tied, scores, scores[top]))
    return [bool(mark) for mark in (scores >= lowest) & (scores > 0)]


def best_of_cell(cell: Cell) -> list[bool]:
    """Which submissions are among the best on an axis of a task; none without some of its runs."""
    marks = zip(best(cell.differences(), cell.means()), cell.complete, strict=True)
    return [mark and bool(complete) for mark, complete in marks]


def board(results: Results, kind: str = "optimizer", resamples: int = RESAMPLES, implicit_only: bool = False) -> Board:
    """The leaderboard of all submissions of `kind`: ranked if they have the whole track, else listed below.

    The track's tasks count, as far as anyone ran them; where the track is unknown, all tasks do.

    Args:
        results: where the runs are.
        kind: of submission.
        resamples: of the bootstrap that intervals of scores come from.
        implicit_only: leave out the submissions that regularize on purpose, so that they take no place.
    """
    if implicit_only:
        results = results.implicit()
    frame = results.frame()
    frame = add_scores(frame[frame["kind"] == kind])
    all_scores = tabulate(frame)
    track = TRACKS.get(results.track)
    counting = [task for task in all_scores.tasks if track is None or task in track.tasks] or all_scores.tasks
    scores = all_scores.of_tasks(counting)
    extra_scores = all_scores.of_tasks(set(all_scores.tasks) - set(counting))
    if scores.cells:
        runs = frame[frame["task"].isin(counting)].drop_duplicates(["submission", "task", "trial", "seed"])
        standings = _standings(scores, runs, track, resamples, results)
    else:
        standings = _unscored(results, kind)
    return Board(kind, results.track, standings, scores, extra_scores)


def boards(results: Results) -> list[Board]:
    """One board for every kind of submission that there is."""
    return [board(results, kind) for kind in results.kinds()]


def _missing(scores: Scores, track: Track | None) -> dict[str, tuple[str, ...]]:
    """Submission -> the tasks of which it has fewer seeds than the track asks for, or than anyone has if fewer."""
    counts = {cell.task: (~np.isnan(cell.scores)).sum(axis=1) for cell in scores.cells}
    needed = {task: min(count.max(), track.seeds_of(task) if track else math.inf) for task, count in counts.items()}
    return {
        name: tuple(sorted(task for task, count in counts.items() if count[row] < needed[task]))
        for row, name in enumerate(scores.names)
    }


def _standings(
    scores: Scores, runs: pd.DataFrame, track: Track | None, resamples: int, results: Results
) -> list[Standing]:
    missing = _missing(scores, track)
    samples = scores.resampled(resamples)
    axes = {axis: intervals(scores.axis_means[axis], samples[axis], scores.spread(axis)) for axis in scores.axes}
    overall = intervals(scores.overall, geometric_mean(list(samples.values())), scores.spread())
    solved = set(runs.loc[runs["converged"], "submission"])
    complete = [name for name in scores.names if not missing[name] and name in solved]
    ranks = _ranks(scores.only(complete), searched(scores, results))
    expected = expected_scores(scores, results)
    kind = str(runs["kind"].iloc[0])
    seconds, behaviors = relative_seconds(runs, kind), results.behaviors(kind)
    standings = [
        replace(
            _unranked(name, runs[runs["submission"] == name], seconds),
            **ranks.get(name, {}),
            overall=overall[row],
            axes={axis: values[row] for axis, values in axes.items() if not math.isnan(values[row].value)},
            families={family: float(means[row]) for family, means in scores.family_means.items()},
            expected=expected.get(name),
            behaviors=behaviors.get(name),
            missing=missing[name],
        )
        for row, name in enumerate(scores.names)
    ]
    return sorted(standings, key=lambda s: (s.rank is None, not s.converged, -s.overall.value, s.submission))


def _ranks(ranked: Scores, searched: Collection[str]) -> dict[str, dict[str, Any]]:
    """Submission -> what its standing says of its rank; `searched` are those with several searches."""
    if not ranked.names:
        return {}
    order, differences = places(ranked.overall), ranked.differences()
    few = differences.seeds.min(axis=1) < FEW_SEEDS
    at_zero = np.asarray(np.min(list(ranked.axis_means.values()), axis=0) == 0)
    over_seeds = _intervals(differences, order)
    every = set(ranked.names) <= set(searched)
    over_searches = _intervals(ranked.differences(source=Source.SEARCHES) if every else None, order)
    over_tasks = _intervals(differences_over_tasks(ranked), order)
    of_searches, of_tasks = (
        _halves(spread, len(order)) for spread in (ranked.spread_over_searches(), spread_over_tasks(ranked))
    )
    return {
        name: {
            "rank": order[row],
            "tied": order.count(order[row]) > 1,
            "rank_interval": over_seeds[row],
            "rough": bool(few[row] or at_zero[row]),
            "rank_over_searches": over_searches[row],
            "rank_over_tasks": over_tasks[row],
            "half_over_searches": of_searches[row] if name in searched else None,
            "half_over_tasks": of_tasks[row],
        }
        for row, name in enumerate(ranked.names)
    }


def _intervals(differences: Differences | None, order: Sequence[int]) -> list[Any]:
    """The interval of every rank; it holds the rank also where the seeds that two share order them otherwise."""
    if differences is None:
        return [None] * len(order)
    found = rank_intervals(differences)
    return [
        (min(rank, int(low)), max(rank, int(high)))
        for rank, low, high in zip(order, found.low, found.high, strict=True)
    ]


def _halves(spread: Spread | None, count: int) -> list[float | None]:
    """Half of the 95 % interval of every score, None where nothing is known of it."""
    if spread is None:
        return [None] * count
    halves = np.minimum(critical_value(spread.freedom) * spread.error, CEILING)
    return [float(half) if math.isfinite(half) else None for half in halves]


def searched(scores: Scores, results: Results) -> set[str]:
    """The submissions with two searches or more on every task that they were tuned on, and one such task at least."""
    searches: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for record in results.scored() if results.tuned else ():
        searches[record["submission"], record["task"]].add(search_of(record))
    found = set()
    for name in scores.names:
        counts = [len(searches[name, task]) for task in scores.tasks if (name, task) in results.tuned]
        if counts and min(counts) > 1:
            found.add(name)
    return found


def expected_scores(scores: Scores, results: Results) -> dict[str, float]:
    """Submission -> the overall score of a random setting of its space, where it is known on every task."""
    tuned = {name for name, _ in results.tuned} & set(scores.names)
    if not tuned:
        return {}
    frame = frame_of([run for run in results.over_the_space() if run["submission"] in tuned])
    frame = frame[frame["task"].isin(scores.tasks)]
    if not len(frame):
        return {}
    found = tabulate(add_scores(frame))
    whole = np.array([cell.means() for cell in found.cells])
    complete = ~np.isnan(whole).any(axis=0) & (len(found.cells) == len(scores.cells))
    return {name: float(found.overall[row]) for row, name in enumerate(found.names) if complete[row]}


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
    seconds = relative_seconds(runs, kind)
    standings = [_unranked(str(name), group, seconds) for name, group in runs.groupby("submission")]
    return sorted(standings, key=lambda s: (not s.converged, s.gradient_evaluations, s.submission))


def relative_seconds(runs: pd.DataFrame, kind: str) -> dict[str, float]:
    """Submission -> geometric mean over tasks of the training seconds per run, relative to that of `TIME_REFERENCES`.

    Where nothing is tuned, that is the reference with its default setting. Submissions that share no task with it are
    left out, and so are all where it is not in the results.
    """
    means = runs.pivot_table(index="submission", columns="task", values="seconds", observed=True)
    named = (TIME_REFERENCES[kind], f"{TIME_REFERENCES[kind]}[{FIXED}]")
    reference = next((name for name in named if name in means.index), None)
    if reference is None:
        return {}
    ratios = (means / means.loc[reference]).where(means > 0)
    relative = geometric_mean(ratios.to_numpy().T)
    return {str(name): float(ratio) for name, ratio in zip(means.index, relative, strict=True) if math.isfinite(ratio)}
