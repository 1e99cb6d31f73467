"""What solutions measure: the values themselves, of which scores are made."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.ranking import Board, best
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import AXES
from leaderboard.analysis.statistics import Array, Interval, critical_value, nanmean, spread


@dataclass(frozen=True)
class MeasureValues:
    """One measure on one task.

    Attributes:
        task, measure: names.
        axis: the axis that the measure stands for; empty if it is not scored. Then `higher`, `score_0` and `score_1`
            are None, and no submission is `best`.
        higher: whether larger values are better.
        reported: whether tables show the measure.
        names: the submissions, in the order of the leaderboard.
        values: [submissions, seeds], of the runs that reached the target loss, NaN for the others.
        best: [submissions], whether a submission is among the best.
        score_0, score_1: the references, as means over seeds.
    """

    task: str
    measure: str
    axis: str
    higher: bool | None
    reported: bool
    names: tuple[str, ...]
    values: Array
    best: tuple[bool, ...]
    score_0: float | None = None
    score_1: float | None = None

    @functools.cached_property
    def means(self) -> Array:
        """The mean [submissions] over the runs that reached the target loss."""
        return nanmean(self.values.T)

    def estimates(self) -> list[Interval]:
        """The means with Student's 95 % intervals, in the order of `names`."""
        precision = spread([self.values])
        half = critical_value(precision.freedom) * np.where(precision.freedom > 0, precision.error, math.nan)
        return [Interval(float(m), float(m - h), float(m + h)) for m, h in zip(self.means, half, strict=True)]


def measure_values(results: Results, board: Board, every: bool = False) -> list[MeasureValues]:
    """The measures of all tasks of a kind of submission.

    Args:
        results: where the values are.
        board: the leaderboard of that kind, for the order of submissions and for what is scored.
        every: also the measures that tables do not show.

    Returns:
        Task by task, scored measures first.
    """
    names = tuple(board.names)
    frame, scores = (frame[frame["kind"] == board.kind] for frame in (results.measures(), results.frame()))
    references = scores.groupby(["task", "measure"], observed=True)[["score_0", "score_1"]].mean()
    scored = {(cell.task, cell.measure): cell for cell in (*board.scores.cells, *board.extra_scores.cells)}
    measured = []
    for (task, measure), part in frame.groupby(["task", "measure"], sort=False):
        reported = bool(part["reported"].any())
        if not (reported or every):
            continue
        table = part.pivot_table(index="submission", columns="seed", values="value", dropna=False)
        values = table.reindex(names).to_numpy(dtype=float)
        key = str(task), str(measure)
        if key in scored:
            cell = scored[key]
            marks = dict(zip(board.scores.names, best(cell.differences(), cell.means()), strict=True))
            axis, higher, bests = cell.axis, cell.higher, tuple(marks.get(name, False) for name in names)
            score_0, score_1 = map(float, references.loc[(task, measure)])
            measured.append(MeasureValues(*key, axis, higher, reported, names, values, bests, score_0, score_1))
        else:
            measured.append(MeasureValues(*key, "", None, reported, names, values, (False,) * len(names)))
    return sorted(
        measured, key=lambda row: (row.task, AXES.index(row.axis) if row.axis else len(AXES), not row.reported)
    )
