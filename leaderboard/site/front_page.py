"""The front page, and the lists of tasks and measures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.scoring import Cell
from leaderboard.analysis.statistics import Interval, mean_ranks, nemenyi_distance
from leaderboard.figures.ranks import critical_difference
from leaderboard.figures.svg import Picture
from leaderboard.figures.tradeoff import Panel, Place, tradeoff
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import measure_text, task_text
from leaderboard.tables import views
from suite.tracks import TRACKS


def index(survey: SiteContext) -> Page:
    """The leaderboard."""
    scored = survey.results.scored()
    facts = [
        (sum(len(board.standings) for board in survey.boards), "submissions"),
        (len(survey.of_task), "tasks"),
        (max(len({record["seed"] for record in own}) for own in survey.of_task.values()), "seeds"),
        (f"{len(scored):,}", "scored lanes"),
        (f"{len(survey.results.records) - len(scored):,}", "tuning lanes"),
        (max(str(record.get("time", ""))[:10] for record in scored) or "–", "last record"),
    ]
    kinds = [_kind(survey, board) for board in survey.boards]
    return Page("index.html", "index", "index.html", {"facts": facts, "notes": _notes(survey), "kinds": kinds})


def _notes(survey: SiteContext) -> list[str]:
    track = TRACKS.get(survey.results.track)
    lacking = sorted(set(track.tasks) - survey.of_task.keys()) if track else []
    return [f"Not run: {', '.join(lacking)}."] if lacking else []


def _kind(survey: SiteContext, board: Board) -> dict[str, Any]:
    return {
        "kind": board.kind,
        "ranking": views.ranking(board, survey.results),
        "explicit": any(standing.explicit for standing in board.standings),
        "tradeoff": _tradeoff(survey, board),
        "heat": _heat(board),
        "ranks": _mean_ranks(board),
    }


def _tradeoff(survey: SiteContext, board: Board) -> Picture | None:
    """A panel for every task with a flatness measure and a test error."""
    explicit = {standing.submission: standing.explicit for standing in board.standings}
    tasks: dict[str, dict[str, MeasureValues]] = defaultdict(dict)
    for row in survey.measured[board.kind]:
        if row.axis in ("flatness", "generalization"):
            tasks[row.task][row.axis] = row
    panels = [
        Panel(
            task,
            [
                Place(name, _lower(flat.higher, x), _lower(error.higher, y), explicit[name])
                for name, x, y in zip(flat.names, flat.estimates(), error.estimates(), strict=True)
            ],
            _label(flat),
            _label(error),
        )
        for task, axes in tasks.items()
        if len(axes) == 2
        for flat, error in [(axes["flatness"], axes["generalization"])]
    ]
    return tradeoff(f"tradeoff-{board.kind}", panels) if panels else None


def _lower(higher: bool | None, interval: Interval) -> Interval:
    """The interval of a measure of which lower is better: one over it if higher is."""
    if not higher:
        return interval
    return Interval(1 / interval.value, 1 / interval.high, 1 / interval.low)


def _label(row: MeasureValues) -> str:
    return f"1 / {row.measure}" if row.higher else row.measure


@dataclass(frozen=True)
class Heat:
    """Scores of every submission on every axis of every task; None where a submission lacks the task."""

    cells: Sequence[Cell]
    rows: list[tuple[str, list[float | None]]]


def _heat(board: Board) -> Heat | None:
    cells = sorted(board.scores.cells, key=lambda cell: (cell.family, cell.task, cell.axis))
    if not cells:
        return None
    means = dict(zip(board.scores.names, np.array([cell.means() for cell in cells]).T, strict=True))
    rows = [(name, [None if math.isnan(score) else float(score) for score in means[name]]) for name in board.names]
    return Heat(cells, rows)


def _mean_ranks(board: Board) -> Picture | None:
    ranked = board.ranked
    if len(ranked.names) < 3 or len(ranked.cells) < 2:
        return None
    cells = len(ranked.cells)
    distance = nemenyi_distance(len(ranked.names), cells)
    means = mean_ranks([cell.means() for cell in ranked.cells])
    return critical_difference(f"ranks-{board.kind}", ranked.names, means, distance, cells)


def task_list(survey: SiteContext) -> Page:
    """All tasks, by family."""
    families: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for name, own in sorted(survey.of_task.items()):
        card = (name, survey.links.link("task", name), task_text(name).first)
        families[own[0]["family"]].append(card)
    content = {
        "heading": "Tasks",
        "lead": "What each asks, and what the right answer is. Families weigh equally in the scores.",
        "groups": sorted(families.items()),
    }
    return Page("tasks.html", "list", "tasks.html", content)


def measure_list(survey: SiteContext) -> Page:
    """All measures, scored ones first."""
    scored = {row.measure for rows in survey.measured.values() for row in rows if row.axis}
    groups: dict[str, list[tuple[str, str, str]]] = {"Scored": [], "Shown": []}
    for name in survey.shown_measures():
        card = (name, survey.links.link("measure", name), measure_text(name).first)
        groups["Scored" if name in scored else "Shown"].append(card)
    content = {
        "heading": "Measures",
        "lead": "What is taken of every solution. Scored are only those that no rescaling of a network can move.",
        "groups": [(label, cards) for label, cards in groups.items() if cards],
    }
    return Page("measures.html", "list", "measures.html", content)
