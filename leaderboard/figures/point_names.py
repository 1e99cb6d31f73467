"""Names beside the points of a scatter, none over another or over a point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation, Text

from leaderboard.analysis.statistics import Array

Box = tuple[float, float, float, float]
"""Left, lower, right and upper edge."""

SIZE = 8.5
"""Of the letters, in points."""

POINT = 4.0
"""Half the side of what a point takes, in points."""

PADDING = 1.15
"""Of a name's width: browsers have other letters than those that were measured."""

RINGS, ANGLES = 40, 16
"""A name is tried at so many distances from its point, in so many directions of each."""

FAR = 2
"""From this ring on a line leads from the point to its name."""


def free_places(points: Array, sizes: Array, within: Box, point: float, step: float) -> list[Box]:
    """A box for each point that lies within bounds and crosses no other box and no point.

    Points in a crowd choose first. Where no place is free the box that is crossed least is taken.

    Args:
        points: [n, 2].
        sizes: width and height [n, 2] of the boxes.
        within: bounds of all boxes.
        point: half the side of what a point takes.
        step: by how much the rings around a point grow.
    """
    taken = [(x - point, y - point, x + point, y + point) for x, y in points]
    crowd = [np.hypot(*(points - one).T) for one in points]
    order = sorted(range(len(points)), key=lambda n: float(np.sort(crowd[n])[:4].sum()))
    boxes: dict[int, Box] = {}
    for n in order:
        options = list(_around(points[n], sizes[n], point, step))
        inside = [box for box in options if _contains(within, box)] or options
        others = np.array(taken)
        crossed = [_crossed(box, others) for box in inside]
        boxes[n] = inside[int(np.argmin(crossed))]  # the first of equals, the nearest
        taken.append(boxes[n])
    return [boxes[n] for n in range(len(points))]


def _around(centre: Array, size: Array, point: float, step: float) -> list[Box]:
    """Boxes around a point, the nearest first: beside it on the right, on the left, above, below, then farther."""
    width, height = size
    options = []
    for ring, turn in itertools.product(range(RINGS), range(ANGLES)):
        # 0, 1, -1, 2, -2 … eighths of a half turn, from the right and the left alternately
        angle = math.pi * (turn % 2) + (-1) ** (turn // 2) * ((turn // 2 + 1) // 2) * 2 * math.pi / ANGLES
        across, up = math.cos(angle), math.sin(angle)
        gap = point + 1 + ring * step
        x = centre[0] + across * (gap + width / 2)
        y = centre[1] + up * (gap + height / 2)
        options.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return options


def _contains(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _crossed(box: Box, others: Array) -> float:
    """The area of a box that others cover."""
    across = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    up = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((np.clip(across, 0, None) * np.clip(up, 0, None)).sum())


class PointNames(Artist):
    """Names that find their places when they are drawn: sizes of figures and letters may change until then."""

    def __init__(self, axes: Axes, points: Array, names: Sequence[str], colours: Sequence[str]) -> None:
        super().__init__()
        self._points = np.asarray(points, dtype=float).reshape(-1, 2)
        self._names = [
            Annotation(
                name,
                tuple(point),
                xytext=(0, 0),
                textcoords="offset pixels",
                color=colour,
                fontsize=SIZE,
                ha="center",
                va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
            )
            for name, colour, point in zip(names, colours, self._points, strict=True)
        ]
        self.set_zorder(4)
        self.set_in_layout(False)
        axes.add_artist(self)
        for name in self._names:
            name.axes = axes
            name.set_figure(axes.figure)

    def get_children(self) -> list[Artist]:
        """The names."""
        return [*self._names]

    def draw(self, renderer: RendererBase, *args: Any, **kwargs: Any) -> None:
        """Find the names' places, and draw them."""
        assert self.axes is not None
        pixels = float(np.asarray(renderer.points_to_pixels(1)))
        centres: Array = self.axes.transData.transform(self._points).reshape(-1, 2)
        extents = [Text.get_window_extent(name, renderer) for name in self._names]
        sizes = np.array([[box.width * PADDING, box.height] for box in extents]).reshape(-1, 2)
        step = 3 * pixels
        bounds = self.axes.bbox.extents
        boxes = free_places(centres, sizes, (bounds[0], bounds[1], bounds[2], bounds[3]), POINT * pixels, step)
        for name, centre, box in zip(self._names, centres, boxes, strict=True):
            low, high = np.array(box[:2]), np.array(box[2:])
            across, up = (low + high) / 2 - centre
            name.set_position((float(across), float(up)))
            nearest = np.clip(centre, low, high)
            assert name.arrow_patch is not None
            name.arrow_patch.set_visible(float(np.linalg.norm(nearest - centre)) > POINT * pixels + FAR * step)
            name.draw(renderer)
        self.stale = False
