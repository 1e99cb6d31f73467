"""What solutions measure: the values themselves, beside what they score."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.ranking import Board, best
from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import AXES
from leaderboard.analysis.statistics import Array, Interval, critical_value, mean_of_known, spread


@dataclass(frozen=True)
class MeasureValues:
    """One measure on one task: the values [submissions, seeds] of the lanes at the stop, NaN for the others.

    `axis` is empty for a measure that is not scored; `higher` (larger is better) is then unknown, none is `best`, and
    there is neither `score_0` nor `score_1`, the references as means over seeds. `reported` says that tables show it.
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
        """The mean [submissions] over the lanes at the stop."""
        return mean_of_known(self.values.T)

    def estimates(self) -> list[Interval]:
        """The means with Student's 95 % intervals, in the order of `names`."""
        known = spread([self.values])
        half = critical_value(known.freedom) * np.where(known.freedom > 0, known.error, math.nan)
        return [Interval(float(m), float(m - h), float(m + h)) for m, h in zip(self.means, half, strict=True)]


def measure_values(results: Results, board: Board, every: bool = False) -> list[MeasureValues]:
    """The measures that tables show (or `every` one), task by task, scored ones first; submissions as in the table."""
    names = tuple(board.names)
    frame, scores = (frame[frame["kind"] == board.kind] for frame in (results.measures(), results.frame()))
    references = scores.groupby(["task", "measure"], observed=True)[["score_0", "score_1"]].mean()
    scored = {(cell.task, cell.measure): cell for cell in (*board.scores.cells, *board.beside.cells)}
    found = []
    for (task, measure), part in frame.groupby(["task", "measure"], sort=False):
        cell = scored.get((str(task), str(measure)))
        reported = bool(part["reported"].any())
        if reported or every:
            table = part.pivot_table(index="submission", columns="seed", values="value", dropna=False)
            values = table.reindex(names).to_numpy(dtype=float)
            axis, higher = (cell.axis, cell.higher) if cell else ("", None)
            marks = dict(zip(board.scores.names, best(cell.differences(), cell.means()), strict=True)) if cell else {}
            among = tuple(marks.get(name, False) for name in names)
            score_0, score_1 = map(float, references.loc[(task, measure)]) if cell else (None, None)
            found.append(
                MeasureValues(str(task), str(measure), axis, higher, reported, names, values, among, score_0, score_1)
            )
    return sorted(found, key=lambda m: (m.task, AXES.index(m.axis) if m.axis else len(AXES), not m.reported))
