"""Panels the size of a stamp whose ticks are the ends of their data alone, all on one pair of matplotlib's axes.

A pair of axes for each of a dozen panels takes ten times as long to make and to draw, and a site has hundreds of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.statistics import Array
from leaderboard.figures.canvas import tick_label
from leaderboard.figures.style import INK, LINE, MUTED
from leaderboard.figures.svg import Picture, ShownFigure

COLUMNS = 5
WIDTH, HEIGHT = 2.1, 1.4
"""Of a panel with its labels, in inches, as all lengths here."""

LEFT, RIGHT, BOTTOM, TOP = 0.55, 0.08, 0.22, 0.24
"""Between a panel's edges and its frame."""

FOOT = 0.38
"""Below all panels, for what their axes show."""

TITLE_SIZE, TICK_SIZE = 7.5, 6.5


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to a stretch of the page, linearly or by their logarithms.

    Attributes:
        low, high: the ends of the data; NaN where there are none.
        start, length: of the stretch.
        margin: free on either side of the data, as a part of their range.
    """

    low: float
    high: float
    start: float
    length: float
    log: bool = False
    margin: float = 0.05

    def __call__(self, values: Array) -> Array:
        """Places of values; NaN for what is not finite, and on a log scale for what is not positive."""
        low, high = (self._flat(np.array([end]))[0] for end in (self.low, self.high))
        flat = self._flat(values)
        share = (flat - low) / (high - low) if high > low else np.where(np.isnan(flat), np.nan, 0.5)
        return np.asarray(self.start + self.length * (self.margin + share) / (1 + 2 * self.margin))

    def _flat(self, values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = np.log(values) if self.log else np.asarray(values, dtype=float)
        return np.where(np.isfinite(flat), flat, np.nan)


@dataclass(frozen=True)
class SmallPanel:
    """Where a panel's data go."""

    x: Scale
    y: Scale
    foot: float
    """The height just above its lower edge."""


class SmallPanels:
    """A figure of `count` panels. Strokes are gathered by their style, and drawn together at the end."""

    def __init__(self, count: int) -> None:
        self._rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
        width, self._height = WIDTH * max(columns, 2), HEIGHT * self._rows + FOOT
        self.figure = ShownFigure(figsize=(width, self._height))
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, self._height))
        self.axes.set_axis_off()
        self._lines: defaultdict[tuple[str, float], list[tuple[Array, Array]]] = defaultdict(list)
        self._marks: defaultdict[tuple[str, str, float], list[tuple[Array, Array]]] = defaultdict(list)
        self._count = 0

    def panel(
        self, title: str, x: Array, y: Array, x_log: bool = False, y_log: bool = False, margin: float = 0.05
    ) -> SmallPanel:
        """The next panel, for data within the ranges of `x` and `y`; their ends are its ticks.

        A log scale is for positive data alone: of others it shows what is positive.
        """
        row, column = divmod(self._count, COLUMNS)
        self._count += 1
        left, bottom = column * WIDTH + LEFT, self._height - (row + 1) * HEIGHT + BOTTOM
        across, up = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP
        panel = SmallPanel(
            Scale(*_ends(x, x_log), left, across, x_log, margin),
            Scale(*_ends(y, y_log), bottom, up, y_log, margin),
            bottom + 0.04 * up,
        )
        self.lines(np.array([left, left, left + across]), np.array([bottom + up, bottom, bottom]), LINE, 0.8)
        self.axes.text(left, bottom + up + 0.07, title, fontsize=TITLE_SIZE, color=INK)
        for end in sorted({panel.x.low, panel.x.high}):
            if math.isfinite(end):
                place = panel.x(np.array([end]))[0]
                side = "center" if panel.x.low == panel.x.high else "left" if end == panel.x.low else "right"
                self._tick(place, bottom - 0.06, end, side, "top")
        for end in sorted({panel.y.low, panel.y.high}):
            if math.isfinite(end):
                self._tick(left - 0.05, panel.y(np.array([end]))[0], end, "right", "center")
        return panel

    def _tick(self, x: float, y: float, value: float, across: str, up: str) -> None:
        self.axes.text(x, y, tick_label(value), ha=across, va=up, fontsize=TICK_SIZE, color=MUTED)

    def lines(self, x: Array, y: Array, colour: str, width: float) -> None:
        """A line through places on the page."""
        gap = np.array([np.nan])
        self._lines[colour, width] += [(np.append(x, gap), np.append(y, gap))]

    def marks(self, x: Array, y: Array, marker: str, colour: str, size: float) -> None:
        """Marks at places on the page."""
        self._marks[marker, colour, size] += [(x, y)]

    def picture(self, name: str, alt: str, labels: Sequence[str]) -> Picture:
        """The finished picture, with what the axes show at its foot."""
        for (colour, width), lines in self._lines.items():
            self.axes.plot(*_joined(lines), color=colour, linewidth=width)
        for (marker, colour, size), marks in self._marks.items():
            self.axes.plot(*_joined(marks), color=colour, marker=marker, markersize=size, linestyle="")
        self.axes.text(0.06, 0.08, "\n".join(labels), fontsize=TITLE_SIZE, color=MUTED)
        return Picture(self.figure, name, alt)


def _joined(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    x, y = zip(*parts, strict=True)
    return np.concatenate(x), np.concatenate(y)


def _ends(values: Array, log: bool) -> tuple[float, float]:
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    return (float(finite.min()), float(finite.max())) if len(finite) else (math.nan, math.nan)
