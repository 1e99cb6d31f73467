"""Names beside points lie on nothing, at any size of the figure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from leaderboard.analysis.statistics import Array
from leaderboard.figures.point_names import PointNames, free_places


def _crossing(boxes: list[Bbox]) -> list[tuple[int, int]]:
    pairs = itertools.combinations(range(len(boxes)), 2)
    return [(a, b) for a, b in pairs if Bbox.intersection(boxes[a], boxes[b]) is not None]


def _crowd(count: int, spread: float, seed: int) -> Array:
    return np.random.default_rng(seed).normal(scale=spread, size=(count, 2))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "spread"), [(1, 1.0), (20, 60.0), (40, 100.0), (30, 3.0)])
def test_boxes_cross_nothing(count: int, spread: float, seed: int) -> None:
    points, within = _crowd(count, spread, seed), (-400.0, -300.0, 400.0, 300.0)
    sizes = np.column_stack([np.linspace(30, 110, count), np.full(count, 12.0)])
    boxes = free_places(points, sizes, within, point=4, step=3)
    assert not _crossing([Bbox.from_extents(*box) for box in boxes])
    for (left, lower, right, upper), size in zip(boxes, sizes, strict=True):
        assert (right - left, upper - lower) == pytest.approx(tuple(size))
        assert within[0] <= left < right <= within[2]
        assert within[1] <= lower < upper <= within[3]
        inside = (points > (left, lower)) & (points < (right, upper))
        assert not inside.all(axis=1).any()


def test_a_lone_name_stands_beside_its_point() -> None:
    [(left, lower, right, upper)] = free_places(
        np.zeros((1, 2)), np.array([[50.0, 12.0]]), (-100, -100, 100, 100), 4, 3
    )
    assert (left, right) == (5, 55)
    assert lower == -upper == -6


def test_names_move_with_the_size_of_the_figure() -> None:
    figure = Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    points = 0.5 + _crowd(20, 0.02, 1)
    axes.plot(*points.T, "o")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    PointNames(axes, points, [f"submission_{n}" for n in range(20)], ["k"] * 20)
    for width in (8, 6.9):
        figure.set_size_inches(width, 4)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        names = [text for text in axes.findobj(Text) if text.get_text().startswith("submission_")]  # type: ignore[attr-defined]
        assert len(names) == 20
        boxes = [Text.get_window_extent(name, renderer) for name in names]  # type: ignore[arg-type]
        assert not _crossing(boxes)
        assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)
