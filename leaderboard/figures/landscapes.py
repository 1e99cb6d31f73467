"""The training loss between solutions, and around one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

from leaderboard.analysis.statistics import Array
from leaderboard.figures.canvas import Canvas, log_axis, tick_label
from leaderboard.figures.style import ACCENT, INK, SERIES, STYLE
from leaderboard.figures.svg import Picture

LEVELS = 12
"""Contours of a plane. Their levels grow as squares: around the minimum of a quadratic loss they are evenly spaced."""


@dataclass(frozen=True)
class LossOnLine:
    """Losses over the places `t` of a line by name, such as of a network as it is and with its units reordered."""

    title: str
    t: Array
    losses: Mapping[str, Array]


@dataclass(frozen=True)
class LossOnPlane:
    """The loss [b, a] over two directions from a solution at (0, 0)."""

    title: str
    a: Array
    b: Array
    loss: Array


@mpl.rc_context(STYLE)
def landscape(name: str, lines: Sequence[LossOnLine], planes: Sequence[LossOnPlane], alt: str) -> Picture:
    """A panel for each line, then one for each plane."""
    panels = len(lines) + len(planes)
    canvas = Canvas(panels, min(2, panels), (4.6, 3.4))
    for axes, line in zip(canvas.axes, lines, strict=False):
        for number, (label, loss) in enumerate(line.losses.items()):
            # Dashed over solid: where nothing was to be reordered, both are one line.
            dashes = ("-", "--")[number % 2]
            axes.plot(line.t, loss, color=SERIES[number % len(SERIES)], label=label, linestyle=dashes)
        axes.set(title=line.title, xlabel="place between them (0 and 1 are the solutions)", ylabel="training loss")
        if min(map(np.min, line.losses.values())) > 0:
            log_axis(axes, "y")
        axes.legend(fontsize=8.5)
    for axes, plane in zip(canvas.axes[len(lines) :], planes, strict=True):
        least, most = plane.loss.min(), plane.loss.max()
        levels = np.unique(least + (most - least) * np.linspace(0, 1, LEVELS + 1)[1:] ** 2)
        if len(levels) > 1:
            contours = axes.contour(plane.a, plane.b, plane.loss, levels=levels, colors=ACCENT, linewidths=0.8)
            axes.clabel(contours, fontsize=7, fmt=tick_label)
        axes.plot([0], [0], "o", color=INK, markersize=4)
        axes.set(title=plane.title, xlabel="first eigenvector", ylabel="second eigenvector")
    return canvas.picture(name, alt)
