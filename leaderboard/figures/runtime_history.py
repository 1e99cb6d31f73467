"""The history of the runtime."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl

from leaderboard.analysis.runtime import History
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.style import ACCENT, LINE, STYLE
from leaderboard.figures.svg import Picture


@mpl.rc_context(STYLE)
def runtimes(histories: Sequence[History]) -> Picture:
    """What each benchmark took, commit by commit, relative to its first."""
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
