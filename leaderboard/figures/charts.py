"""What changes over something: curves, small multiples, tuning trials over their step size, runtimes over commits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from leaderboard.analysis.robustness import Trial
from leaderboard.analysis.runtime import History
from leaderboard.analysis.statistics import Array
from leaderboard.analysis.step_sizes import step_size_of
from leaderboard.figures.canvas import Canvas, log_axis
from leaderboard.figures.small_panels import SmallPanels
from leaderboard.figures.style import ACCENT, INK, LINE, MUTED, SERIES, STYLE, WARM
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
    width, height = (5.6, 3.4) if columns > 1 else (8.0, 3.8)
    names = [line.name for line in charts[0].lines]
    across = _legend_columns(columns * width, names)
    rows = math.ceil(len(charts) / columns)
    legend = max(0.0, 0.18 * (math.ceil(len(names) / across) - 4))  # beyond four rows the figure grows
    canvas = Canvas(len(charts), columns, (width, height + legend / rows))
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
        if not chart.x_log and all(isinstance(x, int) for line in chart.lines for x in line.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
        _scale(axes, chart)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.figure.legend(handles, labels, loc="outside lower center", ncols=across, fontsize=8.5)
    return canvas.picture(name, alt)


def _legend_columns(width: float, labels: Sequence[str]) -> int:
    """How many columns of a legend are surely narrower than so many inches."""
    widest = 40 + 6 * max(map(len, labels), default=0)  # points: a line's sample and the letters
    return max(1, min(6, len(labels), int(72 * width / widest)))


def _scale(axes: Axes, chart: Chart) -> None:
    for which, log in (("x", chart.x_log), ("y", chart.y_log)):
        if log:
            log_axis(axes, which)


@mpl.rc_context(STYLE)
def small_multiples(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Many small line charts whose ticks are the ends of their lines alone."""
    panels = SmallPanels(len(charts))
    for chart in charts:
        x, y = _points(chart.lines[0], most=24)
        panel = panels.panel(chart.title, *_points(chart.lines[0]), chart.x_log, chart.y_log)
        panels.lines(panel.x(x), panel.y(y), ACCENT, 1.1)
    across = _named(charts[0].x_label, {chart.title: chart.x_log for chart in charts})
    up = _named(charts[0].y_label, {chart.title: chart.y_log for chart in charts})
    return panels.picture(name, alt, [f"across: {across}", f"up: {up}"])


def _named(label: str, logs: Mapping[str, bool]) -> str:
    """What an axis shows, and which panels have a log scale of it."""
    linear = [title for title, log in logs.items() if not log]
    if len(linear) == len(logs):
        return label
    exceptions = f", linear in {', '.join(linear)}" if linear else ""
    return f"{label} (log scale{exceptions})"


def _points(line: Line, most: int = 80) -> tuple[Array, Array]:
    """At most `most` points as numbers; what a record could not hold (infinite, not a number) is a gap."""
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(most, len(line.x))).round().astype(int))
    x, y = (np.array([math.nan if v is None else v for v in part], dtype=float) for part in (line.x, line.y))
    return x[chosen], y[chosen]


@mpl.rc_context(STYLE)
def tuning(submission: str, trials: Sequence[Trial]) -> Picture | None:
    """What trials are chosen by against their step size (or first tuned number), a panel for each task."""
    key = step_size_of([trial.hyperparameters for trial in trials])
    tasks = sorted({trial.task for trial in trials})
    if key is None or not tasks:
        return None
    panels = SmallPanels(len(tasks))
    log = all(trial.hyperparameters[key] > 0 for trial in trials)
    for task in tasks:
        of_task = [trial for trial in trials if trial.task == task]
        finished = [trial for trial in of_task if math.isfinite(trial.criterion)]
        x = np.array([trial.hyperparameters[key] for trial in of_task], dtype=float)
        y = np.array([trial.criterion for trial in finished], dtype=float)
        panel = panels.panel(task, x, y, x_log=log, margin=0.12)
        for chosen, colour, size in ((False, MUTED, 3.5), (True, ACCENT, 6.0)):
            group = [trial for trial in finished if trial.chosen == chosen]
            x, y = _numbers([(trial.hyperparameters[key], trial.criterion) for trial in group])
            panels.marks(panel.x(x), panel.y(y), "o", colour, size)
        # Along the lower edge: ended by the race (a tick), or missed the target loss (a cross).
        for raced, marker, colour in ((True, "|", MUTED), (False, "x", WARM)):
            x, _ = _numbers([(t.hyperparameters[key], 0.0) for t in of_task if t not in finished and t.raced == raced])
            panels.marks(panel.x(x), np.full_like(x, panel.foot), marker, colour, 5)
    missed = sum(math.isinf(trial.criterion) and not trial.raced for trial in trials)
    return panels.picture(
        f"tuning-{submission}",
        f"Tuning trials of {submission}: the criterion (validation loss, or gradient evaluations to the target loss) "
        f"against {key} on {len(tasks)} tasks; {missed} of {len(trials)} trials missed the target loss.",
        [
            f"across: {_named(key, dict.fromkeys(tasks, log))}",
            "up: validation loss or gradient evaluations to the target loss",
        ],
    )


def _numbers(pairs: Sequence[tuple[float, float]]) -> Array:
    """The pairs as two rows."""
    return np.array(pairs, dtype=float).reshape(-1, 2).T


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
