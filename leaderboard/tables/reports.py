"""Comparisons of two versions -> tables, markdown for a pull request, JUnit XML, JSON."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from leaderboard.analysis.comparison import Comparison, Difference, Quantity, Verdict
from leaderboard.analysis.statistics import Interval
from leaderboard.tables.formats import markdown_text, render
from leaderboard.tables.table import Column, Table, TableCell, columns, digits, number, text
from suite.storage.record import clean

if TYPE_CHECKING:
    from pathlib import Path

    from leaderboard.analysis.fresh_seeds import ScoreGap
    from suite.commands.bench import StepCost
    from suite.commands.updates import UpdateDifference
    from suite.commands.verification import Report as VerificationReport
    from suite.commands.verification import Request

NOTE = (
    "NEW minus BASE with intervals that hold together in 95 % of the comparisons of equals. Scores, and measures in "
    "shares of the distance from score 0 to score 1: higher is better. Gradient evaluations: lower is better."
)


@dataclass(frozen=True)
class Case:
    """One thing that was compared, as JUnit knows it: the submission, the place in it, the name, and the `failure`."""

    submission: str
    place: str
    name: str
    failure: str = ""


@dataclass(frozen=True)
class Report:
    """The outcome of a comparison.

    Attributes:
        headline: the outcome in one sentence.
        table: what people should see, `everything` the rest.
        data: all of it for programs.
        blind: whether something that was asked for cannot fail.
    """

    headline: str
    table: Table
    everything: Table
    cases: tuple[Case, ...]
    data: Any
    blind: bool = False

    @property
    def failed(self) -> bool:
        """Whether anything became worse."""
        return any(case.failure for case in self.cases)


def markdown(report: Report) -> str:
    """A summary for a pull request: what changed first, everything that was compared folded away."""
    lines = [f"### Lowlands: {report.headline}", ""]
    if report.table.rows:
        lines += [render(report.table, "markdown"), ""]
    lines += [f"- {note}" for note in map(markdown_text, report.table.notes)]
    lines += ["", "<details><summary>All that was compared</summary>", "", render(report.everything, "markdown"), ""]
    return "\n".join([*lines, "</details>", ""])


def as_json(report: Report) -> str:
    """Everything with all digits."""
    return json.dumps(clean(report.data), indent=1)


def junit(report: Report) -> str:
    """JUnit XML: a suite for every submission, a case for everything compared, a failure for what became worse."""
    root = ElementTree.Element("testsuites", name="lowlands")
    for submission in dict.fromkeys(case.submission for case in report.cases):
        cases = [case for case in report.cases if case.submission == submission]
        counts = {"tests": str(len(cases)), "failures": str(sum(bool(case.failure) for case in cases)), "errors": "0"}
        suite = ElementTree.SubElement(root, "testsuite", {"name": _printable(submission), **counts})
        for case in cases:
            place = _printable(f"{submission}.{case.place}")
            element = ElementTree.SubElement(suite, "testcase", classname=place, name=_printable(case.name), time="0")
            if case.failure:
                message = _printable(case.failure)
                ElementTree.SubElement(element, "failure", message=message, type="regression")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def headline(comparison: Comparison) -> str:
    """The outcome in one sentence, and first what the comparison cannot see."""
    differences = comparison.differences
    counts = {
        "regression": len(comparison.regressions),
        "improvement": len(comparison.improvements),
        "change within the tolerance": len(comparison.changes),
        "difference": len(differences),
    }
    words = [f"{count or 'no'} {_plural(noun, count)}" for noun, count in counts.items()]
    identical = sum(difference.verdict == Verdict.IDENTICAL for difference in differences)
    outcome = f"{', '.join(words)} compared" + (f", {identical} of them identical." if identical else ".")
    return " ".join([*_blind(comparison), outcome])


def _plural(noun: str, count: int) -> str:
    """The noun, whose first word takes an s unless there is one."""
    first, space, rest = noun.partition(" ")
    return f"{first}{'' if count == 1 else 's'}{space}{rest}"


def _blind(comparison: Comparison) -> list[str]:
    """A sentence for every submission with tasks on which nothing could become worse."""
    sentences = []
    for name, tasks in comparison.blind.items():
        where = "any task" if len(tasks) == comparison.compared[name] else ", ".join(tasks)
        sentences.append(f"Cannot fail: {name} on {where}, where fewer than two seeds of BASE met the target loss.")
    return sentences


def table(comparison: Comparison, everything: bool = False) -> Table:
    """What changed, and the summaries over tasks; or `everything` that was compared."""
    calm = (Verdict.SAME, Verdict.IDENTICAL)
    differences = [d for d in comparison.differences if everything or not d.task or d.verdict not in calm]
    order = tuple(Verdict)
    rows = tuple(_row(difference) for difference in sorted(differences, key=lambda d: order.index(Verdict(d.verdict))))
    header = (
        *columns("verdict", "submission", "task", "axis", words=True),
        Column("base", "BASE"),
        Column("new", "NEW"),
        *columns("difference"),
        Column("seeds", "seeds", data=True),
    )
    return Table("NEW against BASE: " + headline(comparison), header, rows, stub=4, notes=(NOTE, *comparison.notes))


STYLES = {Quantity.SCORE: ".3f", Quantity.MEASURE: ".4g", Quantity.COST: ".0f", Quantity.TARGET: ".0f"}


def _row(difference: Difference) -> tuple[TableCell, ...]:
    style = STYLES[difference.quantity]
    return (
        *map(text, (str(difference.verdict), difference.submission, difference.task or "all", difference.axis)),
        number(difference.base, style),
        number(difference.new, style),
        _change(difference),
        number(difference.seeds, "d"),
    )


def _change(difference: Difference) -> TableCell:
    """The difference with its sign; that of a cost, the logarithm of a ratio, and that of runs in percent."""
    bounds, unit = [difference.difference.value, difference.difference.low, difference.difference.high], ""
    if difference.quantity is Quantity.COST:
        bounds, unit = [100 * math.expm1(bound) for bound in bounds], " %"
    elif difference.quantity is Quantity.TARGET:
        bounds, unit = [100 * bound for bound in bounds], " %"
    known = bounds if all(map(math.isfinite, bounds)) else bounds[:1]
    value, *limits = (part if part.startswith("-") else f"+{part}" for part in digits(known))
    detail = f"[{', '.join(limits)}]" if limits else ""
    if difference.p_value is not None:
        detail = f"(p = {difference.p_value:.2g})"
    regression = difference.verdict == Verdict.REGRESSION
    return TableCell(Interval(*bounds), f"{value}{unit}", best=regression, detail=detail)


CHANGED = (Verdict.REGRESSION, Verdict.IMPROVEMENT, Verdict.CHANGE)


def report(comparison: Comparison, any_change: bool = False) -> Report:
    """The report of two sets of results; with `any_change`, improvements and changes within the tolerance fail too."""
    failing = CHANGED if any_change else (Verdict.REGRESSION,)
    cases = tuple(
        Case(
            difference.submission,
            difference.task or "all",
            difference.axis,
            f"{difference.base:.4g} became {difference.new:.4g}: {_change(difference).text}"
            if difference.verdict in failing
            else "",
        )
        for difference in comparison.differences
    )
    data = {
        "regressions": len(comparison.regressions),
        "improvements": len(comparison.improvements),
        "changes": len(comparison.changes),
        "differences": [asdict(difference) for difference in comparison.differences],
        "blind": comparison.blind,
        "notes": comparison.notes,
    }
    shown, everything = table(comparison), table(comparison, everything=True)
    return Report(headline(comparison), shown, everything, cases, data, blind=bool(comparison.blind_submissions))


UPDATES = (
    "The same gradients into both versions; each row: the first update that differs by more than rounding, by how much "
    "of its largest entry, and NEW's update as a multiple of BASE's."
)


def updates(found: Mapping[str, Sequence[UpdateDifference]], notes: Sequence[str] = ()) -> Report:
    """The report of what two versions do with the same gradients, by submission."""
    shown = [one for differences in found.values() for one in differences]
    header = (
        *columns("submission", "outcome", "scenario", words=True),
        Column("step", "step"),
        *columns("tensor", words=True),
        Column("relative", "differs by"),
        Column("ratio", "NEW / BASE"),
        Column("error", "error", words=True, data=not any(one.error for one in shown if one.differs)),
    )

    def rows(everything: bool) -> tuple[tuple[TableCell, ...], ...]:
        return tuple(
            (
                *map(text, (submission, one.outcome, one.scenario)),
                number(one.step or None, "d"),
                text(one.parameter),
                number(100 * one.relative if one.step else None, ".3g", " %"),
                number(one.ratio, ".4g"),
                text(one.error),
            )
            for submission, differences in found.items()
            for one in differences
            if everything or one.differs
        )

    words = "; ".join(f"{name}: {_of_updates(differences)}" for name, differences in found.items())
    changed = Table("Updates of NEW against BASE", header, rows(False), stub=3, notes=(UPDATES, *notes))
    cases = tuple(
        Case(name, "updates", one.scenario, _of_update(one) if one.differs else "")
        for name, differences in found.items()
        for one in differences
    )
    data = {"updates": {name: [asdict(one) for one in differences] for name, differences in found.items()}}
    return Report(words, changed, replace(changed, rows=rows(True)), cases, data | {"notes": [*notes]})


def _of_updates(differences: Sequence[UpdateDifference]) -> str:
    """The first update that differs, or that none does."""
    differing = [one for one in differences if one.differs]
    counts = Counter(str(one.outcome) for one in differences)
    if not differing:
        return "no update differs (" + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + ")"
    first = min(differing, key=lambda one: one.step or math.inf)
    return f"{_of_update(first)} ({first.scenario}; {len(differing)} of {len(differences)} scenarios differ)"


def _of_update(one: UpdateDifference) -> str:
    if not one.step:
        return f"NEW refuses what BASE does: {one.error}"
    return f"the update of {one.parameter} in step {one.step} differs by {100 * one.relative:.3g} %"


STEPS = (
    "Paired blocks of steps in one process: the median of the ratios NEW / BASE with its interval. Slower: the "
    "interval lies above 1.1; larger: a tenth more bytes of state."
)


def steps(found: Sequence[StepCost]) -> Report:
    """The report of what steps cost."""
    header = (
        *columns("verdict", "submission", "tensors", words=True),
        Column("base", "µs, BASE"),
        Column("new", "µs, NEW"),
        *columns("ratio"),
        Column("base_bytes", "bytes/weight, BASE"),
        Column("new_bytes", "bytes/weight, NEW"),
    )
    rows = tuple(
        (
            *map(text, (_of_step(one) or "same", one.submission, one.shapes)),
            *(number(1e6 * seconds, ".3g") for seconds in one.seconds),
            TableCell(
                Interval(one.ratio, one.low, one.high),
                f"{one.ratio:.3f}",
                one.slower,
                f"[{one.low:.3f}, {one.high:.3f}]",
            ),
            *(number(size, ".3g") for size in one.bytes),
        )
        for one in found
    )
    worse = [f"{one.submission} on {one.shapes} is {_of_step(one)}" for one in found if _of_step(one)]
    words = f"{'; '.join(worse)}." if worse else f"No step is slower or larger, of {len(found)}."
    shown = Table("Steps of NEW against BASE", header, rows, stub=3, notes=(STEPS,))
    cases = tuple(Case(one.submission, "steps", one.shapes, _of_step(one)) for one in found)
    return Report(words, shown, shown, cases, {"steps": [asdict(one) for one in found]})


def _of_step(one: StepCost) -> str:
    """What became worse; empty where nothing did."""
    slower = f"slower by a factor of {one.ratio:.2f}" if one.slower else ""
    larger = f"larger: {one.bytes[0]:.3g} bytes of state per weight became {one.bytes[1]:.3g}" if one.larger else ""
    return " and ".join(filter(None, (slower, larger)))


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


def verification(
    logs: Sequence[Path],
    request: Request,
    report: VerificationReport,
    gaps: Sequence[ScoreGap],
    environment: Mapping[str, Any],
    passed: bool,
) -> dict[str, Any]:
    """What `lowlands verify` found, for programs.

    Args:
        logs: that were checked; each is named with the SHA-256 of its text.
        request: what was asked for.
        report: what was found.
        gaps: scores on the published and on fresh seeds.
        environment: versions and machine on which runs were repeated.
        passed: whether nothing disagrees or differs, and something was checked.
    """
    largest = [repetition.largest for repetition in report.repetitions]
    return {
        "logs": {log.name: log_digest(log) for log in logs},
        "request": {name: getattr(request, name) for name in ("sample", "share", "per_task", "seed", "fresh", "nonce")},
        "environment": dict(environment),
        "recorded": report.recorded,
        "tolerance": report.tolerance if request.tolerance is None else request.tolerance,
        "lines": report.lines,
        "measured": report.measured,
        "rerun": report.rerun,
        "retuned": report.retuned,
        "of_another_source": len(largest),
        "equal": sum(value == 0 for value in largest),
        "within_tolerance": sum(not repetition.differences for repetition in report.repetitions),
        "disagreements": [str(found) for found in report.disagreements],
        "differences": [f"{r.where}: {'; '.join(r.differences)}" for r in report.repetitions if r.differences],
        "unchecked": list(report.unchecked),
        "fresh": [{**asdict(gap), "suspicious": gap.suspicious} for gap in gaps],
        "passed": passed,
    }


def log_digest(log: Path) -> str:
    """The SHA-256 of a log's text, the same whether it is compressed or not."""
    opener = gzip.open if log.suffix == ".gz" else open
    with opener(log, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def verification_text(summary: Mapping[str, Any]) -> str:
    """A summary of `verification` as markdown."""
    here = ", ".join(f"{name} {value}" for name, value in summary["environment"].items())
    asked = ", ".join(
        f"{name} {value}"
        for name, value in summary["request"].items()
        if value and (name != "nonce" or summary["fresh"])
    )
    lines = [
        f"# Verification of {', '.join(summary['logs'])}",
        "",
        f"Drawn by {asked or 'nothing'}. Repeated with {here}.",
        "",
        f"- {summary['lines']:,} lines read, {summary['measured']:,} solutions measured again.",
        f"- {summary['rerun']:,} scored runs repeated, and {summary['retuned']:,} tuning runs.",
    ]
    if summary["of_another_source"]:
        lines.append(
            f"- {summary['of_another_source']:,} of them were recorded by another source ({summary['recorded']}): "
            f"{summary['within_tolerance']:,} are equal within {summary['tolerance']:g}, "
            f"{summary['equal']:,} to the last digit."
        )
    if summary["fresh"]:
        suspicious = sum(gap["suspicious"] for gap in summary["fresh"])
        lines.append(f"- Scores on fresh seeds: {suspicious} of {len(summary['fresh'])} axes are lower beyond chance.")
    for title in ("disagreements", "differences", "unchecked"):
        if summary[title]:
            lines += ["", f"## {title.capitalize()}", "", *(f"- {markdown_text(text)}" for text in summary[title])]
    return "\n".join([*lines, "", "Everything agrees." if summary["passed"] else "Not everything agrees.", ""])
