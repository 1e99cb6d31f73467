"""How two tracks agree."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from leaderboard.analysis.robustness import Agreement
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.marks import name_points
from leaderboard.figures.style import ACCENT, INK, LINE, STYLE
from leaderboard.figures.svg import Picture


@mpl.rc_context(STYLE)
def track_agreement(name: str, found: Agreement, labels: tuple[str, str]) -> Picture:
    """The overall scores of two tracks against each other."""
    canvas = Canvas(size=(6.4, 4.2))
    axes = canvas.axes[0]
    axes.axline((0.5, 0.5), slope=1, color=LINE, linewidth=1)
    axes.scatter(found.first, found.second, color=ACCENT, s=30)
    axes.set(xlabel=f"overall score, {labels[0]}", ylabel=f"overall score, {labels[1]}")
    axes.margins(0.15)
    name_points(axes, np.column_stack([found.first, found.second]), found.names, [INK] * len(found.names))
    tau = f"{found.tau.value:.2f} [{found.tau.low:.2f}, {found.tau.high:.2f}]"
    alt = f"Overall scores on {labels[0]} and {labels[1]}: Kendall's tau {tau} over {len(found.names)} submissions."
    return canvas.picture(name, alt)
