"""How submissions compare: on a task's measures, on two measures, in their mean ranks, on two tracks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from leaderboard.analysis.robustness import Agreement
from leaderboard.analysis.statistics import Array, Interval, pareto_front
from leaderboard.figures.canvas import Canvas, error_bars, log_axis, strokes
from leaderboard.figures.point_names import PointNames
from leaderboard.figures.style import ACCENT, GOOD, INK, LINE, MUTED, STYLE, WARM
from leaderboard.figures.svg import Picture


@dataclass(frozen=True)
class Strip:
    """One measure of all submissions on a task.

    Attributes:
        values: [submissions, seeds], NaN where there is none.
        means: with their intervals, in the order of `names`.
        score_0, score_1: the references, where the measure is scored.
    """

    measure: str
    names: Sequence[str]
    values: Array
    means: Sequence[Interval]
    score_0: float | None = None
    score_1: float | None = None
    direction: str = ""


@mpl.rc_context(STYLE)
def distributions(task: str, strips: Sequence[Strip]) -> Picture:
    """Every run of every submission on a task's measures, a panel for each."""
    columns = min(2, len(strips))
    rows = max(len(strip.names) for strip in strips)
    canvas = Canvas(len(strips), columns, (5.6 if columns > 1 else 7.6, 0.9 + 0.24 * rows))
    for axes, strip in zip(canvas.axes, strips, strict=True):
        places = np.arange(len(strip.names))[:, None] + np.zeros_like(strip.values)
        strokes(axes, strip.values, places, 0.22, color=MUTED, alpha=0.7, linewidth=1.2)
        rows_of = np.arange(len(strip.names), dtype=float)
        strokes(axes, np.array([mean.value for mean in strip.means]), rows_of, 0.38, color=ACCENT, linewidth=2.4)
        _lying(axes, strip.means, rows_of, color=ACCENT, linewidth=1.2)
        for value, colour, name in ((strip.score_0, WARM, "score_0"), (strip.score_1, GOOD, "score_1")):
            if value is not None and math.isfinite(value):
                axes.axvline(value, color=colour, linewidth=1, linestyle="--", label=name)
        title = f"{strip.measure} {strip.direction}".rstrip()
        drawn = np.array([*strip.values[~np.isnan(strip.values)], *filter(None, (strip.score_0, strip.score_1))])
        if len(drawn) and drawn.min() > 0 and drawn.max() / drawn.min() > 20:
            log_axis(axes, "x")
            title += ", log scale"
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_yticks(range(len(strip.names)), strip.names)
        axes.set_ylim(len(strip.names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8)
    names = ", ".join(strip.measure for strip in strips)
    return canvas.picture(
        f"runs-{task}", f"Every run that reached the target loss on {task}: {names}. The tables below hold the numbers."
    )


def _lying(axes: Axes, intervals: Sequence[Interval], rows: Array, **style: Any) -> None:
    """The intervals as lines that lie on rows."""
    ends = np.array([[interval.low, interval.high, np.nan] for interval in intervals]).ravel()
    axes.plot(ends, np.repeat(rows, 3), **style)


@dataclass(frozen=True)
class Place:
    """A submission on two measures, lower is better on both: means with intervals, and the runs [seeds, 2]."""

    name: str
    x: Interval
    y: Interval
    runs: Array
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
        if front.sum() > 1:  # the staircase below which nothing lies
            ordered = points[front][np.argsort(points[front, 0])]
            axes.step(ordered[:, 0], ordered[:, 1], where="post", color=ACCENT, linewidth=1.0, alpha=0.5)
        for place, best in zip(places, front, strict=True):
            colour = ACCENT if best else MUTED
            axes.plot(*place.runs.T, ".", color=colour, alpha=0.5, markersize=3)
            axes.errorbar(
                place.x.value,
                place.y.value,
                xerr=error_bars(place.x),
                yerr=error_bars(place.y),
                color=colour,
                alpha=0.9,
                marker="D" if place.explicit else "o",
                markersize=6 if best else 5,
                linewidth=0.8,
            )
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
        if panel.x_log and len(points) and points[:, 0].min() > 0:
            log_axis(axes, "x")
        if len(points) and points[:, 1].min() > 0 and points[:, 1].max() > 10 * points[:, 1].min():
            log_axis(axes, "y")
        axes.margins(0.14)
        PointNames(axes, points, [place.name for place in places], [ACCENT if best else MUTED for best in front])
        winners = ", ".join(place.name for place, best in zip(places, front, strict=True) if best)
        sentences.append(f"{panel.title}: on the Pareto front are {winners or 'none'}.")
    return canvas.picture(name, "Flatness measure against test error, lower is better. " + " ".join(sentences))


@mpl.rc_context(STYLE)
def scores(
    name: str,
    names: Sequence[str],
    overall: Sequence[Interval],
    axes: Mapping[str, Sequence[float]],
    of_seeds: Array,
    own: Collection[str] = (),
) -> Picture:
    """The overall scores with their intervals, best first, the scores of each axis beside them, and those of each seed.

    `of_seeds` [submissions, seeds] are the overall scores of one seed each, NaN where a submission lacks it.
    The names of the submissions `own` are bold, if there are others.
    """
    canvas = Canvas(size=(6.4, 1.0 + 0.24 * len(names)))
    panel = canvas.axes[0]
    rows = np.arange(len(names))
    several = axes if len(axes) > 1 else {}  # of one axis the overall score is that axis'
    for (axis, values), colour, marker in zip(several.items(), (WARM, GOOD, MUTED), "sD^", strict=False):
        panel.plot(values, rows, linestyle="", marker=marker, markersize=3.5, color=colour, alpha=0.8, label=axis)
    strokes(panel, of_seeds, rows[:, None] + np.zeros_like(of_seeds), 0.3, color=ACCENT, alpha=0.55, linewidth=1.0)
    for row, interval in enumerate(overall):
        label = "overall" if row == 0 else None
        panel.errorbar(
            interval.value, row, xerr=error_bars(interval), color=ACCENT, marker="o", markersize=5, label=label
        )
    panel.set_yticks(rows, names)
    for tick, each in zip(panel.get_yticklabels(), names, strict=True):
        if each in own and not set(names) <= set(own):
            tick.set(fontweight="bold", color=INK)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("score (95 % intervals over seeds; strokes: overall score of one seed)")
    canvas.figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    best = ", ".join(f"{each} {interval.value:.2f}" for each, interval in zip(names, overall, strict=True))
    return canvas.picture(name, f"Overall scores, best first: {best}.")


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
        label = f" {names[row]}  {rank:.1f} " if left else f" {rank:.1f}  {names[row]} "
        axes.text(edge, depth, label, ha="right" if left else "left", va="center")
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


@mpl.rc_context(STYLE)
def track_agreement(name: str, agreement: Agreement, labels: tuple[str, str]) -> Picture:
    """The overall scores of two tracks against each other."""
    canvas = Canvas(size=(6.4, 4.2))
    axes = canvas.axes[0]
    axes.axline((0.5, 0.5), slope=1, color=LINE, linewidth=1)
    axes.scatter(agreement.first, agreement.second, color=ACCENT, s=30)
    axes.set(xlabel=f"overall score, {labels[0]}", ylabel=f"overall score, {labels[1]}")
    axes.margins(0.15)
    points = np.column_stack([agreement.first, agreement.second])
    PointNames(axes, points, agreement.names, [INK] * len(agreement.names))
    tau = f"{agreement.tau.value:.2f} [{agreement.tau.low:.2f}, {agreement.tau.high:.2f}]"
    alt = f"Overall scores on {labels[0]} and {labels[1]}: Kendall's tau {tau} over {len(agreement.names)} submissions."
    return canvas.picture(name, alt)
