"""How far to trust the ranks, and what the runtime was."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from leaderboard.analysis.ranking import Board, boards
from leaderboard.analysis.robustness import TuningCurve, agreement, tuning_curves
from leaderboard.figures.lines import Chart, Line, curves
from leaderboard.figures.runtime_history import runtimes
from leaderboard.figures.svg import Picture
from leaderboard.figures.track_agreement import track_agreement
from leaderboard.site.shared import Page, SiteContext
from leaderboard.tables import views
from leaderboard.tables.table import Column, Table, estimate, number, text


def trust(survey: SiteContext) -> Page:
    """What would change the ranks."""
    kinds = [
        {
            "kind": board.kind,
            "robustness": views.robustness(board, survey.results),
            "separation": views.separation(board, survey.results),
            "improvement": views.improvement(board, survey.results),
            "best_of": _best_of(survey, board),
        }
        for board in survey.boards
        if len(board.ranked.names) > 1
    ]
    return Page("trust.html", "trust", "trust.html", {"kinds": kinds, "agreements": list(_agreements(survey))})


def _agreements(survey: SiteContext) -> Iterator[dict[str, Any]]:
    for own, other in itertools.product(survey.boards, itertools.chain.from_iterable(map(boards, survey.others))):
        found = agreement(other, own) if own.kind == other.kind else None
        if found is not None:
            labels = other.track, own.track
            yield {
                "kind": own.kind,
                "labels": labels,
                "tasks": found.tasks,
                "tau": estimate(found.tau).text,
                "picture": track_agreement(f"agreement-{own.kind}-{other.track}", found, labels),
            }


def _best_of(survey: SiteContext, board: Board) -> Picture | None:
    found: dict[str, list[TuningCurve]] = defaultdict(list)
    for curve in tuning_curves(trial for trial in survey.trials if trial.submission in board.names):
        found[curve.task].append(curve)
    charts = [
        Chart(
            task,
            [Line(curve.submission, range(1, len(curve.best) + 1), curve.best) for curve in own],
            "tuning trials",
            "validation loss",
        )
        for task, own in found.items()
    ]
    alt = "Expected best validation loss against the number of tuning trials."
    return curves(f"best-of-{board.kind}", charts, alt) if charts else None


def runtime(survey: SiteContext) -> Page:
    """asv's history."""
    columns = (
        Column("benchmark", "benchmark", words=True), Column("machine", "machine", words=True),
        Column("parameters", "parameters", words=True), Column("commit", "commit", words=True),
        Column("value", "value"), Column("unit", "unit", words=True),
    )  # fmt: skip
    rows = tuple(
        (
            text(history.benchmark), text(history.machine), text(parameters), text(history.points[-1].commit),
            number(value, ".4g"), text(history.unit),
        )
        for history in survey.history
        for parameters, value in history.points[-1].values.items()
    )  # fmt: skip
    latest = Table("The newest commit", columns, rows, stub=1)
    content = {"picture": runtimes(survey.history), "latest": latest, "asv": survey.asv}
    return Page("runtime.html", "runtime", "runtime.html", content)
