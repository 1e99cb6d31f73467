"""The page of a task: what it asks, what is scored, who measured what, and pictures of the solutions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from leaderboard.analysis.measure_values import MeasureValues
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.scoring import Cell
from leaderboard.figures import Picture, Strip, curves, distributions
from leaderboard.site.shared import Page, SiteContext, chart
from leaderboard.site.texts import task_text
from leaderboard.tables.table import (
    ARROWS,
    DASH,
    Column,
    Table,
    TableCell,
    columns,
    estimate,
    measure_name,
    number,
    text,
)
from leaderboard.tables.views import measured_cells, provisional
from suite.storage.record import Record

LOSS = "training_loss"
"""The curve that every task has."""


def task_page(context: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    runs = context.runs_of_task[name]
    counts = any(name in board.scores.tasks for board in context.boards)
    kinds = {record["kind"] for record in runs}
    content = {
        "name": name,
        "family": runs[0]["family"],
        "counts": counts,
        "explanation": task_text(name),
        "axes": _axes(runs),
        "kinds": [_task_kind(context, board, name) for board in context.boards if board.kind in kinds],
    }
    return Page(path, "task", "tasks.html", content)


def _task_kind(context: SiteContext, board: Board, name: str) -> dict[str, Any]:
    rows = [row for row in context.measure_values[board.kind] if row.task == name and row.reported]
    cells = [cell for cell in (*board.scores.cells, *board.extra_scores.cells) if cell.task == name]
    runs = [record for record in context.runs_of_task[name] if record["kind"] == board.kind]
    theory = _of_task(context.predictions[board.kind], name)
    return {
        "kind": board.kind,
        "numbers": _task_values(board, rows, cells, runs, theory),
        "predictions": theory.choose(["submission", "prediction", "measured", "seeds", "verdict", "basis", "source"]),
        "distributions": distributions_of(name, board, rows, runs),
        "curves": list(curves_of(name, board, runs)),
    }


def _of_task(predictions: Table, name: str) -> Table:
    """The predictions for the task alone."""
    place = predictions.position("task")
    return replace(predictions, rows=tuple(row for row in predictions.rows if row[place].value == name))


def distributions_of(name: str, board: Board, rows: Sequence[MeasureValues], runs: Sequence[Record]) -> Picture | None:
    """The values of every run, measure by measure."""
    words = {True: "(higher is better)", False: "(lower is better)", None: ""}
    strips = [
        Strip(
            row.measure,
            row.names,
            row.values,
            row.estimates(),
            *_references(row.axis, runs),
            direction=words[row.higher],
        )
        for row in rows
        if not np.isnan(row.values).all()
    ]
    return distributions(f"{name}-{board.kind}", strips) if strips else None


def curves_of(task: str, board: Board, runs: Sequence[Record]) -> Iterator[tuple[Picture, str, str]]:
    """The training curves of all submissions, then whatever the task draws of its solutions.

    Each with its caption, and its name among the figures of `lowlands figure`.
    """
    order = {name: place for place, name in enumerate(board.names)}
    lines: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for record in sorted(runs, key=lambda record: order.get(record["submission"], len(order))):
        for name, curve in record.get("curves", {}).items():
            if not lines[name] or lines[name][-1][0] != record["submission"]:  # of several settings the first
                lines[name].append((record["submission"], curve))
    for name, pairs in lines.items():
        words = name.replace("_", " ").capitalize()
        alt = f"{words} of {len(pairs)} submissions on {task}, first scored seed."
        oracle = "; dotted: the oracle" if pairs[0][1]["oracle"] is not None else ""
        yield (
            curves(f"{task}-{board.kind}-{name}", [chart("", pairs)], alt),
            f"{words} of the first scored seed{oracle}.",
            curve_figure(task, name),
        )


def curve_figure(task: str, curve: str) -> str:
    """The name of the figure of a task's curve."""
    return f"curves:{task}" if curve == LOSS else f"curves:{task}:{curve}"


