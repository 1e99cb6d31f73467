"""The ledger as tables, as data and as the page docs/claims.md."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard.analysis.statistics import Interval
from leaderboard.analysis.verdicts import Verdict
from leaderboard.ledger.entries import Entry, Evidence
from leaderboard.tables.formats import linked, markdown_text, render
from leaderboard.tables.table import DASH, RETROSPECTIVE, Column, Table, columns, estimate, marked, number, text
from suite.predictions import Basis

HEAD = """# Claims

`lowlands claims --format markdown > docs/claims.md` writes this page, `lowlands claims` prints it shorter, and
`lowlands claims sam-flat` one entry. With `--results DIRECTORY` your own records are held against the claims.

Every theorem or published observation that a task or the study tests is an entry: what is claimed and where, whether
the tasks meet its conditions, what was measured on which submissions and how many seeds, and a verdict by a rule that
is fixed beforehand (`leaderboard/analysis/verdicts.py`):

- A comparison *holds* if its 95 % interval lies in what is admitted, *fails* if it lies outside, and is *undecided*
  otherwise. Intervals are Student's over seeds; those of associations in the study are over bootstrap draws. Contrasts
  of the study have the rule of [findings.md](findings.md), which was fixed before its runs.
- A claim *holds* or *fails* if all its comparisons do, and *depends on* a factor if one holds and another fails with
  intervals widened for their number. Otherwise it is *undecided*, with how many more seeds would decide if mean and
  spread stayed what they are.
- Where several logs have a submission on a task, the one with most seeds counts, and runs of two are never mixed.

That something fails here refutes no theorem whose conditions are not met: they stand beside it. *theorem*: proved for
this method; *conjecture*: a theorem carried over to what resembles its object; *observation*: others have measured it.
Where a place in the source is named, somebody has read it there."""


def counts(entries: Sequence[Entry]) -> Table:
    """How many claims of each basis have which verdict."""
    found = Counter((entry.claim.basis, entry.ruling.verdict) for entry in entries)
    header = (*columns("basis", words=True), *(Column(verdict, verdict) for verdict in Verdict), Column("all", "all"))
    rows = [
        (text(basis), *(number(found[basis, verdict], "d") for verdict in Verdict), number(_total(found, basis), "d"))
        for basis in Basis
    ]
    sums = [number(sum(found[basis, verdict] for basis in Basis), "d") for verdict in Verdict]
    return Table("Claims by verdict", header, (*rows, (text("all"), *sums, number(found.total(), "d"))))


def _total(found: Mapping[tuple[Basis, Verdict], int], basis: Basis) -> int:
    return sum(count for (each, _), count in found.items() if each is basis)


def summary(entries: Sequence[Entry]) -> Table:
    """A row for each claim."""
    header = (
        *columns("claim", "verdict", "basis", words=True),
        Column("measured", "comparisons measured"),
        *columns("statement", words=True),
        Column("source", "source", words=True, data=True),
        Column("conditions", "conditions", words=True, data=True),
    )
    rows = tuple(
        (
            text(entry.claim.name),
            text(str(entry.ruling)),
            text(entry.claim.basis),
            text(f"{len(entry.measured)} of {len(entry.evidence)}"),
            text(entry.claim.statement),
            text(source(entry)),
            text(entry.conditions),
        )
        for entry in entries
    )
    return Table("What became of the claims", header, rows)


def evidence(entry: Entry) -> Table:
    """A row for each comparison that the claim rests on."""
    header = (
        *columns("task", "submission", "prediction", words=True),
        *columns("measured"),
        Column("count", "solutions/runs"),
        *columns("verdict", words=True),
    )
    rows = tuple(
        (
            text(each.task),
            text(each.submission),
            text(marked(each.formula, each.retrospective)),
            estimate(each.measured),
            text(each.count or DASH),
            text(each.verdict),
        )
        for each in entry.evidence
    )
    notes = (RETROSPECTIVE,) if any(each.retrospective for each in entry.evidence) else ()
    return Table(entry.claim.name, header, rows, stub=3, notes=notes)


def source(entry: Entry) -> str:
    """The paper, and the place in it where somebody has read the claim."""
    return entry.claim.source + (f", {entry.claim.place}" if entry.claim.place else "")


def description(entry: Entry) -> str:
    """What is claimed, where, and whether its conditions are met, in sentences."""
    return f"{entry.claim.statement} ({entry.claim.basis}: {source(entry)}.) Conditions {entry.conditions}."


def page(entries: Sequence[Entry]) -> str:
    """The page docs/claims.md."""
    parts = [HEAD, render(counts(entries), "markdown"), "## All claims"]
    rows = [
        f"| [{entry.claim.name}](#{entry.claim.name}) | {entry.ruling} | {entry.claim.basis} | "
        f"{len(entry.measured)} of {len(entry.evidence)} | {markdown_text(entry.claim.statement)} |"
        for entry in entries
    ]
    titles = ("claim", "verdict", "rests on", "measured", "statement")
    parts.append("\n".join([f"| {' | '.join(titles)} |", "|:--|:--|:--|--:|:--|", *rows]))
    parts += ["## What they rest on", RETROSPECTIVE]
    for entry in entries:
        table = evidence(entry)
        parts += [
            f"### {entry.claim.name}",
            f"**{entry.ruling}.** {linked(markdown_text(description(entry)))}",
            render(table, "markdown"),
            "\n".join(["```sh", *entry.commands, "```"]),
        ]
    return "\n\n".join(parts) + "\n"


def outcomes(entries: Sequence[Entry]) -> dict[str, str]:
    """Claim -> verdict, without numbers of seeds, which every record moves."""
    return {entry.claim.name: entry.ruling.outcome for entry in entries}


def as_json(entries: Sequence[Entry]) -> str:
    """All that is known of the claims, as JSON."""
    return json.dumps([_data(entry) for entry in entries], indent=1, ensure_ascii=False)


def _data(entry: Entry) -> dict[str, Any]:
    claim = entry.claim
    return {
        "name": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "place": claim.place or None,
        "basis": str(claim.basis),
        "conditions": entry.conditions,
        "verdict": str(entry.ruling.verdict),
        "depends_on": list(entry.ruling.depends_on),
        "more_seeds": entry.ruling.more_seeds,
        "evidence": [_evidence_data(each) for each in entry.evidence],
        "commands": list(entry.commands),
    }


def _evidence_data(each: Evidence) -> dict[str, Any]:
    return {
        "task": each.task,
        "submission": each.submission,
        "prediction": each.formula,
        "measured": _interval(each.measured),
        "count": each.count or None,
        "verdict": each.verdict,
        "unmet": each.unmet or None,
        "retrospective": each.retrospective,
    }


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}
