"""The study's pictures: claims, factors, universality, prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from leaderboard.analysis.statistics import Interval
from leaderboard.analysis.verdicts import Verdict
from leaderboard.figures import Canvas, Picture
from leaderboard.figures.canvas import strokes
from leaderboard.figures.style import ACCENT, GOOD, INK, LINE, MUTED, STYLE, WARM
from leaderboard.study.contrasts import Outcome
from leaderboard.study.effects import Effect
from leaderboard.study.prediction import Prediction
from leaderboard.study.universality import Universality

RATIO_TICKS = (0.25, 0.33, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Ticks of an axis of ratios."""

COLOURS = {Verdict.HOLDS: GOOD, Verdict.FAILS: WARM}


@mpl.rc_context(STYLE)
def claims(outcomes: Sequence[Outcome]) -> Picture:
    """The change that each claim is about, as claimed to the right: ratios above, differences below."""
    tested = [outcome for outcome in outcomes if outcome.pairs]
    ratios, differences = ([outcome for outcome in tested if outcome.contrast.log == log] for log in (True, False))
    panels = [panel for panel in (ratios, differences) if panel]
    heights = [len(panel) + 1.5 for panel in panels]
    canvas = Canvas(len(panels), 1, (8.6, 0.6 + 0.17 * len(tested)), heights=heights)
    for axes, panel in zip(canvas.axes, panels, strict=True):
        log = panel is ratios
        for row, outcome in enumerate(panel):
            colour = COLOURS.get(outcome.verdict, ACCENT)
            each = np.array([_claimed(outcome, interval).value for interval in outcome.environments.values()])
            strokes(axes, each, np.full(len(each), row), 0.22, color=MUTED, alpha=0.6, linewidth=1.0)
            _estimate(axes, _claimed(outcome, outcome.difference), row, colour)
            place = axes.get_yaxis_transform()
            axes.text(1.02, row, outcome.in_words, transform=place, va="center", color=colour, fontweight="bold")
        axes.axvline(1 if log else 0, color=INK, linewidth=0.8)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(RATIO_TICKS))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(lambda value, _: f"×{value:g}")
        axes.margins(x=0.06)
        _rows(axes, [outcome.contrast.name for outcome in panel])
        axes.set_xlabel("ratio in the claimed direction" if log else "difference in the claimed direction")
    described = ". ".join(f"{outcome.contrast.name}: {outcome.in_words}" for outcome in outcomes)
    return canvas.picture("study-claims", f"The claims with intervals and environments. {described}.")


def _claimed(outcome: Outcome, interval: Interval) -> Interval:
    """The change with its sign turned so that more is as claimed; a ratio where logarithms were compared."""
    if not outcome.contrast.more:
        interval = Interval(-interval.value, -interval.high, -interval.low)
    if not outcome.contrast.log:
        return interval
    return Interval(*(math.exp(bound) for bound in (interval.value, interval.low, interval.high)))


def _estimate(axes: Axes, interval: Interval, row: float, colour: str) -> None:
    """A dot with its interval, lying on `row`."""
    axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2.6, solid_capstyle="round")
    axes.plot(interval.value, row, "o", color=colour, markersize=5.5)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Named rows from the top down."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


@mpl.rc_context(STYLE)
def factors(effects: Mapping[str, Sequence[Effect]], names: Sequence[str]) -> Picture:
    """How much of each property every factor explains by itself, a panel for each property."""
    canvas = Canvas(len(effects), len(effects), (1.8, 0.7 + 0.24 * len(names)))
    leaders = []
    for place, (axes, (response, terms)) in enumerate(zip(canvas.axes, effects.items(), strict=True)):
        shares = {effect.factors[0]: effect.omega_squared for effect in terms if len(effect.factors) == 1}
        for row, name in enumerate(names):
            if name in shares:
                axes.barh(row, max(0.0, shares[name].value), height=0.62, color=ACCENT, alpha=0.3)
                _estimate(axes, shares[name], row, ACCENT)
        _rows(axes, names if place == 0 else [""] * len(names))
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_title(response)
        first = max(shares, key=lambda name: shares[name].value)
        leaders.append(f"{response}: most by {first} ({shares[first].value:.2f})")
    return canvas.picture("study-factors", f"Share of variance that each factor explains. {'; '.join(leaders)}.")


@mpl.rc_context(STYLE)
def universality(properties: Mapping[str, Universality]) -> Picture:
    """How well all other variants predict the ranking on one, property by property."""
    canvas = Canvas(size=(8.6, 0.8 + 0.3 * len(properties)))
    axes = canvas.axes[0]
    for row, ranking in enumerate(properties.values()):
        # Rankings of a few submissions correlate in a few ways only: the height says how many variants share a value.
        values, counts = np.unique(np.round(list(ranking.held_out.values()), 3), return_counts=True)
        heights = 0.4 * counts / counts.max()
        strokes(axes, values, np.full(len(values), row), heights, color=MUTED, alpha=0.6, linewidth=2.2)
        _estimate(axes, ranking.predicted, row, ACCENT)
        axes.text(1.02, row, f"W = {ranking.w:.2f}", transform=axes.get_yaxis_transform(), va="center")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlim(-1.03, 1.03)
    _rows(axes, list(properties))
    axes.set_xlabel("rank correlation of a held-out variant with all others")
    means = "; ".join(f"{name}: {each.predicted.value:.2f}, W {each.w:.2f}" for name, each in properties.items())
    return canvas.picture("study-universality", f"How alike the variants of the task rank submissions. {means}.")


@mpl.rc_context(STYLE)
def prediction(predictions: Sequence[Prediction]) -> Picture:
    """How well every measure predicts the test error: rank correlations, and sign-errors with the worst case."""
    canvas = Canvas(2, 2, (4.6, 0.8 + 0.3 * len(predictions)))
    correlations, errors = canvas.axes
    for row, each in enumerate(predictions):
        _estimate(correlations, each.tau, row + 0.16, MUTED)
        _estimate(correlations, each.granulated, row - 0.16, ACCENT)
        errors.plot([each.sign_error.value, each.worst_sign_error], [row, row], color=LINE, linewidth=1)
        errors.plot(each.worst_sign_error, row, "x", color=WARM, markersize=6)
        _estimate(errors, each.sign_error, row, ACCENT)
    correlations.axvline(0, color=INK, linewidth=0.8)
    errors.axvline(0.5, color=INK, linewidth=0.8, linestyle="--")
    errors.set_xlim(-0.02, 1.02)
    _rows(correlations, [each.measure for each in predictions])
    _rows(errors, [""] * len(predictions))
    correlations.set_xlabel("rank correlation with the test error")
    errors.set_xlabel("sign-error")
    taus = "; ".join(f"{each.measure} {each.granulated.value:.2f}" for each in predictions)
    return canvas.picture("study-prediction", f"Granulated rank correlation with the test error. {taus}.")
