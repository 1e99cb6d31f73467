"""Line charts: curves of one kind in a panel, or many small panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from leaderboard.analysis.statistics import Array
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.marks import log_axis, name_ends
from leaderboard.figures.style import ACCENT, INK, SERIES, SMALL, STYLE
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
    oracle: Line | None = field(default=None)


@mpl.rc_context(STYLE)
def curves(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Line charts, a panel for each; with more than eight lines, dashes tell two of one colour apart."""
    columns = min(2, len(charts))
    canvas = Canvas(len(charts), columns, (5.6, 3.4) if columns > 1 else (8.0, 3.8))
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for number, line in enumerate(chart.lines):
            dashes = "none" if chart.points else ("-", "--", ":")[number // len(SERIES) % 3]
            axes.plot(
                *_known(line), color=SERIES[number % len(SERIES)], label=line.name, linestyle=dashes,
                marker="o" if chart.points else "", markersize=3,
            )  # fmt: skip
        if chart.oracle is not None:
            axes.plot(*_known(chart.oracle), color=INK, linewidth=1, linestyle=(0, (1, 1)), label="oracle")
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


@mpl.rc_context(SMALL)
def small_multiples(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Many small line charts whose ticks are the ends of their lines alone."""
    columns = 5
    canvas = Canvas(len(charts), columns, (2.1, 1.4), small=True)
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for line in chart.lines:
            axes.plot(*_known(line, most=24), color=ACCENT, linewidth=1.1)
        _scale(axes, chart)
        name_ends(axes, *_known(chart.lines[0]))
        axes.set_title(chart.title, fontsize=7.5)
    return canvas.picture(name, alt)


def _known(line: Line, most: int = 80) -> tuple[Array, Array]:
    """At most `most` points as numbers; what a record could not hold (infinite, not a number) is a gap."""
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(most, len(line.x))).round().astype(int))
    x, y = (np.array([math.nan if v is None else v for v in part], dtype=float) for part in (line.x, line.y))
    return x[chosen], y[chosen]
