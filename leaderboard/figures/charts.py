"""What changes over something: curves, small multiples, tuning trials over their step size, runtimes over commits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from leaderboard.analysis.robustness import Trial
from leaderboard.analysis.runtime import History
from leaderboard.analysis.statistics import Array
from leaderboard.analysis.step_sizes import step_size_of
from leaderboard.figures.canvas import Canvas, log_axis, name_ends
from leaderboard.figures.style import ACCENT, INK, LINE, MUTED, SERIES, SMALL_STYLE, STYLE, WARM
from leaderboard.figures.svg import Picture


@dataclass(frozen=True)
class Line:
    """One curve: `y` over `x`, of whom, and the oracle's where there is one."""

    name: str
    x: Sequence[float | None]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Curves that share a panel."""

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    points: bool = False
    oracle: Line | None = None


@mpl.rc_context(STYLE)
def curves(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Line charts, a panel for each; with more than eight lines, dashes distinguish two of one colour."""
    columns = min(2, len(charts))
    canvas = Canvas(len(charts), columns, (5.6, 3.4) if columns > 1 else (8.0, 3.8))
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for number, line in enumerate(chart.lines):
            dashes = "none" if chart.points else ("-", "--", ":")[number // len(SERIES) % 3]
            axes.plot(
                *_points(line),
                color=SERIES[number % len(SERIES)],
                label=line.name,
                linestyle=dashes,
                marker="o" if chart.points else "",
                markersize=3,
            )
        if chart.oracle is not None:
            axes.plot(*_points(chart.oracle), color=INK, linewidth=1, linestyle=(0, (1, 1)), label="oracle")
        _scale(axes, chart)
        if not chart.x_log and all(isinstance(x, int) for line in chart.lines for x in line.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8.5)
    return canvas.picture(name, alt)


def _scale(axes: Axes, chart: Chart) -> None:
    for which, log in (("x", chart.x_log), ("y", chart.y_log)):
        if log:
            log_axis(axes, which)


@mpl.rc_context(SMALL_STYLE)
def small_multiples(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Many small line charts whose ticks are the ends of their lines alone."""
    canvas = Canvas(len(charts), 5, (2.1, 1.4), small=True)
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for line in chart.lines:
            axes.plot(*_points(line, most=24), color=ACCENT, linewidth=1.1)
        _scale(axes, chart)
        name_ends(axes, *_points(chart.lines[0]))
        axes.set_title(chart.title, fontsize=7.5)
    return canvas.picture(name, alt)


def _points(line: Line, most: int = 80) -> tuple[Array, Array]:
    """At most `most` points as numbers; what a record could not hold (infinite, not a number) is a gap."""
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(most, len(line.x))).round().astype(int))
    x, y = (np.array([math.nan if v is None else v for v in part], dtype=float) for part in (line.x, line.y))
    return x[chosen], y[chosen]


@mpl.rc_context(SMALL_STYLE)
def tuning(submission: str, trials: Sequence[Trial]) -> Picture | None:
    """What trials are chosen by against their step size (or first tuned number), a panel for each task."""
    key = step_size_of([trial.hyperparameters for trial in trials])
    tasks = sorted({trial.task for trial in trials})
    if key is None or not tasks:
        return None
    canvas = Canvas(len(tasks), 5, (2.1, 1.4), small=True)
    for axes, task in zip(canvas.axes, tasks, strict=True):
        of_task = [trial for trial in trials if trial.task == task]
        finished = [trial for trial in of_task if math.isfinite(trial.criterion)]
        for chosen, colour, size in ((False, MUTED, 3.5), (True, ACCENT, 6.0)):
            group = [trial for trial in finished if trial.chosen == chosen]
            x, y = [trial.hyperparameters[key] for trial in group], [trial.criterion for trial in group]
            axes.plot(x, y, "o", color=colour, markersize=size)
        # Along the lower edge: ended by the race (a tick), or missed the target loss (a cross).
        for raced, marker, colour in ((True, "|", MUTED), (False, "x", WARM)):
            x = [t.hyperparameters[key] for t in of_task if t not in finished and t.raced == raced]
            edge = axes.get_xaxis_transform()
            axes.plot(x, [0.04] * len(x), marker, color=colour, transform=edge, clip_on=False, markersize=5)
        values = np.array([trial.hyperparameters[key] for trial in of_task], dtype=float)
        if values.min() > 0 and values.max() > values.min():
            log_axis(axes, "x")
        axes.margins(0.12)
        name_ends(axes, values, np.array([trial.criterion for trial in finished]))
        axes.set_title(task, fontsize=7.5)
    canvas.figure.text(0.5, 0.01, key, ha="center", fontsize=7.5, color=MUTED)
    missed = sum(math.isinf(trial.criterion) and not trial.raced for trial in trials)
    return canvas.picture(
        f"tuning-{submission}",
        f"Tuning trials of {submission}: the criterion (validation loss, or gradient evaluations to the target loss) "
        f"against {key} on {len(tasks)} tasks; {missed} of {len(trials)} trials missed the target loss.",
    )


@mpl.rc_context(STYLE)
def runtimes(histories: Sequence[History]) -> Picture:
    """The result of each benchmark, commit by commit, relative to its first."""
    canvas = Canvas(len(histories), min(2, len(histories)), (5.6, 2.3))
    for axes, history in zip(canvas.axes, histories, strict=True):
        relative = [point.mean / history.points[0].mean for point in history.points if history.points[0].mean]
        axes.plot(range(len(relative)), relative, marker="o", markersize=4, color=ACCENT)
        axes.axhline(1, color=LINE, linewidth=1)
        axes.set_ylim(0, max([1.5, *(1.1 * value for value in relative)]))
        axes.set_xticks(range(len(relative)), [point.commit for point in history.points[: len(relative)]], rotation=30)
        axes.set_title(history.benchmark.partition(".")[2] or history.benchmark, fontsize=8.5)
        axes.tick_params(labelsize=7.5)
    return canvas.picture(
        "runtime", "Runtime and counts of every benchmark by commit, relative to the oldest commit shown."
    )
