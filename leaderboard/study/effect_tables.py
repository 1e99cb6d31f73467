"""Findings -> tables, for any format and for the site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from leaderboard.analysis.statistics import Interval
from leaderboard.study.contrasts import Contrast, Outcome
from leaderboard.study.effects import Effect
from leaderboard.study.prediction import Prediction
from leaderboard.study.universality import Universality
from leaderboard.tables.table import Column, Table, TableCell, columns, estimate, number, text

TERMS_SHOWN = 12
"""Of an analysis of variance: the other terms explain next to nothing."""


def claims(outcomes: Sequence[Outcome]) -> Table:
    """What became of every claim."""
    header = (*columns("claim", "verdict", "measure", words=True), *columns("change", "pairs"))
    rows = tuple(
        (
            text(outcome.contrast.claim.statement),
            TableCell(outcome.in_words, outcome.in_words, best=True),
            text(outcome.contrast.measure),
            change(outcome.contrast, outcome.difference),
            number(outcome.pairs, "d"),
        )
        for outcome in outcomes
    )
    return Table("The claims and what became of them", header, rows)


def environments(outcome: Outcome) -> Table:
    """A claim's change in every environment by itself."""
    header = (*columns("where", words=True), *columns("change"))
    rows = tuple((text(name), change(outcome.contrast, interval)) for name, interval in outcome.environments.items())
    return Table(f"{outcome.contrast.name}: the change of {outcome.contrast.measure}", header, rows)


def change(contrast: Contrast, difference: Interval) -> TableCell:
    """The treatment's measure against the control's: a ratio where logarithms were compared, else a difference."""
    if not contrast.log:
        cell = estimate(difference)
        return cell if cell.label.startswith("-") else replace(cell, label=f"+{cell.label}")
    ratio = Interval(*(math.exp(bound) for bound in (difference.value, difference.low, difference.high)))
    cell = estimate(ratio)
    return replace(cell, label=f"× {cell.label}")


def effects(title: str, terms: Sequence[Effect]) -> Table:
    """The terms that explain most."""
    header = (*columns("term", words=True), Column("share", "partial omega squared"), *columns("p"))
    rows = []
    for effect in terms[:TERMS_SHOWN]:
        p = number(effect.p_value, ".1g") if effect.p_value > 0 else TableCell(effect.p_value, "< 1e-300")
        rows.append((text(effect.term), estimate(effect.omega_squared), p))
    return Table(title, header, tuple(rows))


def concordance(properties: Mapping[str, Universality]) -> Table:
    """How alike all variants of the task rank the submissions, property by property."""
    header = (
        Column("measure", "property", words=True),
        Column("w", "Kendall's W"),
        *columns("p"),
        Column("predicted", "rank correlation of a held-out variant"),
    )
    rows = tuple(
        (text(name), number(each.w, ".2f"), number(each.p_value, ".2g"), estimate(each.predicted))
        for name, each in properties.items()
    )
    return Table("Is there a universal ranking?", header, rows)


def predictions(ordered: Sequence[Prediction]) -> Table:
    """How well every measure predicts the test error, the best first."""
    header = (
        *columns("measure", words=True),
        Column("granulated", "granulated tau"),
        Column("tau", "Kendall's tau"),
        Column("information", "conditional information"),
        Column("sign_error", "sign-error"),
        Column("worst", "worst environment", words=True),
    )
    rows = []
    for each in ordered:
        estimates = map(estimate, (each.granulated, each.tau, each.information, each.sign_error))
        rows.append((text(each.measure), *estimates, text(f"{each.worst_sign_error:.2f} ({each.worst})")))
    return Table("Which measure predicts generalization?", header, tuple(rows))
