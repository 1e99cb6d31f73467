"""Pictures as SVG text. Colours are CSS variables of the site, so that one picture serves light and dark.

Drawn with matplotlib's figure objects alone (no pyplot: nothing global, nothing to close). Files are reproducible: a
fixed salt for identifiers, no date, coordinates rounded to a tenth of a point.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from leaderboard.analysis import Agreement, Trial
from leaderboard.history import History
from leaderboard.statistics import Array, Interval, pareto_front

INK, MUTED, LINE, ACCENT, WARM, GOOD = "#101010", "#707071", "#d0d0d1", "#0060a1", "#c04f01", "#007f51"
SERIES = ("#0060a1", "#c04f01", "#007f51", "#8a3ffd", "#b0227c", "#6a6a01", "#0090a1", "#804001")
VARIABLES = {
    INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", WARM: "--warm", GOOD: "--good",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES[3:], start=4)},
}  # fmt: skip
"""The colours that matplotlib draws with, and what the style sheet calls them."""

STYLE: Any = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5, "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5,
    "axes.titlelocation": "left", "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "axes.grid": True,
    "grid.color": LINE, "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.4,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "axes.formatter.useoffset": False,
}  # fmt: skip


POINTS_PER_PIXEL = 72 / 100
"""Of matplotlib's default resolution, in which positions are found before anything is drawn."""

SMALL: Any = STYLE | {"axes.grid": False, "xtick.major.size": 0, "ytick.major.size": 0}


@dataclass(frozen=True)
class Picture:
    """A figure for the site: SVG text, and what it shows in words."""

    svg: str
    alt: str


class _Canvas:
    """A figure of some panels, from the first stroke to SVG text."""

    def __init__(
        self, panels: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 3.6), small: bool = False
    ) -> None:
        rows = math.ceil(panels / columns)
        width, height = size[0] * columns, size[1] * rows
        self.figure = Figure(figsize=(width, height), layout=None if small else "constrained")
        # Where all panels are small and alike, fixed margins (in inches) serve, and cost nothing to find.
        margins = {"left": 0.42 / width, "right": 1 - 0.08 / width, "bottom": 0.4 / height, "top": 1 - 0.22 / height}
        spaces = {"wspace": 0.5 / (size[0] - 0.5), "hspace": 0.45 / (size[1] - 0.45)}
        spacing = margins | spaces if small else None
        grid = self.figure.subplots(rows, columns, squeeze=False, gridspec_kw=spacing).ravel()
        for axes in grid[panels:]:
            axes.set_axis_off()
        self.axes: list[Axes] = list(grid[:panels])

    def picture(self, name: str, alt: str) -> Picture:
        """The finished picture; `name` keeps its identifiers apart from those of others on the same page."""
        stream = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name}):
            self.figure.savefig(stream, format="svg", metadata={"Date": None}, pad_inches=0.02)
        return Picture(_inline(stream.getvalue(), name, alt), alt)


SLIMMER = (
    (r"<metadata>.*?</metadata>|<!--.*?-->", ""),
    (r">\s+<", "><"),
    (r'<g id="[^"]*"', "<g"),  # named for nobody
    (r" ?font-family: [^;\"]*;?", ""),  # the style sheet's
    (r"; stroke-linejoin: miter|; stroke-linecap: (square|butt)", ""),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"\nL ", " "),  # lines follow a move without being named
    (r" z\n|\n", " "),
    (r'<path d="[^"]*" style="fill: none"/>', ""),  # invisible backgrounds
    (r"<g/>|<g></g>", ""),
    (r"<g/>|<g></g>", ""),
)
"""Replacements that a reader cannot see: a site of 20 submissions has a hundred pictures."""


