"""The front page, and the lists of tasks and measures."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from leaderboard.analysis.advice import order_basis
from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.ranking import board as board_of
from leaderboard.analysis.scoring import AXES
from leaderboard.analysis.statistics import Array, Interval, mean_ranks, nemenyi_distance
from leaderboard.figures import Panel, Picture, Place, critical_difference, tradeoff
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import measure_text, task_text
from leaderboard.tables import views
from leaderboard.tables.table import DAGGER, Table


def index(context: SiteContext) -> Page:
    """The leaderboard."""
    scored = context.results.scored()
    facts = [
        (sum(len(board.standings) for board in context.boards), "submissions"),
        (len(context.runs_of_task), "tasks"),
        (max(len({record["seed"] for record in runs}) for runs in context.runs_of_task.values()), "seeds"),
        (f"{len(scored):,}", "scored runs"),
        (f"{len(context.results.records) - len(scored):,}", "tuning runs"),
        (max(str(record.get("time", ""))[:10] for record in scored) or "–", "last record"),
    ]
    kinds = [
        {
            "kind": board.kind,
            "profile": views.profile(board, context.results),
            "ranking": views.ranking(board, context.results),
            "basis": order_basis(board),
            "advice": views.advice(board, context.results),
            "implicit": _implicit(context, board),
            "explicit": any(standing.explicit for standing in board.standings),
            "tradeoff": tradeoff_of(context, board),
            "heat": _heat(board),
            "ranks": mean_ranks_of(board),
        }
        for board in context.boards
    ]
    return Page("index.html", "index", "index.html", {"facts": facts, "kinds": kinds})


def _implicit(context: SiteContext, board: Board) -> Table | None:
    """The ranking without what regularizes on purpose, where there is something of both."""
    explicit = {standing.explicit for standing in board.standings}
    if len(explicit) < 2:
        return None
    return views.ranking(board_of(context.results, board.kind, implicit_only=True), context.results)


def tradeoff_of(context: SiteContext, board: Board) -> Picture | None:
    """A panel for every task with a flatness measure and a test error."""
    explicit = {standing.submission: standing.explicit for standing in board.standings}
    tasks: dict[str, dict[str, MeasureValues]] = defaultdict(dict)
    for row in context.measure_values[board.kind]:
        if row.axis in ("flatness", "generalization"):
            tasks[row.task][row.axis] = row
    panels = []
    for task, axes in tasks.items():
        if len(axes) == 2:
            flatness, error = axes["flatness"], axes["generalization"]
            x, y = (list(zip(_lower_is_better(row), _runs(row), strict=True)) for row in (flatness, error))
            places = [
                Place(name, across, up, np.column_stack([runs, others]), explicit[name])
                for name, (across, runs), (up, others) in zip(flatness.names, x, y, strict=True)
            ]
            panels.append(Panel(task, places, _label(flatness), _label(error)))
    return tradeoff(f"tradeoff-{board.kind}", panels) if panels else None


def _lower_is_better(row: MeasureValues) -> list[Interval]:
    """The estimates [submissions] of a measure; one over them if higher is better."""
    if not row.higher:
        return row.estimates()
    return [Interval(1 / value.value, 1 / value.high, 1 / value.low) for value in row.estimates()]


def _runs(row: MeasureValues) -> Array:
    """The values [submissions, seeds] of a measure; one over them if higher is better."""
    return 1 / row.values if row.higher else row.values


def _label(row: MeasureValues) -> str:
    return f"1 / {row.measure}" if row.higher else row.measure


def _heat(board: Board) -> dict[str, Any] | None:
    """A column is an axis of a task; a row is a submission with its mean scores, None where it lacks the task."""
    cells = sorted(board.scores.cells, key=lambda cell: (cell.family, cell.task, AXES.index(cell.axis)))
    if not cells:
        return None
    means = dict(zip(board.scores.names, np.array([cell.means() for cell in cells]).T, strict=True))
    explicit = {standing.submission for standing in board.standings if standing.explicit}
    rows = [
        (name, name in explicit, [None if math.isnan(score) else float(score) for score in means[name]])
        for name in board.names
    ]
    return {"cells": cells, "rows": rows, "dagger": DAGGER}


def mean_ranks_of(board: Board) -> Picture | None:
    ranked = board.ranked
    if len(ranked.names) < 3 or len(ranked.cells) < 2:
        return None
    cells = len(ranked.cells)
    distance = nemenyi_distance(len(ranked.names), cells)
    means = mean_ranks([cell.means() for cell in ranked.cells])
    return critical_difference(f"ranks-{board.kind}", ranked.names, means, distance, cells)


def task_list(context: SiteContext) -> Page:
    """All tasks, by family."""
    families: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for name, runs in sorted(context.runs_of_task.items()):
        families[runs[0]["family"]].append((name, context.links.link("task", name), task_text(name).first))
    content = {
        "heading": "Tasks",
        "lead": "What each task asks, and what its reference solution is. Families weigh equally in the scores.",
        "groups": sorted(families.items()),
    }
    return Page("tasks.html", "list", "tasks.html", content)


def measure_list(context: SiteContext) -> Page:
    """All measures, scored ones first."""
    scored = {row.measure for rows in context.measure_values.values() for row in rows if row.axis}
    groups: dict[str, list[tuple[str, str, str]]] = {"Scored": [], "Reported": []}
    for name in context.names_of_measures():
        card = (name, context.links.link("measure", name), measure_text(name).first)
        groups["Scored" if name in scored else "Reported"].append(card)
    content = {
        "heading": "Measures",
        "lead": "The numbers taken of every solution. Only those are scored that no rescaling of the network changes.",
        "groups": [(label, cards) for label, cards in groups.items() if cards],
    }
    return Page("measures.html", "list", "measures.html", content)
