"""A figure of some panels, from the first stroke to SVG text: its axes and what is put on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, LogLocator, NullLocator, ScalarFormatter

from leaderboard.analysis.statistics import Array, Interval
from leaderboard.figures.svg import Picture, ShownFigure


class Canvas:
    """A figure of some panels.

    Args:
        panels, columns: how many, and of the grid that they stand in.
        size: width and height of a panel in inches; the average, where `heights` says how rows share the height.
        heights: of the rows, relative to each other.
    """

    def __init__(
        self,
        panels: int = 1,
        columns: int = 1,
        size: tuple[float, float] = (6.4, 3.6),
        heights: Sequence[float] | None = None,
    ) -> None:
        rows = math.ceil(panels / columns)
        width, height = size[0] * columns, size[1] * rows
        self.figure = ShownFigure(figsize=(width, height), layout="constrained")
        grid = self.figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel()
        for axes in grid:
            axes.xaxis.set_major_formatter(Ticks())
            axes.yaxis.set_major_formatter(Ticks())
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


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

PLAIN = 1e-3, 1e5
"""Numbers from the one to below the other are written out."""


def tick_label(value: float, digits: int = 2) -> str:
    """A number of so many digits as axes show it: 360, 0.27, 10⁻⁶, 2.8×10⁵."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or PLAIN[0] <= abs(rounded) < PLAIN[1]:
        return f"{rounded:.10g}".replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    short = f"{float(mantissa):g}"
    return power if short == "1" else f"{short}×{power}".replace("-", "−")


class Ticks(ScalarFormatter):
    """Labels of a linear axis: as matplotlib's, but those of very large and small numbers as of `tick_label`."""

    def format_ticks(self, values: Any) -> list[str]:
        """The labels of all ticks of an axis."""
        largest = max(map(abs, values), default=0)
        if largest == 0 or PLAIN[0] <= largest < PLAIN[1]:
            return super().format_ticks(values)
        return [tick_label(value, 3) for value in values]


class LogTicks(Formatter):
    """Labels of a log axis: powers of ten on all ticks, or on none."""

    def format_ticks(self, values: Any) -> list[str]:
        """The labels of all ticks of an axis."""
        decades = [value for value in values if value > 0 and math.log10(value).is_integer()]
        if len(decades) == len(values) and not all(PLAIN[0] <= value < PLAIN[1] for value in values):
            return [f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}" for value in values]
        return [tick_label(value, 3) for value in values]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of one tick."""
        return tick_label(x, 3)


def log_axis(axes: Axes, which: str) -> None:
    """A log axis with few labels, which its name says: call it when the axis has one."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(LogTicks())
    axis.set_minor_locator(NullLocator())
    if name := axis.get_label_text():
        axis.set_label_text(f"{name} (log scale)")
