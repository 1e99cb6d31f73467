"""The page of a submission: why its rank, its settings and tuning, its training curves, its records."""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Sequence

from leaderboard.analysis.implementations import implementations, in_words
from leaderboard.figures import Picture, small_multiples, tuning
from leaderboard.site.shared import Page, SiteContext, chart
from leaderboard.site.texts import submission_text
from leaderboard.tables.table import DASH, Column, Table, columns, estimate, number, text
from suite.errors import InputError
from suite.namesakes.algorithms import algorithm
from suite.storage.record import Record, search_of


def submission_page(context: SiteContext, name: str, path: str) -> Page:
    """The page of `name`."""
    runs = context.runs_of_submission[name]
    board = next(board for board in context.boards if board.kind == runs[0]["kind"])
    standing = next((standing for standing in board.standings if standing.submission == name), None)
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)  # matches the name alone
    why = context.why[board.kind].filter(f"submission={pattern}")
    scores = {**standing.axes, "overall": standing.overall} if standing else {}
    full = context.full_scores.get(board.kind)
    if full and name in full.predicted and name not in full.recorded:
        scores["predicted overall on full"] = full.predicted[name]
    content = {
        "name": name,
        "kind": board.kind,
        "standing": standing,
        "advice": context.advice[board.kind].get(name, ""),
        "scores": [(axis, estimate(interval).text) for axis, interval in scores.items()],
        "explanation": submission_text(name),
        "implementation": in_words(implementations(runs).get(name, ())) if board.kind == "optimizer" else "",
        "namesakes": _namesakes(name, runs),
        "why": why.choose(["task", "axis", "score", "against", "other", "points"]),
        "settings": _settings(runs),
        "tuning": tuning(name, [trial for trial in context.trials if trial.submission == name]),
        "training": training_of(name, runs),
        "records": _records(runs),
    }
    return Page(path, "submission", "index.html", content)


def _namesakes(name: str, records: Sequence[Record]) -> tuple[str, list[str]]:
    """The algorithm that a submission's name claims, or else the class that steps its weights; all that claim it."""
    classes = [one.algorithm for one in implementations(records).get(name, ())]
    for claimed in (name.partition("[")[0].rpartition(":")[2], *classes):
        with contextlib.suppress(InputError):
            found = algorithm(claimed)
            return found.name, sorted({member.use for member in found.members if not member.formula})
    return "", []


def _settings(records: Sequence[Record]) -> Table:
    """The chosen settings of every task, and how their runs went."""
    header = (
        *columns("task", "setting", words=True),
        Column("target", "at target"),
        *columns("gradients", "seconds"),
        *columns("stepping", words=True),
        Column("reason", "what went wrong", words=True),
    )
    rows = []
    for (task, *_), group in itertools.groupby(
        _in_order(records), key=lambda record: (str(record["task"]), search_of(record), record["trial"])
    ):
        runs = list(group)
        setting = ", ".join(
            f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
            for key, value in runs[0]["hyperparameters"].items()
        )
        failures = {record["reason"] or record["status"] for record in runs if not record["converged"]}
        for record in runs:
            failures |= {f"{name} is not defined: {why}" for name, why in record.get("undefined", {}).items()}
        rows.append(
            (
                text(task),
                text(setting),
                number(sum(record["converged"] for record in runs), "d", f"/{len(runs)}"),
                number(sum(record["gradient_evaluations"] for record in runs) / len(runs), ".0f"),
                number(sum(record["seconds"] for record in runs) / len(runs), ".2g"),
                text(str(runs[0].get("stepping") or "")),
                text("; ".join(sorted(failures))),
            )
        )
    return Table("Chosen settings", header, tuple(rows))


def _in_order(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record["task"], search_of(record), record["trial"], record["seed"]))


def _records(records: Sequence[Record]) -> Table:
    """What every scored run measured, seed by seed; a dash where it missed the target loss."""
    by_seed = Column("runs", "value of every run, by seed", words=True)
    header = (*columns("task", "axis", "measure", words=True), by_seed)
    values: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record["task"], record["seed"], record["trial"])):
        for axis, reference in record["axes"].items():
            value = record["measures"].get(reference["measure"])
            values[record["task"], axis, reference["measure"]].append(DASH if value is None else f"{value:.3g}")
    rows = tuple((*map(text, key), text(", ".join(texts))) for key, texts in values.items())
    return Table("Scored runs", header, rows, stub=2)


def training_of(name: str, records: Sequence[Record]) -> Picture | None:
    """The training loss of the first seed on every task."""
    first: dict[str, Record] = {}  # of several settings the first
    for record in _in_order(records):
        if "training_loss" in record.get("curves", {}):
            first.setdefault(record["task"], record)
    charts = [chart(task, [("", record["curves"]["training_loss"])]) for task, record in first.items()]
    alt = f"Training loss of {name} against gradient evaluations on {len(charts)} tasks."
    return small_multiples(f"training-{name}", charts, alt) if charts else None