def _axes(runs: Sequence[Record]) -> Table:
    """What is scored on a task, and the references; a range where theory gives them for each data set."""
    references = (Column("score_0", "scores 0 at"), Column("score_1", "scores 1 at"), *columns("floor"))
    header = (*columns("axis", "measure", "scale", words=True), *references)
    rows = []
    for axis, first in runs[0]["axes"].items():
        stated = [record["axes"][axis] for record in runs if axis in record["axes"]]
        measure = first["measure"]
        rows.append(
            (
                text(axis),
                measure_name(measure, first["score_1"] > first["score_0"]),
                text(first["scale"]),
                *(_range([reference[key] for reference in stated]) for key in ("score_0", "score_1", "floor")),
            )
        )
    return Table("What is scored", header, tuple(rows), stub=2, notes=tuple(provisional(runs)))


def _range(values: Sequence[float | None]) -> TableCell:
    """The one value of all seeds, or their range."""
    numbers = sorted({value for value in values if value is not None})
    if len(numbers) < 2:
        return number(numbers[0] if numbers else None)
    return text(f"{numbers[0]:.3g} to {numbers[-1]:.3g}")


def _references(axis: str, runs: Sequence[Record]) -> tuple[float | None, float | None]:
    """(score_0, score_1) of an axis where they are the same for every seed, else (None, None)."""
    axes = [record["axes"][axis] for record in runs if axis in record["axes"]]
    references = {(stated["score_0"], stated["score_1"]) for stated in axes}
    return references.pop() if len(references) == 1 else (None, None)


def _task_values(
    board: Board, rows: Sequence[MeasureValues], cells: Sequence[Cell], runs: Sequence[Record], theory: Table
) -> Table:
    """A row for every submission: its scores and measures on the task, and how many runs reached the target loss.

    Where theory predicts something of methods on the task there is a column for it, which is no part of the scores.
    """
    header = [
        *columns("submission", words=True),
        *(Column(f"score_{cell.axis}", f"{cell.axis} score") for cell in cells),
    ]
    header += [Column(f"m_{row.measure}", f"{row.measure} {ARROWS[row.higher]}".rstrip()) for row in rows]
    verdicts = _verdicts(theory)
    header += [Column("theory", "does what theory says", words=True)] if verdicts else []
    header += [Column("target", "at target"), *columns("gradients")]
    runs_of: dict[str, list[Record]] = defaultdict(list)
    for record in runs:
        runs_of[record["submission"]].append(record)
    scores = [dict(zip(board.scores.names, cell.estimates(), strict=True)) for cell in cells]
    measures = [dict(zip(row.names, measured_cells(row, bounds=True), strict=True)) for row in rows]
    lines = []
    for name in [*board.names, *sorted(runs_of.keys() - set(board.names))]:
        if name not in runs_of:
            continue
        records = runs_of[name]
        entries = [estimate(score[name]) if name in score else number(None) for score in scores]
        entries += [cells_of[name] if name in cells_of else number(None) for cells_of in measures]
        entries += [text(verdicts.get(name, DASH))] if verdicts else []
        converged = sum(record["converged"] for record in records)
        gradients = sum(record["gradient_evaluations"] for record in records) / len(records)
        lines.append((text(name), *entries, number(converged, "d", f"/{len(records)}"), number(gradients, ".0f")))
    return Table(f"{board.kind.capitalize()}s on this task", tuple(header), tuple(lines))


def _verdicts(theory: Table) -> dict[str, str]:
    """Submission -> how many predictions of it hold, fail and are undecided, in words."""
    submission, verdict = theory.position("submission"), theory.position("verdict")
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in theory.rows:
        counts[row[submission].label][row[verdict].label] += 1
    return {
        name: next(iter(found)) if found.total() == 1 else ", ".join(f"{count} {word}" for word, count in found.items())
        for name, found in counts.items()
    }
