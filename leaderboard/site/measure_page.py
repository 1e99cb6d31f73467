"""The page of a measure: what it is, what tasks say of it, and its values everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import measure_text, task_text
from leaderboard.tables.table import ARROWS, DASH, Column, Table, columns, text
from leaderboard.tables.views import measured_cells


def measure_page(context: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    explanation = measure_text(name)
    values = [
        (board, row) for board in context.boards for row in context.measure_values[board.kind] if row.measure == name
    ]
    scored = [row.higher for _, row in values if row.axis]
    higher = scored[0] if scored else explanation.facts.get("higher")
    mentions = {
        task: " ".join(paragraph for paragraph in task_text(task).paragraphs if f"`{name}`" in paragraph)
        for task in sorted({row.task for _, row in values})
    }
    kinds = []
    for board in context.boards:
        rows = [row for other, row in values if other is board]
        if rows:
            kinds.append({"kind": board.kind, "numbers": _measure_values(board, rows)})
    facts = [(label, explanation.facts[label]) for label in ("unit", "scale", "source") if explanation.facts.get(label)]
    if higher is not None:
        facts.append(("higher is better" if higher else "lower is better", ARROWS[higher]))
    content = {
        "name": name,
        "explanation": explanation,
        "facts": facts,
        "mentions": [(task, sentences) for task, sentences in mentions.items() if sentences],
        "kinds": kinds,
    }
    return Page(path, "measure", "measures.html", content)


def _measure_values(board: Board, rows: Sequence[MeasureValues]) -> Table:
    submissions = (Column(f"of_{name}", name) for name in board.names)
    header = (*columns("task", words=True), Column("axis", "scored as", words=True), *submissions)
    entries = tuple(
        (
            text(row.task),
            text(row.axis or DASH),
            *measured_cells(row),
        )
        for row in rows
    )
    return Table(f"Means over the runs that reached the target loss, {board.kind}s", header, entries, stub=2)