def _inline(svg: str, name: str, alt: str) -> str:
    """SVG text for a page: themed, described, small, and with identifiers of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'="[^"<>]*"', lambda attribute: re.sub(r"(\d+)\.(?:0\d*|(\d)\d*)", _tenth, attribute[0]), svg)
    for pattern, replacement in SLIMMER:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", name)
    svg = re.sub(r'(id="|"#|url\(#|href="#)([^"#)])', rf"\1{prefix}-\2", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" ', 1)


def _tenth(number: re.Match[str]) -> str:
    """A coordinate to a tenth of a point."""
    return number[1] if number[2] is None else f"{number[1]}.{number[2]}"


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
    canvas = _Canvas(len(panels), min(2, len(panels)), (6.0, 4.0) if len(panels) > 1 else (8.0, 4.0))
    sentences = []
    for axes, panel in zip(canvas.axes, panels, strict=True):
        places = [place for place in panel.places if math.isfinite(place.x.value) and math.isfinite(place.y.value)]
        points = np.array([[place.x.value, place.y.value] for place in places]).reshape(-1, 2)
        front = pareto_front(points)
        _draw_front(axes, points[front])
        for place, best in zip(places, front, strict=True):
            colour = ACCENT if best else MUTED
            axes.errorbar(
                place.x.value, place.y.value, xerr=_error(place.x), yerr=_error(place.y), color=colour, alpha=0.9,
                marker="D" if place.explicit else "o", markersize=6 if best else 5, linewidth=0.8,
            )  # fmt: skip
        if panel.x_log and len(points) and points[:, 0].min() > 0:
            _log(axes, "x")
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
        axes.margins(0.14)
        _label_points(axes, points, [place.name for place in places], [ACCENT if best else MUTED for best in front])
        winners = ", ".join(place.name for place, best in zip(places, front, strict=True) if best)
        sentences.append(f"{panel.title}: on the Pareto front are {winners or 'none'}.")
    return canvas.picture(name, "Flatness measure against test error, lower is better. " + " ".join(sentences))


def _error(interval: Interval) -> list[list[float]]:
    low, high = interval.value - interval.low, interval.high - interval.value
    return [[max(0.0, np.nan_to_num(low))], [max(0.0, np.nan_to_num(high))]]


def _draw_front(axes: Axes, points: Array) -> None:
    """The staircase below which nothing lies."""
    if len(points) > 1:
        ordered = points[np.argsort(points[:, 0])]
        axes.step(ordered[:, 0], ordered[:, 1], where="post", color=ACCENT, linewidth=1.0, alpha=0.5)


def _label_points(axes: Axes, points: Array, names: Sequence[str], colours: Sequence[str]) -> None:
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


def _log(axes: Axes, which: str) -> None:
    """A log axis with few labels."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


@mpl.rc_context(STYLE)
def critical_difference(name: str, names: Sequence[str], mean_ranks: Array, distance: float, cells: int) -> Picture:
    """Mean ranks over tasks, with bars over groups that the critical distance does not separate (Demšar 2006)."""
    order = np.argsort(mean_ranks)
    count, half = len(names), math.ceil(len(names) / 2)
    groups = _groups(mean_ranks[order], distance)
    canvas = _Canvas(size=(8.6, 1.0 + 0.26 * half + 0.14 * len(groups)))
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
        axes.text(
            edge, depth, f" {names[row]}  {rank:.1f} " if left else f" {rank:.1f}  {names[row]} ",
            ha="right" if left else "left", va="center",
        )  # fmt: skip
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


@dataclass(frozen=True)
class Strip:
    """One measure of all submissions on a task: each lane's value, and the measure's references where it is scored."""

    measure: str
    names: Sequence[str]
    values: Array
    null: float | None = None
    ideal: float | None = None
    direction: str = ""


