"""The figures of the site by name, for files of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import pandas as pd

from leaderboard.analysis.aggregates import THRESHOLDS, aggregates, performance_profile
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.results import Results
from leaderboard.figures import Chart, Line, Picture, curves, scores, tuning
from leaderboard.site.front_page import mean_ranks_of, tradeoff_of
from leaderboard.site.shared import SiteContext
from leaderboard.site.submission_page import training_of
from leaderboard.site.task_page import curve_figure, curves_of, distributions_of
from leaderboard.site.trust_page import best_of
from suite.errors import InputError, unknown
from suite.storage.record import PATH, Record

FIGURES = {
    "scores": "overall scores and axes of every submission, with intervals",
    "tradeoff": "flatness against test error, task by task",
    "ranks": "mean ranks with the critical distance",
    "performance": "the share of runs that score at least so much, with interquartile means",
    "best-of": "what smaller tuning budgets would have given",
    "runs:TASK": "the measures of every run on a task",
    "curves:TASK": "training curves on a task",
    "curves:TASK:CURVE": "another curve that the task records, such as a learned function",
    "path:TASK": "measures along training on a task, of runs that were traced (`lowlands run --trace`)",
    "tuning:SUBMISSION": "tuning trials over the step size, task by task",
    "training:SUBMISSION": "training curves of a submission, task by task",
}
"""What can be drawn, and what it shows."""

Maker = Callable[[], Picture | None]


def figure(results: Results, name: str, kind: str | None = None, own: Results | None = None) -> Picture:
    """The figure `name` of `FIGURES`.

    Args:
        results: what it shows.
        name: as in `FIGURES`, with a task's, a curve's or a submission's own name.
        kind: of submission; None: optimizers, or what else there is.
        own: those of `results` that are the user's, whom ``scores`` sets apart from shipped ones.

    Raises:
        InputError: there is no such figure, or nothing to draw in it.
    """
    if not results.scored():
        raise InputError("The results hold no scored run: there is nothing to draw.")
    context = SiteContext(results, (), (), "", None)
    board = next((board for board in context.boards if kind in (None, board.kind, f"{board.kind}s")), None)
    if board is None:
        raise InputError(f"The results hold no {kind!r}: there are {', '.join(results.kinds())}.")
    makers = figures(context, board)
    if own is not None:
        makers["scores"] = partial(_scores, board, own.submissions(board.kind))
    if name not in makers:
        raise unknown("figure", name, makers, f"there are {', '.join(FIGURES)}.")
    picture = makers[name]()
    if picture is None:
        raise InputError(f"These results hold nothing for the figure {name!r} of {board.kind}s.")
    return picture


def figures(context: SiteContext, board: Board) -> dict[str, Maker]:
    """By name what draws each figure that the records may have."""
    makers: dict[str, Maker] = {
        "scores": partial(_scores, board),
        "tradeoff": partial(tradeoff_of, context, board),
        "ranks": partial(mean_ranks_of, board),
        "performance": partial(_performance, board),
        "best-of": partial(best_of, context, board),
    }
    for task, runs in context.runs_of_task.items():
        makers[f"runs:{task}"] = partial(_runs, context, board, task)
        if any(PATH in run for run in runs):
            makers[f"path:{task}"] = partial(_path, board, task, runs)
        for curve in dict.fromkeys(name for run in runs for name in run.get("curves", {})):
            makers[curve_figure(task, curve)] = partial(_curves, context, board, task, curve)
    for name in board.names:
        trials = [trial for trial in context.trials if trial.submission == name]
        makers[f"tuning:{name}"] = partial(tuning, name, trials)
        makers[f"training:{name}"] = partial(training_of, name, context.runs_of_submission[name])
    return makers


def _scores(board: Board, own: Collection[str] = ()) -> Picture | None:
    standings = [standing for standing in board.standings if standing.axes]
    axes = {
        axis: [standing.axes[axis].value if axis in standing.axes else float("nan") for standing in standings]
        for axis in board.scores.axes
    }
    names = [standing.submission for standing in standings]
    if not standings:
        return None
    rows = [board.scores.names.index(name) for name in names]
    overall = [each.overall for each in standings]
    return scores(f"scores-{board.kind}", names, overall, axes, board.scores.of_seeds()[rows], own)


def _performance(board: Board) -> Picture | None:
    ranked = board.ranked
    if not ranked.names:
        return None
    shares, means = performance_profile(ranked), aggregates(ranked)["iqm"]
    by_name = {
        name: Line(f"{name} ({mean:.2f})", list(THRESHOLDS), list(share))
        for name, share, mean in zip(ranked.names, shares, means, strict=True)
    }
    chart = Chart("", [by_name[name] for name in board.ranked_names], "score", "share of runs")
    alt = "The share of runs that score at least so much; in brackets the mean of the middle half of all runs."
    return curves(f"performance-{board.kind}", [chart], alt)


def _runs(context: SiteContext, board: Board, task: str) -> Picture | None:
    rows = [row for row in context.measure_values[board.kind] if row.task == task and row.reported]
    runs = [record for record in context.runs_of_task[task] if record["kind"] == board.kind]
    return distributions_of(task, board, rows, runs)


def _path(board: Board, task: str, runs: Sequence[Record]) -> Picture | None:
    """A panel for each measure: the median over a submission's runs; one that has ended stays where it ended."""
    of_kind = [run for run in runs if run["kind"] == board.kind and PATH in run]
    names = [name for name in board.names if any(run["submission"] == name for run in of_kind)]
    measures = dict.fromkeys(measure for run in of_kind for measure in run[PATH]["measures"])
    lines = {
        measure: [_median(name, measure, [run[PATH] for run in of_kind if run["submission"] == name]) for name in names]
        for measure in measures
    }
    charts = [
        Chart(measure.replace("_", " "), of, "steps", "", x_log=True, y_log=_is_positive(of))
        for measure, of in lines.items()
    ]
    alt = f"Measures along training on {task}, by steps: medians over runs."
    return curves(f"path-{board.kind}-{task}", charts, alt) if charts else None


def _median(name: str, measure: str, paths: Sequence[dict[str, Any]]) -> Line:
    """The median of a measure over the paths of a submission's runs, from the first step on; empty if none has it."""
    known = [
        [
            (step, value)
            for step, value in zip(path["steps"], path["measures"][measure], strict=True)
            if value is not None
        ]
        for path in paths
        if measure in path["measures"]
    ]
    columns = [dict(column) for column in known if column]
    steps = sorted({step for column in columns for step in column if step > 0})
    frame = pd.DataFrame(columns, columns=[0, *steps], dtype=float).ffill(axis=1) if columns else pd.DataFrame()
    return Line(name, steps, [float(frame[step].median()) for step in steps])


def _is_positive(lines: Sequence[Line]) -> bool:
    """Whether all values are positive, and of more than one order of magnitude."""
    values = [value for line in lines for value in line.y if value is not None]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def _curves(context: SiteContext, board: Board, task: str, curve: str) -> Picture | None:
    runs = [record for record in context.runs_of_task[task] if record["kind"] == board.kind]
    wanted = curve_figure(task, curve)
    return next((picture for picture, _, name in curves_of(task, board, runs) if name == wanted), None)
