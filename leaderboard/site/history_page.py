"""The page of the best score on every task, day by day."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from leaderboard.analysis.ranking import Board
from leaderboard.figures import Chart, Line, Picture, small_multiples
from leaderboard.site.shared import Page, SiteContext
from leaderboard.tables.table import Table, columns, number, text


@dataclass(frozen=True)
class BestScore:
    """A score on a task that was the best of its day and higher than all before; `day` as in ISO 8601."""

    task: str
    day: str
    submission: str
    score: float


def best_scores(context: SiteContext, board: Board) -> list[BestScore]:
    """Task by task, and day by day, who set the best score so far.

    A submission's score on a task is the mean over the axes, as in the scores of families. It counts from the day on
    which the last of its scored runs there was recorded, since records say when a run was made and nothing else.
    """
    days: dict[tuple[str, str], str] = {}
    for record in context.results.scored():
        if record["kind"] == board.kind and record.get("time"):
            key = record["task"], record["submission"]
            days[key] = max(days.get(key, ""), str(record["time"])[:10])
    cells: dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]] = defaultdict(list)
    for cell in board.scores.cells:
        cells[cell.task].append(cell.means())
    found = []
    for task, axes in sorted(cells.items()):
        means = dict(zip(board.scores.names, np.mean(axes, axis=0).tolist(), strict=True))
        known = [(days[task, name], -score, name) for name, score in means.items() if (task, name) in days]
        best = -np.inf
        for day, negative, name in sorted(known):  # of one day the best one first
            if -negative > best:
                best = -negative
                found.append(BestScore(task, day, name, best))
    return found


def history_page(context: SiteContext) -> Page:
    """For each kind the table of best scores, and a picture where they are of several days."""
    kinds = []
    for board in context.boards:
        if steps := best_scores(context, board):
            runs = [run for run in context.results.scored() if run["kind"] == board.kind]
            days = sorted({str(run.get("time", ""))[:10] for run in runs} - {""})
            picture = _picture(board, steps, days)
            kinds.append({"kind": board.kind, "days": days, "table": _table(steps), "picture": picture})
    return Page("history.html", "history", "history.html", {"kinds": kinds})


def _table(steps: list[BestScore]) -> Table:
    header = (*columns("task", words=True), *columns("day", "submission", words=True), *columns("score"))
    rows = tuple((text(step.task), text(step.day), text(step.submission), number(step.score, ".3f")) for step in steps)
    return Table("Who set the best score, and when", header, rows, stub=1)


def _picture(board: Board, steps: list[BestScore], days: list[str]) -> Picture | None:
    """A panel for each task whose best score rose after its first day, in days since the first record; None without.

    The title of a panel names who has the best score now.
    """
    if not days:
        return None
    first = date.fromisoformat(days[0])
    last = (date.fromisoformat(days[-1]) - first).days
    of_task: dict[str, list[BestScore]] = defaultdict(list)
    for step in steps:
        of_task[step.task].append(step)
    charts = []
    for task, own in of_task.items():
        if own[0].day == own[-1].day:
            continue
        starts = [(date.fromisoformat(step.day) - first).days for step in own]
        # A step: each best score holds until the next one.
        x = [edge for start, end in zip(starts, [*starts[1:], last], strict=True) for edge in (start, end)]
        y = [step.score for step in own for _ in range(2)]
        charts.append(Chart(f"{task}: {own[-1].submission}", [Line("", x, y)], f"days since {days[0]}", "best score"))
    if not charts:
        return None
    alt = f"The best score of any {board.kind} on each task, by days since {days[0]}."
    return small_multiples(f"history-{board.kind}", charts, alt)
