"""The page of a submission: why its rank, its settings and tuning, its training curves, its records."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from leaderboard.analysis.ranking import Standing
from leaderboard.figures.lines import small_multiples
from leaderboard.figures.svg import Picture
from leaderboard.figures.tuning import tuning
from leaderboard.site.curves import chart
from leaderboard.site.shared import Page, SiteContext
from leaderboard.site.texts import submission_text
from leaderboard.tables.table import DASH, Column, Table, estimate, number, text
from suite.storage.record import Record


def submission(survey: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    own = survey.lanes[name]
    board = survey.board(own[0]["kind"])
    standing = next((standing for standing in board.standings if standing.submission == name), None)
    tried = [trial for trial in survey.trials if trial.submission == name]
    content = {
        "name": name,
        "kind": board.kind,
        "standing": standing,
        "scores": _scores(standing),
        "explanation": submission_text(name),
        "why": survey.why[board.kind].filter(f"submission={_literal(name)}").choose(
            ["task", "axis", "score", "against", "other", "points"]
        ),
        "settings": _settings(own),
        "tuning": tuning(name, tried),
        "training": _training(name, own),
        "records": _records(own),
    }  # fmt: skip
    return Page(path, "submission", "index.html", content)


def _literal(name: str) -> str:
    """A pattern that matches `name` alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _scores(standing: Standing | None) -> list[tuple[str, str]]:
    if standing is None:
        return []
    return [("overall", estimate(standing.overall).text)] + [
        (axis, estimate(interval).text) for axis, interval in standing.axes.items()
    ]


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(lanes: Sequence[Record]) -> Table:
    """The chosen setting of every task, and how its lanes went."""
    columns = (
        Column("task", "task", words=True), Column("setting", "setting", words=True), Column("stop", "at stop"),
        Column("gradients", "gradients"), Column("seconds", "seconds"), Column("stepping", "stepping", words=True),
        Column("reason", "what went wrong", words=True),
    )  # fmt: skip
    rows = []
    for task, group in itertools.groupby(sorted(lanes, key=lambda r: (r["task"], r["seed"])), key=lambda r: r["task"]):
        own = list(group)
        met = sum(record["converged"] for record in own)
        setting = ", ".join(f"{key} = {_show(value)}" for key, value in own[0]["hyperparameters"].items())
        troubles = {record["reason"] or record["status"] for record in own if not record["converged"]}
        rows.append(
            (
                text(task), text(setting), number(met, "d", f"/{len(own)}"),
                number(sum(r["gradient_evaluations"] for r in own) / len(own), ".0f"),
                number(sum(r["seconds"] for r in own) / len(own), ".2g"), text(str(own[0].get("stepping") or "")),
                text("; ".join(sorted(troubles))),
            )
        )  # fmt: skip
    return Table("Chosen settings", columns, tuple(rows))


def _records(lanes: Sequence[Record]) -> Table:
    """What every scored lane measured, seed by seed; a dash where it missed the stop."""
    columns = (
        Column("task", "task", words=True), Column("axis", "axis", words=True),
        Column("measure", "measure", words=True), Column("lanes", "value of every lane, by seed", words=True),
    )  # fmt: skip
    values: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in sorted(lanes, key=lambda record: (record["task"], record["seed"])):
        for axis, stated in record["axes"].items():
            value = record["measures"].get(stated["measure"])
            values[record["task"], axis, stated["measure"]].append(DASH if value is None else f"{value:.3g}")
    rows = tuple((*map(text, key), text(", ".join(own))) for key, own in values.items())
    return Table("Scored lanes", columns, rows, stub=2)


def _training(name: str, lanes: Sequence[Record]) -> Picture | None:
    charts = [
        chart(record["task"], [("", record["curves"]["training_loss"])])
        for record in sorted(lanes, key=lambda record: record["task"])
        if "training_loss" in record.get("curves", {})
    ]
    alt = f"Training loss of {name} against gradient evaluations on {len(charts)} tasks."
    return small_multiples(f"training-{name}", charts, alt) if charts else None
