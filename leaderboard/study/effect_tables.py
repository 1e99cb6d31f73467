"""Findings -> tables, for any format and for the site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from leaderboard.analysis.statistics import Interval
from leaderboard.study.claims import Claim, Verdict
from leaderboard.study.effects import Effect
from leaderboard.study.prediction import Prediction
from leaderboard.study.universality import Universality
from leaderboard.tables.table import Column, Table, TableCell, estimate, number, text

MOST_TERMS = 12
"""Of an analysis of variance: the rest explains next to nothing."""


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
            text(found.claim.statement),
            TableCell(found.outcome, found.outcome, best=True),
            text(found.claim.measure),
            change(found.claim, found.difference),
            number(found.pairs, "d"),
        )
        for found in verdicts
    )
    return Table("The claims and what became of them", columns, rows)


def environments(found: Verdict) -> Table:
    """A claim's change in every environment by itself."""
    columns = (Column("where", "where", words=True), Column("change", "change"))
    rows = tuple((text(name), change(found.claim, interval)) for name, interval in found.environments.items())
    return Table(f"{found.claim.name}: the change of {found.claim.measure}", columns, rows)


def change(claim: Claim, difference: Interval) -> TableCell:
    """The treatment's measure against the control's: a ratio where logarithms were compared, else a difference."""
    if not claim.log:
        shown = estimate(difference)
        return TableCell(difference, shown.text if shown.text.startswith("-") else f"+{shown.text}")
    ratio = Interval(*(math.exp(bound) for bound in (difference.value, difference.low, difference.high)))
    return TableCell(ratio, f"× {estimate(ratio).text}")


def effects(title: str, found: Sequence[Effect]) -> Table:
    """The terms that explain most."""
    columns = (Column("term", "term", words=True), Column("share", "partial omega squared"), Column("p", "p"))
    rows = tuple(
        (text(effect.term), estimate(effect.omega_squared), _probability(effect.p_value))
        for effect in found[:MOST_TERMS]
    )
    return Table(title, columns, rows)


def _probability(p: float) -> TableCell:
    return number(p, ".1g") if p > 0 else TableCell(p, "< 1e-300")


def concordance(found: Mapping[str, Universality]) -> Table:
    """How alike all variants of the task rank the submissions."""
    columns = (
        Column("measure", "property", words=True),
        Column("w", "Kendall's W"),
        Column("p", "p"),
        Column("predicted", "rank correlation of a held-out variant"),
    )
    rows = tuple(
        (text(name), number(own.w, ".2f"), number(own.p_value, ".2g"), estimate(own.predicted))
        for name, own in found.items()
    )
    return Table("Is there a universal ranking?", columns, rows)


def predictions(found: Sequence[Prediction]) -> Table:
    """How well every measure foretells the test error, the best first."""
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
            text(own.measure), estimate(own.granulated), estimate(own.tau), estimate(own.information),
            estimate(own.sign_error), text(f"{own.worst_sign_error:.2f} ({own.worst})"),
        )
        for own in found
    )  # fmt: skip
    return Table("Which measure foretells generalization?", columns, rows)