@mpl.rc_context(STYLE)
def distributions(task: str, strips: Sequence[Strip]) -> Picture:
    """Every lane of every submission on a task's measures, a panel for each."""
    columns = min(2, len(strips))
    rows = max(len(strip.names) for strip in strips)
    canvas = _Canvas(len(strips), columns, (5.6 if columns > 1 else 7.6, 0.9 + 0.24 * rows))
    for axes, strip in zip(canvas.axes, strips, strict=True):
        places = np.arange(len(strip.names))[:, None] + np.zeros_like(strip.values)
        _ticks(axes, strip.values, places, 0.22, color=MUTED, alpha=0.7, linewidth=1.2)
        means = np.array([np.nanmean(row) if not np.isnan(row).all() else np.nan for row in strip.values])
        _ticks(axes, means, places[:, 0], 0.38, color=ACCENT, linewidth=2.4)
        for value, colour, name in ((strip.null, WARM, "null"), (strip.ideal, GOOD, "ideal")):
            if value is not None and math.isfinite(value):
                axes.axvline(value, color=colour, linewidth=1, linestyle="--", label=name)
        known = np.array([*strip.values[~np.isnan(strip.values)], *filter(None, (strip.null, strip.ideal))])
        if len(known) and known.min() > 0 and known.max() / known.min() > 20:
            _log(axes, "x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_yticks(range(len(strip.names)), strip.names)
        axes.set_ylim(len(strip.names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{strip.measure} {strip.direction}")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8)
    names = ", ".join(strip.measure for strip in strips)
    return canvas.picture(
        f"lanes-{task}", f"Every lane at the stop on {task}: {names}. The tables below hold the numbers."
    )


def _ticks(axes: Axes, x: Array, y: Array, half: float, **style: Any) -> None:
    """A short upright stroke at every point, all of them as one path: hundreds of markers would fill the page."""
    x, y = x.ravel(), y.ravel()
    gap = np.full_like(x, np.nan)
    axes.plot(np.stack([x, x, gap], axis=1).ravel(), np.stack([y - half, y + half, gap], axis=1).ravel(), **style)


@dataclass(frozen=True)
class Line:
    """One curve: `y` over `x`, of whom, and the oracle's where there is one."""

    name: str
    x: Sequence[float | None]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Curves that share a panel."""

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    points: bool = False
    oracle: Line | None = field(default=None)


@mpl.rc_context(STYLE)
def curves(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Line charts, a panel for each; with more than eight lines, dashes tell two of one colour apart."""
    columns = min(2, len(charts))
    canvas = _Canvas(len(charts), columns, (5.6, 3.4) if columns > 1 else (8.0, 3.8))
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for number, line in enumerate(chart.lines):
            dashes = "none" if chart.points else ("-", "--", ":")[number // len(SERIES) % 3]
            axes.plot(
                *_known(line), color=SERIES[number % len(SERIES)], label=line.name, linestyle=dashes,
                marker="o" if chart.points else "", markersize=3,
            )  # fmt: skip
        if chart.oracle is not None:
            axes.plot(*_known(chart.oracle), color=INK, linewidth=1, linestyle=(0, (1, 1)), label="oracle")
        _scale(axes, chart)
        if not chart.x_log and all(isinstance(x, int) for line in chart.lines for x in line.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8.5)
    return canvas.picture(name, alt)


def _scale(axes: Axes, chart: Chart) -> None:
    for which, log in (("x", chart.x_log), ("y", chart.y_log)):
        if log:
            _log(axes, which)


@mpl.rc_context(SMALL)
def small_multiples(name: str, charts: Sequence[Chart], alt: str) -> Picture:
    """Many small line charts whose ticks are the ends of their lines alone."""
    columns = 5
    canvas = _Canvas(len(charts), columns, (2.1, 1.4), small=True)
    for axes, chart in zip(canvas.axes, charts, strict=True):
        for line in chart.lines:
            axes.plot(*_known(line, most=24), color=ACCENT, linewidth=1.1)
        _scale(axes, chart)
        _name_ends(axes, *_known(chart.lines[0]))
        axes.set_title(chart.title, fontsize=7.5)
    return canvas.picture(name, alt)


def _name_ends(axes: Axes, x: Array, y: Array) -> None:
    """Ticks at the least and the greatest value only."""
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        known = values[np.isfinite(values)]
        ends = sorted({float(known.min()), float(known.max())}) if len(known) else []
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(ends, [f"{end:.2g}" for end in ends], fontsize=6.5)


def _known(line: Line, most: int = 80) -> tuple[Array, Array]:
    """At most `most` points as numbers; what a record could not hold (infinite, not a number) is a gap."""
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(most, len(line.x))).round().astype(int))
    x, y = (np.array([math.nan if v is None else v for v in part], dtype=float) for part in (line.x, line.y))
    return x[chosen], y[chosen]


@mpl.rc_context(SMALL)
def tuning(submission: str, found: Sequence[Trial]) -> Picture | None:
    """What trials are chosen by against their step size (or first tuned number), a panel for each task."""
    key = _tuned(found)
    tasks = sorted({trial.task for trial in found})
    if key is None or not tasks:
        return None
    columns = 5
    canvas = _Canvas(len(tasks), columns, (2.1, 1.4), small=True)
    for axes, task in zip(canvas.axes, tasks, strict=True):
        own = [trial for trial in found if trial.task == task]
        known = [trial for trial in own if math.isfinite(trial.criterion)]
        for chosen, colour, size in ((False, MUTED, 3.5), (True, ACCENT, 6.0)):
            points = [(t.hyperparameters[key], t.criterion) for t in known if t.chosen == chosen]
            axes.plot(*_columns(points), "o", color=colour, markersize=size)
        # Along the lower edge: ended by the race (a tick), or missed the stop (a cross).
        for raced, marker, colour in ((True, "|", MUTED), (False, "x", WARM)):
            points = [(t.hyperparameters[key], 0.04) for t in own if t not in known and t.raced == raced]
            edge = axes.get_xaxis_transform()
            axes.plot(*_columns(points), marker, color=colour, transform=edge, clip_on=False, markersize=5)
        values = np.array([trial.hyperparameters[key] for trial in own], dtype=float)
        if values.min() > 0 and values.max() > values.min():
            _log(axes, "x")
        axes.margins(0.12)
        _name_ends(axes, values, np.array([trial.criterion for trial in known]))
        axes.set_title(task, fontsize=7.5)
    canvas.figure.text(0.5, 0.01, key, ha="center", fontsize=7.5, color=MUTED)
    missed = sum(math.isinf(trial.criterion) and not trial.raced for trial in found)
    return canvas.picture(
        f"tuning-{submission}",
        f"Tuning trials of {submission}: the criterion (validation loss, or gradient evaluations to the stop) against "
        f"{key} on {len(tasks)} tasks; {missed} of {len(found)} trials missed the stop.",
    )


def _columns(points: Sequence[tuple[Any, float]]) -> tuple[list[Any], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _tuned(found: Sequence[Trial]) -> str | None:
    """The hyper-parameter to draw over: ``lr``, else the first number that differs between trials."""
    varied = [
        key
        for key in (found[0].hyperparameters if found else ())
        if all(isinstance(trial.hyperparameters.get(key), int | float) for trial in found)
        and len({trial.hyperparameters[key] for trial in found}) > 1
    ]
    return "lr" if "lr" in varied else next(iter(varied), None)


@mpl.rc_context(STYLE)
def agreement(name: str, found: Agreement, labels: tuple[str, str]) -> Picture:
    """The overall scores of two tracks against each other."""
    canvas = _Canvas(size=(6.4, 4.2))
    axes = canvas.axes[0]
    axes.axline((0.5, 0.5), slope=1, color=LINE, linewidth=1)
    axes.scatter(found.first, found.second, color=ACCENT, s=30)
    axes.set(xlabel=f"overall score, {labels[0]}", ylabel=f"overall score, {labels[1]}")
    axes.margins(0.15)
    _label_points(axes, np.column_stack([found.first, found.second]), found.names, [INK] * len(found.names))
    tau = f"{found.tau.value:.2f} [{found.tau.low:.2f}, {found.tau.high:.2f}]"
    alt = f"Overall scores on {labels[0]} and {labels[1]}: Kendall's tau {tau} over {len(found.names)} submissions."
    return canvas.picture(name, alt)


@mpl.rc_context(STYLE)
def runtime(histories: Sequence[History]) -> Picture:
    """What each benchmark took, commit by commit, relative to its first."""
    canvas = _Canvas(len(histories), min(2, len(histories)), (5.6, 2.3))
    for axes, history in zip(canvas.axes, histories, strict=True):
        relative = [point.mean / history.points[0].mean for point in history.points if history.points[0].mean]
        axes.plot(range(len(relative)), relative, marker="o", markersize=4, color=ACCENT)
        axes.axhline(1, color=LINE, linewidth=1)
        axes.set_ylim(0, max([1.5, *(1.1 * value for value in relative)]))
        axes.set_xticks(range(len(relative)), [point.commit for point in history.points[: len(relative)]], rotation=30)
        axes.set_title(history.benchmark.partition(".")[2] or history.benchmark, fontsize=8.5)
        axes.tick_params(labelsize=7.5)
    return canvas.picture(
        "runtime", "Runtime and counts of every benchmark by commit, relative to the oldest commit shown."
    )
