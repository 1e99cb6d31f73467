"""Board -> markdown, LaTeX, CSV, HTML, JSON, or a table for the terminal."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from tabulate import tabulate

from leaderboard.scoring import AXES, Board, Interval, Standing
from suite.errors import InputError

DAGGER = "†"
FOOTNOTES = (
    "Scores: 0 is the null reference, 1 the ideal; 95 % bootstrap intervals over seeds in brackets.",
    f"{DAGGER} regularises on purpose. Equal ranks (=) cannot be told apart. Gradients and time are per lane, time "
    "relative to sgd.",
)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _header(axes: Sequence[str]) -> list[str]:
    return ["rank", "submission", "overall", *axes, "gradients", "time", "at stop"]


def _axes(board: Board) -> list[str]:
    return [axis for axis in AXES if any(axis in s.axes for s in board.standings)]


def _row(standing: Standing, axes: Sequence[str]) -> list[str]:
    name = standing.submission + (f" {DAGGER}" if standing.explicit else "")
    if standing.missing:
        name += f" (lacks {', '.join(standing.missing)})"
    seconds = standing.relative_seconds
    return [
        standing.rank_text,
        name,
        _interval(standing.overall),
        *(_interval(standing.axes.get(axis)) for axis in axes),
        f"{standing.gradient_evaluations:.0f}",
        "–" if seconds is None else f"{seconds:.1f}x",
        f"{standing.converged}/{standing.lanes}",
    ]


def significant(value: float) -> str:
    """Three significant digits, or a dash for a value that no lane has."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def _task_header() -> list[str]:
    return ["task", "axis", "measure", "submission", "value", "score", "at stop"]


def _task_rows(board: Board) -> list[list[str]]:
    return [
        [
            line.task, line.axis, line.measure, line.submission, significant(line.value), f"{line.score:.2f}",
            f"{line.converged}/{line.lanes}",
        ]
        for line in board.tasks
    ]  # fmt: skip


def _format(header: list[str], rows: list[list[str]], style: str) -> str:
    if style == "markdown":
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return str(tabulate(escaped, header, tablefmt="pipe", disable_numparse=True))
    if style == "latex":
        table = str(tabulate(rows, header, tablefmt="latex_booktabs", disable_numparse=True))
        return table.replace(DAGGER, r"$\dagger$")
    if style == "html":
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "\n".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    if style == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        return text.getvalue().rstrip("\n")
    raise InputError(f"There is no table format {style!r}.")


def render(board: Board, style: str) -> str:
    """The leaderboard as `style`: markdown, latex, csv, html or json. CSV and JSON carry numbers, not texts of them."""
    axes = _axes(board)
    if style == "json":
        return json.dumps(dataclasses.asdict(board), indent=2, default=str)
    if style == "csv":
        header = ["rank", "submission", "explicit"]
        header += [f"{name}{end}" for name in ("overall", *axes) for end in ("", "_low", "_high")]
        header += ["gradient_evaluations", "relative_seconds", "converged", "lanes"]
        return _format(header, [_numbers(standing, axes) for standing in board.standings], "csv")
    return _format(_header(axes), [_row(standing, axes) for standing in board.standings], style)


def _numbers(standing: Standing, axes: Sequence[str]) -> list[str]:
    cells: list[object] = [standing.rank, standing.submission, standing.explicit]
    for interval in (standing.overall, *(standing.axes.get(axis) for axis in axes)):
        cells += ["", "", ""] if interval is None else [interval.value, interval.low, interval.high]
    cells += [standing.gradient_evaluations, standing.relative_seconds, standing.converged, standing.lanes]
    return ["" if cell is None else str(cell) for cell in cells]


def render_tasks(board: Board, style: str) -> str:
    """Per task, axis and submission: the mean measure of the lanes at the stop, the score, and how many met it."""
    if style == "json":
        return json.dumps([dataclasses.asdict(line) for line in board.tasks], indent=2)
    return _format(_task_header(), _task_rows(board), style)


WIDE = 118
"""Columns of a terminal from which on intervals are printed in full."""


def _compact(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{interval.value:.2f}±{(interval.high - interval.low) / 2:.2f}"


def _measures(board: Board, names: Sequence[str]) -> Table:
    cells = {(line.submission, line.task, line.measure): line.value for line in board.tasks}
    table = Table()
    table.add_column("task", no_wrap=True)
    table.add_column("measure", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for task, measure in dict.fromkeys((line.task, line.measure) for line in board.tasks):
        values = [significant(cells.get((name, task, measure), math.nan)) for name in names]
        table.add_row("" if task == last else task, measure, *values)
        last = task
    return table


def terminal(board: Board, width: int = 150) -> list[Table]:
    """Tables for a terminal of `width` columns: the measures task by task, then the leaderboard.

    Many submissions are spread over several tables of measures, and intervals are shortened to ± half their width where
    the terminal is narrow.
    """
    names = [standing.submission for standing in board.standings]
    room = max(1, (width - 45) // (max(map(len, names), default=8) + 3))
    tables = [_measures(board, names[start : start + room]) for start in range(0, len(names), room)]
    for table in tables[:1]:
        table.title, table.title_justify = "What each solution measures: means over the lanes at the stop", "left"
    axes = _axes(board)
    narrow = width < WIDE
    ranking = Table(
        title=f"Lowlands: {board.kind}s",
        caption="\n".join(FOOTNOTES),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        pad_edge=not narrow,
        collapse_padding=narrow,
    )
    header = _header(axes)
    if narrow:
        header = [{"generalization": "gener.", "gradients": "grads"}.get(name, name) for name in header]
    for name in header:
        ranking.add_column(name, justify="left" if name == "submission" else "right", no_wrap=True)
    for standing in board.standings:
        row = _row(standing, axes)
        if narrow:
            row[2 : 3 + len(axes)] = [_compact(i) for i in (standing.overall, *map(standing.axes.get, axes))]
        ranking.add_row(*row)
    return [*tables, ranking]
