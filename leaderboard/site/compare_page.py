"""The page that compares any two submissions, and the numbers that its script looks up: every test is made here."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboard.analysis.differences import Differences
from leaderboard.analysis.rank_intervals import rank_intervals
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.statistics import SIGNIFICANCE, Interval, critical_value
from leaderboard.site.shared import MOST_COMPARED, Page, SiteContext

OVERALL = "overall"


def compare_page(context: SiteContext) -> Page:
    """The page itself, whose table the script fills."""
    counts = [(board.kind, len(board.scores.names)) for board in context.boards]
    content = {
        "kinds": list(context.comparable),
        "most": MOST_COMPARED,
        "left_out": [(kind, count) for kind, count in counts if count > MOST_COMPARED],
    }
    return Page("compare.html", "compare", "compare.html", content)


def comparison_script(context: SiteContext) -> str:
    """The numbers of all pairs as a script, since pages that are opened from a disk may load nothing else.

    It assigns a mapping: kind -> `names`, `pages` (their paths) and `rows`. A row is a score: its `axis`, its `task`
    and the task's `page` (empty of overall and axis scores), `scores` with (value, low, high) for each name, and
    `pairs` with (difference, low, high, shared seeds, verdict) of names i < j in the order of `itertools.combinations`.
    The verdict is 1 where the first one is higher, -1 where the second one is, 0 where the test does not tell them
    apart. What is unknown is null.
    """
    data = {board.kind: _board(context, board) for board in context.boards if board.kind in context.comparable}
    return f"const COMPARISONS = {json.dumps(data, separators=(',', ':'))};\n"


def _board(context: SiteContext, board: Board) -> dict[str, Any]:
    names = context.comparable[board.kind]
    link = context.links.link
    rows = [_aggregate(board, names, axis) for axis in (OVERALL, *board.scores.axes)] if board.ranked.names else []
    for cell in sorted(board.scores.cells, key=lambda cell: (cell.family, cell.task)):
        differences = cell.differences()
        better = _signs(differences, differences.p_values() < SIGNIFICANCE)
        estimates = dict(zip(board.scores.names, cell.estimates(), strict=True))
        rows.append(
            {"axis": cell.axis, "task": cell.task, "page": link("task", cell.task)}
            | _numbers(names, board.scores.names, estimates, differences, better)
        )
    return {"names": names, "pages": [link("submission", name) for name in names], "rows": rows}


def _aggregate(board: Board, names: Sequence[str], axis: str) -> dict[str, Any]:
    """The row of the overall score, by the ranking's simultaneous test, or of an axis score, by a paired test."""
    ranked = board.ranked
    differences = ranked.differences(None if axis == OVERALL else axis)
    if axis == OVERALL:
        above = rank_intervals(differences).better
        better = above.astype(int) - above.T
    else:
        better = _signs(differences, differences.p_values() < SIGNIFICANCE)
    standings = {standing.submission: standing for standing in board.standings if standing.rank}
    estimates = {
        name: standing.overall if axis == OVERALL else standing.axes[axis]
        for name, standing in standings.items()
        if axis == OVERALL or axis in standing.axes
    }
    return {"axis": axis, "task": "", "page": ""} | _numbers(names, ranked.names, estimates, differences, better)


def _signs(differences: Differences, apart: NDArray[np.bool_]) -> NDArray[np.int_]:
    """1 where the row is higher than the column, -1 where it is lower, 0 where the test does not tell."""
    return np.where(apart, np.sign(np.nan_to_num(differences.difference)), 0).astype(int)


def _numbers(
    names: Sequence[str],
    entries: Sequence[str],
    estimates: dict[str, Interval],
    differences: Differences,
    better: NDArray[np.int_],
) -> dict[str, Any]:
    """`scores` and `pairs` of a row; `entries` are those of `differences` and `better`."""
    place = {name: number for number, name in enumerate(entries)}
    half = critical_value(differences.spread.freedom) * differences.spread.error
    scores = [_rounded(*_bounds(estimates[name])) if name in estimates else None for name in names]
    pairs: list[list[float | None] | None] = []
    for one, other in itertools.combinations(names, 2):
        pair = place.get(one), place.get(other)
        if None in pair or math.isnan(difference := float(differences.difference[pair])):
            pairs.append(None)
            continue
        width = float(half[pair])
        bounds = _rounded(difference, difference - width, difference + width)
        pairs.append([*bounds, int(differences.seeds[pair]), int(better[pair])])
    return {"scores": [None if score is None or score[0] is None else score for score in scores], "pairs": pairs}


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _rounded(*values: float) -> list[float | None]:
    """With one digit more than is printed."""
    return [None if not math.isfinite(value) else round(float(value), 4) for value in values]
