"""Flatness against generalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from leaderboard.analysis.statistics import Array, Interval, pareto_front
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.marks import error_bars, log_axis, name_points
from leaderboard.figures.style import ACCENT, MUTED, STYLE
from leaderboard.figures.svg import Picture


@dataclass(frozen=True)
class Place:
    """A submission on two measures, lower is better on both."""

    name: str
    x: Interval
    y: Interval
    explicit: bool = False


@dataclass(frozen=True)
class Panel:
    """One task's submissions on two of its measures."""

    title: str
    places: Sequence[Place]
    x_label: str
    y_label: str
    x_log: bool = True


@mpl.rc_context(STYLE)
def tradeoff(name: str, panels: Sequence[Panel]) -> Picture:
    """Flatness against test error, task by task, with intervals and the Pareto front."""
    canvas = Canvas(len(panels), min(2, len(panels)), (6.0, 4.0) if len(panels) > 1 else (8.0, 4.0))
    sentences = []
    for axes, panel in zip(canvas.axes, panels, strict=True):
        places = [place for place in panel.places if math.isfinite(place.x.value) and math.isfinite(place.y.value)]
        points = np.array([[place.x.value, place.y.value] for place in places]).reshape(-1, 2)
        front = pareto_front(points)
        _draw_front(axes, points[front])
        for place, best in zip(places, front, strict=True):
            colour = ACCENT if best else MUTED
            axes.errorbar(
                place.x.value, place.y.value, xerr=error_bars(place.x), yerr=error_bars(place.y), color=colour,
                alpha=0.9, marker="D" if place.explicit else "o", markersize=6 if best else 5, linewidth=0.8,
            )  # fmt: skip
        if panel.x_log and len(points) and points[:, 0].min() > 0:
            log_axis(axes, "x")
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
        axes.margins(0.14)
        name_points(axes, points, [place.name for place in places], [ACCENT if best else MUTED for best in front])
        winners = ", ".join(place.name for place, best in zip(places, front, strict=True) if best)
        sentences.append(f"{panel.title}: on the Pareto front are {winners or 'none'}.")
    return canvas.picture(name, "Flatness measure against test error, lower is better. " + " ".join(sentences))


def _draw_front(axes: Axes, points: Array) -> None:
    """The staircase below which nothing lies."""
    if len(points) > 1:
        ordered = points[np.argsort(points[:, 0])]
        axes.step(ordered[:, 0], ordered[:, 1], where="post", color=ACCENT, linewidth=1.0, alpha=0.5)
