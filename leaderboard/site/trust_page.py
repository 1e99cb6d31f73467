"""How far to trust the ranks, and what the runtime was."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from leaderboard.analysis.baselines import shipped_verifications
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.robustness import TuningCurve, agreement, tuning_curves
from leaderboard.figures import Chart, Line, Picture, curves, runtimes, track_agreement
from leaderboard.site.links import file_name
from leaderboard.site.shared import Page, SiteContext
from leaderboard.tables import views
from leaderboard.tables.table import Table, columns, estimate, number, text


def trust(context: SiteContext) -> Page:
    """What would change the ranks."""
    kinds = [
        {
            "kind": board.kind,
            "full": views.full_scores(context.full_scores[board.kind], board)
            if board.kind in context.full_scores
            else None,
            "uncertainty": views.uncertainty(board, context.results),
            "sensitivity": views.sensitivity(board, context.results),
            "performance": views.performance(board, context.results),
            "robustness": views.robustness(board, context.results),
            "separation": views.separation(board, context.results),
            "improvement": views.improvement(board, context.results),
            "best_of": best_of(context, board),
        }
        for board in context.boards
        if len(board.ranked.names) > 1
    ]
    verifications = [{"file": verification_file(name), **summary} for name, summary in _verifications(context).items()]
    content = {"kinds": kinds, "agreements": list(_agreements(context)), "verifications": verifications}
    return Page("trust.html", "trust", "trust.html", content)


def verification_file(name: str) -> str:
    """Where the site has the report of this name."""
    return f"data/{file_name(f'verification_{name}')}.json"


def verification_files(context: SiteContext) -> dict[str, str]:
    """Path -> text of the shipped reports on repeated runs."""
    return {
        verification_file(name): json.dumps(summary, indent=1) + "\n"
        for name, summary in _verifications(context).items()
    }


def _verifications(context: SiteContext) -> dict[str, dict[str, Any]]:
    return shipped_verifications(context.results.track)


def _agreements(context: SiteContext) -> Iterator[dict[str, Any]]:
    """How well every other track orders the same submissions."""
    others = [board for other in context.others for board in other.boards]
    for board, other in itertools.product(context.boards, others):
        result = agreement(other, board) if board.kind == other.kind else None
        if result is not None:
            labels = other.track, board.track
            yield {
                "kind": board.kind,
                "labels": labels,
                "tasks": result.tasks,
                "tau": estimate(result.tau).text,
                "picture": track_agreement(f"agreement-{board.kind}-{other.track}", result, labels),
            }


def best_of(context: SiteContext, board: Board) -> Picture | None:
    """The expected best of smaller tuning budgets, task by task."""
    of_task: dict[str, list[TuningCurve]] = defaultdict(list)
    for curve in tuning_curves(trial for trial in context.trials if trial.submission in board.names):
        of_task[curve.task].append(curve)
    charts = [
        Chart(
            task,
            [Line(curve.submission, range(1, len(curve.best) + 1), curve.best) for curve in tuned],
            "tuning trials",
            "validation loss",
        )
        for task, tuned in of_task.items()
    ]
    alt = "Expected best validation loss against the number of tuning trials."
    return curves(f"best-of-{board.kind}", charts, alt) if charts else None


def runtime(context: SiteContext) -> Page:
    """asv's history."""
    identity = columns("benchmark", "machine", "parameters", "commit", words=True)
    header = (*identity, *columns("value"), *columns("unit", words=True))
    rows = []
    for history in context.history:
        point = history.points[-1]
        for parameters, value in point.values.items():
            words = (history.benchmark, history.machine, parameters, point.commit)
            rows.append((*map(text, words), number(value, ".4g"), text(history.unit)))
    latest = Table("The newest commit", header, tuple(rows), stub=1)
    content = {"picture": runtimes(context.history), "latest": latest, "asv": context.asv}
    return Page("runtime.html", "runtime", "runtime.html", content)
