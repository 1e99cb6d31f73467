"""Comparison -> a table, markdown for a pull request, JUnit XML, JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from xml.etree import ElementTree

from leaderboard.analysis.comparison import COST, Comparison, Difference
from leaderboard.analysis.statistics import Interval
from leaderboard.tables.formats import render
from leaderboard.tables.table import Column, Table, TableCell, digits, number, text

NOTE = (
    "NEW minus BASE with intervals that hold together in 95 % of the comparisons of equals; scores: higher is better; "
    "cost: the change of gradient evaluations to the stop."
)


def headline(comparison: Comparison) -> str:
    """How it ended, in one sentence."""
    found = (
        _count(len(comparison.regressions), "regression"),
        _count(len(comparison.improvements), "improvement"),
        _count(len(comparison.differences), "difference"),
    )
    return "{}, {}, {} looked at.".format(*found)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def table(comparison: Comparison, everything: bool = False) -> Table:
    """What changed, and the scores summed up over tasks; or `everything` that was looked at."""
    chosen = [d for d in comparison.differences if everything or not d.task or d.verdict != "same"]
    order = {"regression": 0, "improvement": 1, "same": 2}
    rows = tuple(_row(difference) for difference in sorted(chosen, key=lambda d: order[d.verdict]))
    columns = (
        Column("verdict", "verdict", words=True),
        Column("submission", "submission", words=True),
        Column("task", "task", words=True),
        Column("axis", "axis", words=True),
        Column("base", "BASE"),
        Column("new", "NEW"),
        Column("difference", "difference"),
        Column("seeds", "seeds", data=True),
    )
    return Table("NEW against BASE: " + headline(comparison), columns, rows, stub=4, notes=(NOTE, *comparison.notes))


def _row(difference: Difference) -> tuple[TableCell, ...]:
    plain = ".0f" if difference.axis == COST else ".3f"
    return (
        text(difference.verdict),
        text(difference.submission),
        text(difference.task or "all"),
        text(difference.axis),
        number(difference.base, plain),
        number(difference.new, plain),
        _change(difference),
        number(difference.seeds, "d"),
    )


def _change(difference: Difference) -> TableCell:
    """The difference with its sign; that of a cost, the logarithm of a ratio, in percent."""
    marked = difference.verdict == "regression"
    interval, unit = difference.difference, ""
    if difference.axis == COST:
        interval, unit = Interval(*(100 * math.expm1(bound) for bound in _bounds(interval))), " %"
    bounds = _bounds(interval)
    shown = digits(bounds) if all(map(math.isfinite, bounds)) else [f"{bound:.3g}" for bound in bounds]
    value, low, high = (part if part.startswith("-") else f"+{part}" for part in shown)
    return TableCell(difference.difference, f"{value}{unit} [{low}, {high}]", best=marked)


def _bounds(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def markdown(comparison: Comparison) -> str:
    """A summary for a pull request: what changed first, all differences folded away."""
    lines = [f"### Lowlands: {headline(comparison)}", "", render(table(comparison), "markdown"), ""]
    lines += [f"- {note}" for note in (NOTE, *comparison.notes)]
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
        own = [difference for difference in comparison.differences if difference.submission == submission]
        failures = sum(difference.verdict == "regression" for difference in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=_printable(submission), tests=str(len(own)), failures=str(failures), errors="0"
        )
        for difference in own:
            place = _printable(f"{submission}.{difference.task or 'all'}")
            case = ElementTree.SubElement(suite, "testcase", classname=place, name=difference.axis, time="0")
            if difference.verdict == "regression":
                message = f"{difference.base:.4g} became {difference.new:.4g}: {_change(difference).text}"
                ElementTree.SubElement(case, "failure", message=message, type="regression")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _printable(name: str) -> str:
    """XML allows no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
