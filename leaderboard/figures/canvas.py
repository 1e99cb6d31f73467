"""A figure of some panels, from the first stroke to SVG text: its axes and what is put on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from leaderboard.analysis.statistics import Array, Interval
from leaderboard.figures.svg import Picture, ShownFigure

POINTS_PER_PIXEL = 72 / 100
"""Of matplotlib's default resolution, in which positions are found before anything is drawn."""


class Canvas:
    """A figure of some panels.

    Args:
        panels, columns: how many, and of the grid that they stand in.
        size: width and height of a panel in inches; the average, where `heights` says how rows share the height.
        small: whether the panels are small and alike, so that fixed margins serve.
        heights: of the rows, relative to each other.
    """

    def __init__(
        self,
        panels: int = 1,
        columns: int = 1,
        size: tuple[float, float] = (6.4, 3.6),
        small: bool = False,
        heights: Sequence[float] | None = None,
    ) -> None:
        rows = math.ceil(panels / columns)
        width, height = size[0] * columns, size[1] * rows
        self.figure = ShownFigure(figsize=(width, height), layout=None if small else "constrained")
        # Fixed margins (in inches) cost nothing to find.
        margins = {"left": 0.42 / width, "right": 1 - 0.08 / width, "bottom": 0.4 / height, "top": 1 - 0.22 / height}
        spaces = {"wspace": 0.5 / (size[0] - 0.5), "hspace": 0.45 / (size[1] - 0.45)}
        spacing = margins | spaces if small else None
        grid = self.figure.subplots(rows, columns, squeeze=False, gridspec_kw=spacing, height_ratios=heights).ravel()
        for axes in grid[panels:]:
            axes.set_axis_off()
        self.axes: list[Axes] = list(grid[:panels])

    def picture(self, name: str, alt: str) -> Picture:
        """The finished picture; `name` keeps its identifiers apart from those of others on the same page."""
        return Picture(self.figure, name, alt)


def error_bars(interval: Interval) -> list[list[float]]:
    """How far `interval` reaches below and above its estimate, as matplotlib wants it."""
    low, high = interval.value - interval.low, interval.high - interval.value
    return [[max(0.0, np.nan_to_num(low))], [max(0.0, np.nan_to_num(high))]]


def strokes(axes: Axes, x: Array, y: Array, half: float | Array, **style: Any) -> None:
    """An upright stroke at every point, `half` to either side; all in one path: markers would fill the page."""
    x, y = x.ravel(), y.ravel()
    gap = np.full_like(x, np.nan)
    axes.plot(np.stack([x, x, gap], axis=1).ravel(), np.stack([y - half, y + half, gap], axis=1).ravel(), **style)


def name_points(axes: Axes, points: Array, names: Sequence[str], colours: Sequence[str]) -> None:
    """Write the names next to their points, each where it covers the fewest points and names so far."""
    axes.figure.canvas.draw_idle()
    pixels = axes.transData.transform(points) if len(points) else points
    taken: list[tuple[float, float, float, float]] = [(x - 5, y - 5, x + 5, y + 5) for x, y in pixels]
    for (x, y), name, colour, point in zip(pixels, names, colours, points, strict=True):
        width, height = 6.0 * len(name) + 4, 12.0
        places = itertools.product((8, -8 - width, -width / 2), (-height / 2, 6, -6 - height))
        options = [place for place in places if place != (-width / 2, -height / 2)]
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + height) for dx, dy in options]
        crossings = [sum(_crosses(box, other) for other in taken) for box in boxes]
        chosen = int(np.argmin(crossings))
        taken.append(boxes[chosen])
        dx, dy = options[chosen]
        offset = dx * POINTS_PER_PIXEL, (dy + 2) * POINTS_PER_PIXEL
        axes.annotate(name, point, xytext=offset, textcoords="offset points", color=colour, fontsize=8.5)


def _crosses(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def log_axis(axes: Axes, which: str) -> None:
    """A log axis with few labels."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def name_ends(axes: Axes, x: Array, y: Array) -> None:
    """Ticks at the least and the greatest value only."""
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        finite = values[np.isfinite(values)]
        ends = sorted({float(finite.min()), float(finite.max())}) if len(finite) else []
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(ends, [f"{end:.2g}" for end in ends], fontsize=6.5)
