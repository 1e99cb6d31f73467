"""The catalogue of the tasks: plain data (`suite.commands.task_list`) -> text, Markdown or a page of HTML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from tabulate import tabulate

TableCell = Mapping[str, Any]


INTRODUCTION = (
    "Every task says what theory claims, on which data, when training stops, which exact solution it is held against, "
    "and where the scores 0 (`score_0`) and 1 (`score_1`) lie. A reference that is a name is a value of the oracle, another "
    "one for each data set. A task without an axis is shown beside the scores and not scored. Variants are given in "
    "brackets, such as `sparse_regression[alpha=0.01]`. This page is written by `lowlands tasks --format markdown`, "
    "from the tasks' own docstrings."
)


OPENING = re.compile(r"((?:[^\s`]+ ){0,3}[^\s`]+\.) ")
"""How a docstring names a part of its section: up to four words and a full stop at the start of a paragraph."""


AXIS = re.compile(r"(?:Norm|Flatness|Generalization) axis\.")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lowlands: the tasks</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ border: 1px solid #ccc; padding: 0.2rem 0.5rem; text-align: left; }}
</style>
</head>
<body>
{body}</body>
</html>"""


def text(entry: TableCell) -> str:
    """One task for a terminal: its docstring, then what the program itself holds."""
    target = entry["target"]
    lines = [f"{entry['name']} ({entry['family']})", ""]
    lines += [f"  {line}".rstrip() for line in str(entry["description"]).splitlines()]
    lines += [
        "",
        f"  Target: training loss <= {target['loss']:g} {_when(target)} {target['budget']} gradient evaluations",
    ]
    if entry["axes_of"] != entry["name"]:
        lines.append(f"  Axes and references of {entry['axes_of']}:")
    lines += [
        f"  {axis['axis']}: {axis['measure']}, {axis['scale']}, score_0 {axis['score_0']}, score_1 {axis['score_1']}"
        for axis in entry["axes"]
    ]
    return "\n".join([*lines, *(f"  {paper}" for paper in entry["papers"])])


def render(entries: Sequence[TableCell], style: str) -> str:
    """The catalogue as `markdown`, or as a page of `html`."""
    page = markdown(entries)
    if style == "markdown":
        return page
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(page)
    for opened, inline in itertools.pairwise(tokens):
        if opened.type == "heading_open":
            opened.attrSet("id", _anchor(inline.content))
    return PAGE.format(body=parser.renderer.render(tokens, parser.options, {}))


def markdown(entries: Sequence[TableCell]) -> str:
    """A table of all tasks, then a section for each, by family."""
    rows = [
        [
            _link(entry),
            entry["family"],
            ", ".join(axis["axis"] for axis in entry["axes"]) or "reported",
            _question(entry),
        ]
        for entry in entries
    ]
    parts = ["# The tasks", INTRODUCTION, _table(rows, ["task", "family", "axes", "question"])]
    for family, members in itertools.groupby(entries, key=lambda entry: str(entry["family"])):
        parts.append(f"## {_escaped(family)}")
        for entry in members:
            parts += _section(entry)
    return "\n\n".join(parts)


def _question(entry: TableCell) -> str:
    return _escaped(str(entry["description"]).partition("\n")[0])


def _anchor(heading: str) -> str:
    """The id that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _link(entry: TableCell) -> str:
    return f"[`{entry['name']}`](#{_anchor(entry['name'])})"


def _section(entry: TableCell) -> list[str]:
    question, *paragraphs = str(entry["description"]).split("\n\n")
    parts = [f"### `{entry['name']}`", f"*{_escaped(' '.join(question.split()))}*"]
    parts += [_labelled(" ".join(paragraph.split())) for paragraph in paragraphs]
    if entry["axes"]:
        rows = [[axis["axis"], f"`{axis['measure']}`", axis["scale"], *_references(axis)] for axis in entry["axes"]]
        if entry["axes_of"] != entry["name"]:
            parts.append(f"References of `{entry['axes_of']}`, the variant of the tracks.")
        parts.append(_table(rows, ["axis", "measure", "scale", "score_0", "score_1", "floor"]))
    return [*parts, "\n".join(f"- {line}" for line in _facts(entry))]


def _references(axis: Mapping[str, Any]) -> list[str]:
    return [_reference(axis[key]) for key in ("score_0", "score_1", "floor")]


def _reference(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"`{value}`" if isinstance(value, str) else f"{value:.3g}"


def _when(target: Mapping[str, Any]) -> str:
    return "at the end of" if target["at_end"] else "within"


def _facts(entry: TableCell) -> list[str]:
    target, interface = entry["target"], entry["interface"]
    batch = f"batches of {entry['batch_size']}" if entry["batch_size"] else "full batch"
    facts = [
        f"Stop: training loss ≤ {target['loss']:g} {_when(target)} {target['budget']:,} gradient evaluations; {batch}."
    ]
    if entry["reported"]:
        facts.append("Shown beside the axes: " + ", ".join(f"`{name}`" for name in entry["reported"]) + ".")
    if entry["variant"]:
        options = ", ".join(f"`{name}={value}`" for name, value in entry["variant"].items())
        facts.append(f"Variants, with their defaults: {options}.")
    if interface is not None:
        shape = " x ".join(map(str, interface["input_shape"]))
        space = ", ".join(f"{name} in {value}" for name, value in interface["space"].items())
        trained = f"trained by `{interface['optimizer']}` with `{space}`"
        facts.append(f"Architectures: inputs {shape}, outputs {interface['outputs']}, {trained}.")
    facts += [_escaped(paper) for paper in entry["papers"]]
    return facts


def _labelled(paragraph: str) -> str:
    """The paragraph with the names of its parts in bold."""
    opening = OPENING.match(paragraph)
    label = opening[1] if opening else ""
    rest = AXIS.sub(r"**\g<0>**", _escaped(paragraph[len(label) :]))
    return f"**{_escaped(label)}**{rest}" if label else rest


def _escaped(text: str) -> str:
    """Text without Markdown's meaning outside of backticks; arXiv numbers become links."""
    pieces = re.split(r"(``.+?``|`[^`]+`)", text)
    for index in range(0, len(pieces), 2):
        plain = re.sub(r"[\\*_~<>\[\]|#]", r"\\\g<0>", pieces[index])
        pieces[index] = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[\g<0>](https://arxiv.org/abs/\1)", plain)
    return "".join(pieces)


def _table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return str(tabulate(rows, header, tablefmt="pipe", disable_numparse=True))
