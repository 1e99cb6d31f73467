"""What every lane of a task measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from leaderboard.analysis.statistics import Array
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.marks import log_axis, strokes
from leaderboard.figures.style import ACCENT, GOOD, MUTED, STYLE, WARM
from leaderboard.figures.svg import Picture


@dataclass(frozen=True)
class Strip:
    """One measure of all submissions on a task: each lane's value, and the measure's references where it is scored."""

    measure: str
    names: Sequence[str]
    values: Array
    score_0: float | None = None
    score_1: float | None = None
    direction: str = ""


@mpl.rc_context(STYLE)
def distributions(task: str, strips: Sequence[Strip]) -> Picture:
    """Every lane of every submission on a task's measures, a panel for each."""
    columns = min(2, len(strips))
    rows = max(len(strip.names) for strip in strips)
    canvas = Canvas(len(strips), columns, (5.6 if columns > 1 else 7.6, 0.9 + 0.24 * rows))
    for axes, strip in zip(canvas.axes, strips, strict=True):
        places = np.arange(len(strip.names))[:, None] + np.zeros_like(strip.values)
        strokes(axes, strip.values, places, 0.22, color=MUTED, alpha=0.7, linewidth=1.2)
        means = np.array([np.nanmean(row) if not np.isnan(row).all() else np.nan for row in strip.values])
        strokes(axes, means, places[:, 0], 0.38, color=ACCENT, linewidth=2.4)
        for value, colour, name in ((strip.score_0, WARM, "score_0"), (strip.score_1, GOOD, "score_1")):
            if value is not None and math.isfinite(value):
                axes.axvline(value, color=colour, linewidth=1, linestyle="--", label=name)
        known = np.array([*strip.values[~np.isnan(strip.values)], *filter(None, (strip.score_0, strip.score_1))])
        if len(known) and known.min() > 0 and known.max() / known.min() > 20:
            log_axis(axes, "x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_yticks(range(len(strip.names)), strip.names)
        axes.set_ylim(len(strip.names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{strip.measure} {strip.direction}")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8)
    names = ", ".join(strip.measure for strip in strips)
    return canvas.picture(
        f"lanes-{task}", f"Every lane at the stop on {task}: {names}. The tables below hold the numbers."
    )
