"""Comparisons of optimizers of one name, as `suite.namesakes.comparison` finds them, as tables and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leaderboard.tables.formats import markdown_text, render
from leaderboard.tables.table import DASH, Column, Table, TableCell, text

Data = Mapping[str, Any]
"""A comparison, as `suite.namesakes.comparison.as_data` writes it."""

SHAPES = ("vector", "tall", "wide", "4-d")

SAME, REFUSED = "=", "refused"

HEAD = """# Optimizers of one name

`lowlands namesakes NAME… --format markdown > docs/namesakes.md` writes this page, with `pip install '.[zoo]'`;
`lowlands namesakes` compares every name that it knows, and `lowlands namesakes muon` one.

Every optimizer is stepped on the gradients of the same small regression, from the same weights, with the same settings:
vectors (8), tall (8 x 5), wide (5 x 8) and 4-d (4 x 3 x 2 x 2) weights, double and single precision, with and without
weight decay. The first row is the paper's formula, written by us in double precision (`suite/namesakes/formulas.py`),
or the first implementation where there is none.
[What the choice of an implementation changes in solutions](namesake_scores.md) is a page of its own.

- **group**: implementations of one letter agree in every case after 1, 2 and 30 steps, up to a distance of 1e-6 in
  double and 1e-3 in single precision. A is the first row's group.
- **number at the source**: of the formula's algorithm box or equation, and in brackets where we read it; where we found
  it nowhere, that it was not looked up. A paper was read in transcripts of its text, whose version is named if stated.
- **first step**: the length of the first update, as a multiple of the first row's; a range where it depends on the
  shape.
- **vector, tall, wide, 4-d**: the distance from the first row after the first step and after 30, as a share of the
  longer way; = where they agree.
- **decay, float32, small**: the largest distance of all cases with decay, of all in single precision, and of all with
  gradients a hundredth as long, at which nothing is clipped and eps counts for more.

What is in brackets behind a name are settings that the others do not have: switches, or their own names for a thing."""


def table(data: Data) -> Table:
    """One algorithm's implementations: a row for each."""
    columns = (
        Column("group", "group", words=True),
        Column("implementation", "implementation", words=True),
        Column("number at the source", "number at the source", words=True),
        Column("version", "version", words=True),
        Column("first step", "first step"),
        *(Column(shape, shape) for shape in SHAPES),
        Column("decay", "decay"),
        Column("float32", "float32"),
        Column("small", "small"),
    )
    rows = tuple(_row(row, first=number == 0) for number, row in enumerate(data["rows"]))
    return Table(data["title"], columns, rows, stub=2, notes=tuple(notes(data)))


def _row(row: Data, first: bool) -> tuple[TableCell, ...]:
    label = row["source"].rstrip(".") if first and row["source"] else row["label"]
    return (
        TableCell(row["group"] or None, row["group"] or DASH),
        TableCell(row["label"], f"formula: {label}" if row["source"] else label),
        text(row["number"] if first else ""),
        text(row["version"]),
        _length(row["lengths"]),
        *(_shape(row, shape) for shape in SHAPES),
        _largest(row["decay"]),
        _largest(row["float32"]),
        _largest(row["small"]),
    )


def _length(bounds: Sequence[float] | None) -> TableCell:
    if bounds is None:
        return TableCell(None, DASH)
    low, high = (f"{bound:.2g}" for bound in bounds)
    return TableCell(bounds[0], low if low == high else f"{low} to {high}")


def _shape(row: Data, shape: str) -> TableCell:
    if shape in row["errors"]:
        return TableCell(None, REFUSED)
    found = row["shapes"].get(shape)
    if found is None:
        return TableCell(None, DASH)
    return TableCell(found["end"], SAME if found["same"] else f"{found['first']:.2g} / {found['end']:.2g}")


def _largest(found: Data | None) -> TableCell:
    if found is None:
        return TableCell(None, DASH)
    return TableCell(found["largest"], SAME if found["same"] else f"{found['largest']:.2g}")


def notes(data: Data) -> Iterator[str]:
    """What is to be said under the table, a sentence or two each."""
    rows = data["rows"]
    if data["note"]:
        yield data["note"]
    for row in rows:
        name = f"{row['label']} {row['version']}".rstrip()
        if row["reason"]:
            yield f"{name} ({row['reason']['source']}): {row['reason']['text']}"
        elif row["outdated"]:
            yield f"{name}: the reason known is that of version {row['outdated']}, and not shown."
        elif row["group"] not in ("", rows[0]["group"]) and not row["source"]:
            yield f"{name}: why it differs has not been found."
        for error, shapes in _by_error(row["errors"]).items():
            yield f"{name} refuses {', '.join(shapes)}: {error}."
    if rows[0]["source"]:
        follow = [row["label"] for row in rows[1:] if row["group"] == rows[0]["group"] and not row["source"]]
        yield f"The paper's formula: {', '.join(follow) or 'none of them'}."
    together = [" = ".join(group) for group in data["defaults"]]
    yield f"With the step size alone set, all else at defaults: {'; '.join(together)}."
    if data["missing"]:
        yield f"Not installed, and left out: {', '.join(data['missing'])} (pip install 'lowlands[zoo]')."


def _by_error(errors: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for shape, error in errors.items():
        found.setdefault(error.rstrip("."), []).append(shape)
    return found


def agree(data: Data) -> bool:
    """Whether all implementations that run are in one group, each with some of the settings that are compared."""
    groups = {row["group"] for row in data["rows"] if row["group"] and not row["source"]}
    uses = {group: {row["use"] for row in data["rows"] if row["group"] == group} for group in groups}
    everyone = {row["use"] for row in data["rows"] if not row["source"] and row["group"]}
    return any(found >= everyone for found in uses.values())


def page(comparisons: Sequence[Data]) -> str:
    """`docs/namesakes.md`."""
    return "\n".join(_lines(comparisons))


def _lines(comparisons: Sequence[Data]) -> Iterator[str]:
    equal = sum(map(agree, comparisons))
    alike = sum(len(data["defaults"]) == 1 for data in comparisons)
    versions = Counter({(row["use"].partition(":")[0], row["version"]) for one in comparisons for row in one["rows"]})
    yield from (HEAD, "")
    yield f"**{equal} of {len(comparisons)} names here are one algorithm in every collection that has them, once"
    yield from (f"all switches are set alike. With the step size alone set: {alike}.**", "")
    yield f"Measured with {', '.join(f'{module} {version}' for module, version in sorted(versions) if version)}."
    for data in comparisons:
        yield from ("", f"## {data['title']}", "", render(table(data), "markdown"), "")
        yield from (f"- {markdown_text(note)}" for note in notes(data))
