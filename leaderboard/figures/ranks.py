"""Mean ranks with the critical distance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np

from leaderboard.analysis.statistics import Array
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.style import ACCENT, INK, MUTED, STYLE, WARM
from leaderboard.figures.svg import Picture


@mpl.rc_context(STYLE)
def critical_difference(name: str, names: Sequence[str], mean_ranks: Array, distance: float, cells: int) -> Picture:
    """Mean ranks over tasks, with bars over groups that the critical distance does not separate (Demšar 2006)."""
    order = np.argsort(mean_ranks)
    count, half = len(names), math.ceil(len(names) / 2)
    groups = _groups(mean_ranks[order], distance)
    canvas = Canvas(size=(8.6, 1.0 + 0.26 * half + 0.14 * len(groups)))
    axes = canvas.axes[0]
    axes.set_axis_off()
    top, step = 0.3 * len(groups), 0.55
    axes.hlines(top, 1, count, color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, top, top + 0.15, color=INK, linewidth=1)
        axes.text(tick, top + 0.25, str(tick), ha="center", va="bottom", color=MUTED)
    for place, row in enumerate(order):
        left = place < half
        depth = -step * (place + 1 if left else count - place)
        edge = 1 - 0.02 * count if left else count + 0.02 * count
        rank = mean_ranks[row]
        axes.plot([rank, rank, edge], [top, depth, depth], color=MUTED, linewidth=0.8)
        axes.text(
            edge, depth, f" {names[row]}  {rank:.1f} " if left else f" {rank:.1f}  {names[row]} ",
            ha="right" if left else "left", va="center",
        )  # fmt: skip
    for level, (first, last) in enumerate(groups):
        height = top - 0.3 * (level + 0.6)
        axes.hlines(height, first - 0.04, last + 0.04, color=ACCENT, linewidth=4, capstyle="round")
    axes.plot([1, 1 + distance], [top + 1.1] * 2, color=WARM, linewidth=2)
    axes.text(1 + distance, top + 1.1, f"  critical distance {distance:.2f}", va="center", color=WARM)
    axes.set_xlim(1 - 0.28 * count, count + 0.28 * count)
    best = ", ".join(f"{names[row]} {mean_ranks[row]:.1f}" for row in order)
    return canvas.picture(
        name,
        f"Mean ranks over {cells} axes of tasks: {best}. Bars join what a critical distance of {distance:.2f} does not "
        f"separate.",
    )


def _groups(ranks: Array, distance: float) -> list[tuple[float, float]]:
    """The longest runs of sorted ranks that are closer than the distance, without those within another."""
    groups: list[tuple[float, float]] = []
    for first in ranks:
        last = float(max(rank for rank in ranks if rank - first <= distance))
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((float(first), last))
    return groups
