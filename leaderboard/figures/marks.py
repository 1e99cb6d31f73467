"""What several pictures put on their axes: intervals, strokes, names beside points, scales with few labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from leaderboard.analysis.statistics import Array, Interval

POINTS_PER_PIXEL = 72 / 100
"""Of matplotlib's default resolution, in which positions are found before anything is drawn."""


def error_bars(interval: Interval) -> list[list[float]]:
    """How far `interval` reaches below and above its estimate, as matplotlib wants it."""
    low, high = interval.value - interval.low, interval.high - interval.value
    return [[max(0.0, np.nan_to_num(low))], [max(0.0, np.nan_to_num(high))]]


def strokes(axes: Axes, x: Array, y: Array, half: float | Array, **style: Any) -> None:
    """An upright stroke at every point, `half` to either side, all of them as one path: markers would fill the page."""
    x, y = x.ravel(), y.ravel()
    gap = np.full_like(x, np.nan)
    axes.plot(np.stack([x, x, gap], axis=1).ravel(), np.stack([y - half, y + half, gap], axis=1).ravel(), **style)


def name_points(axes: Axes, points: Array, names: Sequence[str], colours: Sequence[str]) -> None:
    """Names beside their points, each where it covers the fewest points and names so far."""
    axes.figure.canvas.draw_idle()
    pixels = axes.transData.transform(points) if len(points) else points
    taken: list[tuple[float, float, float, float]] = [(x - 5, y - 5, x + 5, y + 5) for x, y in pixels]
    for (x, y), name, colour, point in zip(pixels, names, colours, points, strict=True):
        width, height = 6.0 * len(name) + 4, 12.0
        options = [
            (dx, dy)
            for dx in (8, -8 - width, -width / 2)
            for dy in (-height / 2, 6, -6 - height)
            if dx != -width / 2 or dy != -height / 2
        ]
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
        known = values[np.isfinite(values)]
        ends = sorted({float(known.min()), float(known.max())}) if len(known) else []
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(ends, [f"{end:.2g}" for end in ends], fontsize=6.5)
