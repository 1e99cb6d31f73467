"""The page of a measure: what it is, what tasks say of it, and its values everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import measure_text, task_text
from leaderboard.tables.table import DASH, Column, Table, estimate, text


def measure(survey: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    explanation = measure_text(name)
    labels = {"unit": "unit", "scale": "scale", "source": "source"}
    facts = [(label, explanation.facts[key]) for key, label in labels.items() if explanation.facts.get(key)]
    kinds = []
    tasks: list[str] = []
    for board in survey.boards:
        rows = [row for row in survey.measured[board.kind] if row.measure == name]
        tasks += [row.task for row in rows]
        if rows:
            kinds.append({"kind": board.kind, "numbers": _measure_values(board, rows)})
    mentions = [
        (task, sentences)
        for task in sorted(set(tasks))
        for sentences in [_mentions(name, task_text(task).paragraphs)]
        if sentences
    ]
    content = {"name": name, "explanation": explanation, "facts": facts, "mentions": mentions, "kinds": kinds}
    return Page(path, "measure", "measures.html", content)


def _measure_values(board: Board, rows: Sequence[MeasureValues]) -> Table:
    columns = (
        Column("task", "task", words=True), Column("axis", "scored as", words=True),
        *(Column(f"of_{name}", name) for name in board.names),
    )  # fmt: skip
    made = tuple(
        (
            text(row.task),
            text(row.axis or DASH),
            *(estimate(*pair, bounds=False) for pair in zip(row.estimates(), row.best, strict=True)),
        )
        for row in rows
    )
    return Table(f"Means over the lanes at the stop, {board.kind}s", columns, made, stub=2)


def _mentions(name: str, paragraphs: Sequence[str]) -> str:
    """What a task's text says of a measure: the paragraphs that name it."""
    return " ".join(paragraph for paragraph in paragraphs if f"`{name}`" in paragraph)
