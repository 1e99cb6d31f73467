"""Findings -> tables, for any format and for the site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from leaderboard.analysis.statistics import Interval
from leaderboard.study.claims import Claim, Verdict
from leaderboard.study.effects import Effect
from leaderboard.study.prediction import Prediction
from leaderboard.study.universality import Universality
from leaderboard.tables.table import Column, Table, TableCell, estimate, number, text

TERMS_SHOWN = 12
"""Of an analysis of variance: the other terms explain next to nothing."""


def claims(verdicts: Sequence[Verdict]) -> Table:
    """What became of every claim."""
    columns = (
        Column("claim", "claim", words=True),
        Column("verdict", "verdict", words=True),
        Column("measure", "measure", words=True),
        Column("change", "change"),
        Column("pairs", "pairs"),
    )
    rows = tuple(
        (
            text(verdict.claim.statement),
            TableCell(verdict.outcome, verdict.outcome, best=True),
            text(verdict.claim.measure),
            change(verdict.claim, verdict.difference),
            number(verdict.pairs, "d"),
        )
        for verdict in verdicts
    )
    return Table("The claims and what became of them", columns, rows)


def environments(verdict: Verdict) -> Table:
    """A claim's change in every environment by itself."""
    columns = (Column("where", "where", words=True), Column("change", "change"))
    rows = tuple((text(name), change(verdict.claim, interval)) for name, interval in verdict.environments.items())
    return Table(f"{verdict.claim.name}: the change of {verdict.claim.measure}", columns, rows)


def change(claim: Claim, difference: Interval) -> TableCell:
    """The treatment's measure against the control's: a ratio where logarithms were compared, else a difference."""
    if not claim.log:
        cell = estimate(difference)
        return cell if cell.label.startswith("-") else replace(cell, label=f"+{cell.label}")
    ratio = Interval(*(math.exp(bound) for bound in (difference.value, difference.low, difference.high)))
    cell = estimate(ratio)
    return replace(cell, label=f"× {cell.label}")


def effects(title: str, terms: Sequence[Effect]) -> Table:
    """The terms that explain most."""
    columns = (Column("term", "term", words=True), Column("share", "partial omega squared"), Column("p", "p"))
    rows = tuple(
        (text(effect.term), estimate(effect.omega_squared), _probability(effect.p_value))
        for effect in terms[:TERMS_SHOWN]
    )
    return Table(title, columns, rows)


def _probability(p: float) -> TableCell:
    return number(p, ".1g") if p > 0 else TableCell(p, "< 1e-300")


def concordance(properties: Mapping[str, Universality]) -> Table:
    """How alike all variants of the task rank the submissions, property by property."""
    columns = (
        Column("measure", "property", words=True),
        Column("w", "Kendall's W"),
        Column("p", "p"),
        Column("predicted", "rank correlation of a held-out variant"),
    )
    rows = tuple(
        (
            text(name),
            number(universality.w, ".2f"),
            number(universality.p_value, ".2g"),
            estimate(universality.predicted),
        )
        for name, universality in properties.items()
    )
    return Table("Is there a universal ranking?", columns, rows)


def predictions(ordered: Sequence[Prediction]) -> Table:
    """How well every measure predicts the test error, the best first."""
    columns = (
        Column("measure", "measure", words=True),
        Column("granulated", "granulated tau"),
        Column("tau", "Kendall's tau"),
        Column("information", "conditional information"),
        Column("sign_error", "sign-error"),
        Column("worst", "worst environment", words=True),
    )
    rows = tuple(
        (
            text(prediction.measure),
            estimate(prediction.granulated),
            estimate(prediction.tau),
            estimate(prediction.information),
            estimate(prediction.sign_error),
            text(f"{prediction.worst_sign_error:.2f} ({prediction.worst})"),
        )
        for prediction in ordered
    )
    return Table("Which measure predicts generalization?", columns, rows)
