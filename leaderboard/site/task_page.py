"""The page of a task: what it asks, what is scored, who measured what, and pictures of the solutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.scoring import Cell
from leaderboard.figures.lines import curves
from leaderboard.figures.strips import Strip, distributions
from leaderboard.figures.svg import Picture
from leaderboard.site.curves import chart
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import task_text
from leaderboard.tables.table import Column, Table, TableCell, estimate, number, text
from suite.storage.record import Record


def task(survey: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    own = survey.of_task[name]
    counts = any(name in board.scores.tasks for board in survey.boards)
    kinds = [_task_kind(survey, board, name) for board in survey.boards if any(r["kind"] == board.kind for r in own)]
    content = {
        "name": name,
        "family": own[0]["family"],
        "counts": counts,
        "explanation": task_text(name),
        "axes": _axes(own),
        "kinds": kinds,
    }
    return Page(path, "task", "tasks.html", content)


def _task_kind(survey: SiteContext, board: Board, name: str) -> dict[str, Any]:
    rows = [row for row in survey.measured[board.kind] if row.task == name and row.reported]
    cells = [cell for cell in (*board.scores.cells, *board.beside.cells) if cell.task == name]
    lanes = [record for record in survey.of_task[name] if record["kind"] == board.kind]
    return {
        "kind": board.kind,
        "numbers": _task_values(board, rows, cells, lanes),
        "lanes": _lanes(name, board, rows, lanes),
        "curves": list(_task_curves(name, board, lanes)),
    }


def _lanes(name: str, board: Board, rows: Sequence[MeasureValues], lanes: Sequence[Record]) -> Picture | None:
    strips = [
        Strip(
            row.measure, row.names, row.values, *_references(row.axis, lanes),
            direction={True: "(higher is better)", False: "(lower is better)", None: ""}[row.higher],
        )
        for row in rows
        if not np.isnan(row.values).all()
    ]  # fmt: skip
    return distributions(f"{name}-{board.kind}", strips) if strips else None


def _task_curves(task: str, board: Board, lanes: Sequence[Record]) -> Iterator[tuple[Picture, str]]:
    """The training curves of all submissions, then whatever the task draws of its solutions."""
    order = {name: place for place, name in enumerate(board.names)}
    drawn: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for record in sorted(lanes, key=lambda record: order.get(record["submission"], len(order))):
        for name, curve in record.get("curves", {}).items():
            drawn[name].append((record["submission"], curve))
    for name, lines in drawn.items():
        words = name.replace("_", " ")
        alt = f"{words.capitalize()} of {len(lines)} submissions on {task}, first scored seed."
        beside = "; dotted: the oracle" if lines[0][1]["oracle"] is not None else ""
        picture = curves(f"{task}-{board.kind}-{name}", [chart("", lines)], alt)
        yield picture, f"{words.capitalize()} of the first scored seed{beside}."


def _axes(lanes: Sequence[Record]) -> Table:
    """What is scored on a task, and the references; a range where theory gives them per data set."""
    columns = (
        Column("axis", "axis", words=True), Column("measure", "measure", words=True),
        Column("scale", "scale", words=True), Column("score_0", "score_0 (score 0)"), Column("score_1", "score_1 (score 1)"),
        Column("floor", "floor"),
    )  # fmt: skip
    rows = []
    for axis, first in lanes[0]["axes"].items():
        stated = [record["axes"][axis] for record in lanes if axis in record["axes"]]
        rows.append(
            (
                text(axis),
                text(first["measure"]),
                text(first["scale"]),
                *(_range([entry[key] for entry in stated]) for key in ("score_0", "score_1", "floor")),
            )
        )
    return Table("What is scored", columns, tuple(rows), stub=2)


def _range(values: Sequence[float | None]) -> TableCell:
    known = sorted({value for value in values if value is not None})
    if len(known) < 2:
        return number(known[0] if known else None)
    return text(f"{known[0]:.3g} to {known[-1]:.3g}")


def _references(axis: str, lanes: Sequence[Record]) -> tuple[float | None, float | None]:
    """(score_0, score_1) of an axis where they are the same for every seed."""
    stated = {(r["axes"][axis]["score_0"], r["axes"][axis]["score_1"]) for r in lanes if axis in r["axes"]}
    return stated.pop() if len(stated) == 1 else (None, None)


def _task_values(board: Board, rows: Sequence[MeasureValues], cells: Sequence[Cell], lanes: Sequence[Record]) -> Table:
    """A row for every submission: what it scored and measured on the task, and how many lanes met the stop."""
    columns = [Column("submission", "submission", words=True)]
    columns += [Column(f"score_{cell.axis}", f"{cell.axis} score") for cell in cells]
    columns += [Column(f"m_{row.measure}", row.measure) for row in rows]
    columns += [Column("stop", "at stop"), Column("gradients", "gradients")]
    of_name: dict[str, list[Record]] = defaultdict(list)
    for record in lanes:
        of_name[record["submission"]].append(record)
    scores = [dict(zip(board.scores.names, cell.estimates(), strict=True)) for cell in cells]
    measures = [dict(zip(row.names, zip(row.estimates(), row.best, strict=True), strict=True)) for row in rows]
    made = []
    for name in [*board.names, *sorted(of_name.keys() - set(board.names))]:
        own = of_name.get(name)
        if not own:
            continue
        entries = [estimate(score[name]) if name in score else number(None) for score in scores]
        entries += [estimate(*pairs[name]) if name in pairs else number(None) for pairs in measures]
        met = sum(record["converged"] for record in own)
        gradients = sum(record["gradient_evaluations"] for record in own) / len(own)
        made.append((text(name), *entries, number(met, "d", f"/{len(own)}"), number(gradients, ".0f")))
    return Table(f"{board.kind.capitalize()}s on this task", tuple(columns), tuple(made))
