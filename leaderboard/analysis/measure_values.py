"""What solutions measure: the values themselves, of which scores are made."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from leaderboard.analysis.ranking import Board, best_of_cell
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import AXES
from leaderboard.analysis.statistics import Array, Interval, mean_interval


@dataclass(frozen=True)
class MeasureValues:
    """One measure on one task.

    Attributes:
        reported: whether tables show the measure.
        names: the submissions, in the order of the leaderboard.
        values: [submissions, seeds], means over a seed's runs: one, or one for every setting that is scored. NaN where
            one of them missed the target loss.
        seeds: [submissions], how many seeds a submission has on the task, with those that are NaN.
        best: [submissions], whether a submission is among the best; none is where the measure is not scored, or without
            some of its seeds.
        axis: the axis that the measure stands for; empty if it is not scored.
        higher: whether larger values are better; None if it is not scored.
        score_0, score_1: the references, as means over seeds; None if it is not scored.
    """

    task: str
    measure: str
    reported: bool
    names: tuple[str, ...]
    values: Array
    seeds: tuple[int, ...]
    best: tuple[bool, ...]
    axis: str = ""
    higher: bool | None = None
    score_0: float | None = None
    score_1: float | None = None

    @functools.cached_property
    def measured(self) -> list[int]:
        """How many seeds [submissions] these means are over."""
        return [int(count) for count in np.isfinite(self.values).sum(axis=1)]

    def estimates(self) -> list[Interval]:
        """The means with Student's 95 % intervals, in the order of `names`."""
        return [mean_interval(values) for values in self.values]


def measure_values(results: Results, board: Board, every: bool = False) -> list[MeasureValues]:
    """The measures of all tasks of the board's kind of submission: task by task, scored measures first.

    Args:
        results: where the values are.
        board: says the order of submissions and what is scored.
        every: also the measures that tables do not show.
    """
    names = tuple(board.names)
    frame, scores = (frame[frame["kind"] == board.kind] for frame in (results.measures(), results.frame()))
    references = scores.groupby(["task", "measure"], observed=True)[["score_0", "score_1"]].mean()
    runs = Counter(
        (run["task"], run["submission"], run["seed"]) for run in results.scored() if run["kind"] == board.kind
    )
    seeds = Counter((task, submission) for task, submission, _ in runs)
    scored = {(cell.task, cell.measure): cell for cell in (*board.scores.cells, *board.extra_scores.cells)}
    rows = []
    for (task, measure), part in frame.groupby(["task", "measure"], sort=False):
        reported = bool(part["reported"].any())
        if not (reported or every):
            continue
        of_seeds = part.groupby(["submission", "seed"], observed=True)["value"].agg(["mean", "count"])
        complete = [count == runs[task, *key] for key, count in of_seeds["count"].items()]
        values = of_seeds["mean"].where(complete).unstack("seed").reindex(names).to_numpy(dtype=float)
        key = str(task), str(measure)
        every_seed = tuple(seeds[key[0], name] for name in names)
        row = MeasureValues(*key, reported, names, values, every_seed, best=(False,) * len(names))
        if cell := scored.get(key):
            marks = dict(zip(board.scores.names, best_of_cell(cell), strict=True))
            bests = tuple(marks.get(name, False) for name in names)
            score_0, score_1 = map(float, references.loc[key])
            row = replace(row, best=bests, axis=cell.axis, higher=cell.higher, score_0=score_0, score_1=score_1)
        rows.append(row)
    return sorted(rows, key=lambda row: (row.task, AXES.index(row.axis) if row.axis else len(AXES), not row.reported))
