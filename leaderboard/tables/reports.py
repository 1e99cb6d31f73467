"""Comparisons of results -> tables, markdown for a pull request, JUnit XML, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from leaderboard.analysis.comparison import COST, Comparison, Difference
from leaderboard.tables.formats import markdown_text, render
from leaderboard.tables.table import Column, Table, TableCell, columns, digits, number, text

if TYPE_CHECKING:
    from leaderboard.analysis.fresh_seeds import ScoreGap

NOTE = (
    "NEW minus BASE with intervals that hold together in 95 % of the comparisons of equals; scores: higher is better; "
    "cost: the change of gradient evaluations to the target loss, lower is better."
)


def headline(comparison: Comparison) -> str:
    """The outcome in one sentence."""
    counts = {
        "regression": len(comparison.regressions),
        "improvement": len(comparison.improvements),
        "difference": len(comparison.differences),
    }
    words = [f"{count or 'no'} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items()]
    return f"{', '.join(words)} compared."


def table(comparison: Comparison, everything: bool = False) -> Table:
    """What changed, and the summaries over tasks; or `everything` that was compared."""
    differences = [d for d in comparison.differences if everything or not d.task or d.verdict != "same"]
    order = ("regression", "improvement", "same")
    rows = tuple(_row(difference) for difference in sorted(differences, key=lambda d: order.index(d.verdict)))
    header = (
        *columns("verdict", "submission", "task", "axis", words=True),
        Column("base", "BASE"),
        Column("new", "NEW"),
        *columns("difference"),
        Column("seeds", "seeds", data=True),
    )
    return Table("NEW against BASE: " + headline(comparison), header, rows, stub=4, notes=(NOTE, *comparison.notes))


def _row(difference: Difference) -> tuple[TableCell, ...]:
    style = ".0f" if difference.axis == COST else ".3f"
    return (
        *map(text, (difference.verdict, difference.submission, difference.task or "all", difference.axis)),
        number(difference.base, style),
        number(difference.new, style),
        _change(difference),
        number(difference.seeds, "d"),
    )


def _change(difference: Difference) -> TableCell:
    """The difference with its sign; that of a cost, the logarithm of a ratio, in percent."""
    bounds, unit = [difference.difference.value, difference.difference.low, difference.difference.high], ""
    if difference.axis == COST:
        bounds, unit = [100 * math.expm1(bound) for bound in bounds], " %"
    texts = digits(bounds) if all(map(math.isfinite, bounds)) else [f"{bound:.3g}" for bound in bounds]
    value, low, high = (part if part.startswith("-") else f"+{part}" for part in texts)
    regression = difference.verdict == "regression"
    return TableCell(difference.difference, f"{value}{unit}", best=regression, detail=f"[{low}, {high}]")


def markdown(comparison: Comparison) -> str:
    """A summary for a pull request: what changed first, all differences folded away."""
    lines = [f"### Lowlands: {headline(comparison)}", "", render(table(comparison), "markdown"), ""]
    lines += [f"- {note}" for note in (NOTE, *map(markdown_text, comparison.notes))]
    lines += ["", "<details><summary>All differences</summary>", "", render(table(comparison, True), "markdown"), ""]
    return "\n".join([*lines, "</details>", ""])


def as_json(comparison: Comparison) -> str:
    """All differences with all digits."""
    return json.dumps(
        {
            "regressions": len(comparison.regressions),
            "improvements": len(comparison.improvements),
            "differences": [asdict(difference) for difference in comparison.differences],
            "notes": comparison.notes,
        },
        indent=1,
    )


def junit(comparison: Comparison) -> str:
    """JUnit XML: a suite for every submission, a case for every difference, a failure for every regression."""
    root = ElementTree.Element("testsuites", name="lowlands compare")
    for submission in dict.fromkeys(difference.submission for difference in comparison.differences):
        differences = [difference for difference in comparison.differences if difference.submission == submission]
        failures = str(sum(difference.verdict == "regression" for difference in differences))
        counts = {"tests": str(len(differences)), "failures": failures, "errors": "0"}
        suite = ElementTree.SubElement(root, "testsuite", {"name": _printable(submission), **counts})
        for difference in differences:
            place = _printable(f"{submission}.{difference.task or 'all'}")
            case = ElementTree.SubElement(suite, "testcase", classname=place, name=difference.axis, time="0")
            if difference.verdict == "regression":
                message = f"{difference.base:.4g} became {difference.new:.4g}: {_change(difference).text}"
                ElementTree.SubElement(case, "failure", message=message, type="regression")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def score_gaps(gaps: Sequence[ScoreGap]) -> Table:
    """Claimed scores against those on fresh seeds."""
    rows = tuple(
        (
            *map(text, (gap.submission, gap.task, gap.axis)),
            number(gap.claimed, ".3f"),
            number(gap.verified, ".3f"),
            number(gap.gap, "+.3f"),
            TableCell(gap.suspicious, "suspicious" if gap.suspicious else ""),
        )
        for gap in gaps
    )
    header = (
        *columns("submission", "task", "axis", words=True),
        *columns("claimed", "verified", "gap"),
        Column("suspicious", "", words=True),
    )
    return Table("Scores on the published seeds, and on fresh ones", header, rows, stub=3)


def _printable(name: str) -> str:
    """XML allows no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
