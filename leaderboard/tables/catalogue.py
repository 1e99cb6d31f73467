"""The catalogue of the tasks: plain data (of `suite.commands.task_list`) -> text, Markdown or a page of HTML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader
from markdown_it import MarkdownIt
from markupsafe import Markup
from tabulate import tabulate

from leaderboard.tables.formats import linked

Task = Mapping[str, Any]
"""One entry of `task_list`."""

SELECTED = {
    "gradient_evaluations": "the setting that reaches the target loss first",
    "validation_loss": "the setting with the lowest validation loss at the target loss",
    "convergence": "every setting that reaches the target loss; scores are their mean",
}
"""Which of the tuned settings are scored, by `Task.selection`."""

INTRODUCTION = (
    "Every task says what theory claims, on which data, at which loss training stops, which exact solution it is "
    "compared with, and which values of its measures score 0 (`score_0`) and 1 (`score_1`). A reference that is a name "
    "is a value of the oracle, another one for each data set. A task without an axis is reported and not scored. "
    "Variants are given in brackets, such as `sparse_regression[alpha=0.01]`. This page is written by `lowlands tasks "
    "--format markdown`, from the tasks' own docstrings."
)

OPENING = re.compile(r"((?:[^\s`]+ ){0,3}[^\s`]+\.) ")
"""How a docstring names a part of its section: up to four words and a full stop at the start of a paragraph."""

AXIS = re.compile(r"(?:Norm|Flatness|Generalization) axis\.")


def text(task: Task) -> str:
    """One task for a terminal: its docstring, then what the program itself holds."""
    target = task["target"]
    lines = [f"{task['name']} ({task['family']})", ""]
    lines += [f"  {line}".rstrip() for line in str(task["description"]).splitlines()]
    lines += [
        "",
        f"  Target: training loss <= {target['loss']:g} {_when(target)} {target['budget']} gradient evaluations",
    ]
    lines.append(f"  Scored: {SELECTED[task['selection']]}")
    if task["axes_of"] != task["name"]:
        lines.append(f"  Axes and references of {task['axes_of']}:")
    lines += [
        f"  {axis['axis']}: {axis['measure']}, {axis['scale']}, score_0 {axis['score_0']}, score_1 {axis['score_1']}"
        for axis in task["axes"]
    ]
    lines += [f"  {note}" for note in _provisional(task)]
    return "\n".join([*lines, *(f"  {paper}" for paper in task["papers"])])


def render(tasks: Sequence[Task], style: str) -> str:
    """The catalogue as `markdown`, or as a page of `html`."""
    source = markdown(tasks)
    if style == "markdown":
        return source
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(source)
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", _anchor(inline.content))
    body = Markup(parser.renderer.render(tokens, parser.options, {}))
    environment = Environment(loader=PackageLoader("leaderboard.tables"), autoescape=True)
    return environment.get_template("catalogue.html.j2").render(body=body)


def markdown(tasks: Sequence[Task]) -> str:
    """A table of all tasks, then a section for each, by family."""
    rows = [
        [
            f"[`{task['name']}`](#{_anchor(task['name'])})",
            task["family"],
            ", ".join(axis["axis"] for axis in task["axes"]) or "reported",
            _escaped(str(task["description"]).partition("\n")[0]),
        ]
        for task in tasks
    ]
    parts = ["# The tasks", INTRODUCTION, _table(rows, ["task", "family", "axes", "question"])]
    for family, members in itertools.groupby(tasks, key=lambda task: str(task["family"])):
        parts.append(f"## {_escaped(family)}")
        for task in members:
            parts += _section(task)
    return "\n\n".join(parts)


def _anchor(heading: str) -> str:
    """The id that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _section(task: Task) -> list[str]:
    question, *paragraphs = str(task["description"]).split("\n\n")
    parts = [f"### `{task['name']}`", f"*{_escaped(' '.join(question.split()))}*"]
    parts += [_labelled(" ".join(paragraph.split())) for paragraph in paragraphs]
    if task["axes"]:
        keys = ("score_0", "score_1", "floor")
        rows = [
            [axis["axis"], f"`{axis['measure']}`", axis["scale"], *(_reference(axis[key]) for key in keys)]
            for axis in task["axes"]
        ]
        if task["axes_of"] != task["name"]:
            parts.append(f"References of `{task['axes_of']}`, the variant of the tracks.")
        parts.append(_table(rows, ["axis", "measure", "scale", *keys]))
        parts += _provisional(task)
    return [*parts, "\n".join(f"- {fact}" for fact in _facts(task))]


def _provisional(task: Task) -> list[str]:
    """A sentence for each axis whose references are provisional."""
    return [
        f"The references of {axis['axis']} are provisional: {axis['provisional']}."
        for axis in task["axes"]
        if axis["provisional"]
    ]


def _reference(value: float | str | None) -> str:
    return f"`{value}`" if isinstance(value, str) else "" if value is None else f"{value:.3g}"


def _when(target: Mapping[str, Any]) -> str:
    return "at the end of" if target["at_end"] else "within"


def _facts(task: Task) -> list[str]:
    target, interface = task["target"], task["interface"]
    batch = f"batches of {task['batch_size']}" if task["batch_size"] else "full batch"
    budget = f"{_when(target)} {target['budget']:,} gradient evaluations"
    held = f", held while the step size decays over {target['annealing']:,} more" if target["annealing"] else ""
    facts = [f"Target: training loss ≤ {target['loss']:g} {budget}{held}; {batch}."]
    facts.append(f"Scored: {SELECTED[task['selection']]}.")
    if task["reported"]:
        facts.append("Also reported: " + ", ".join(f"`{name}`" for name in task["reported"]) + ".")
    if task["variant"]:
        options = ", ".join(f"`{name}={value}`" for name, value in task["variant"].items())
        facts.append(f"Variants, with their defaults: {options}.")
    if interface is not None:
        shape = " x ".join(map(str, interface["input_shape"]))
        space = ", ".join(f"{name} in {value}" for name, value in interface["space"].items())
        training = f"trained by `{interface['optimizer']}` with `{space}`"
        outputs = interface["outputs"]
        given = f"{outputs} tokens, context {shape}" if interface["tokens"] else f"inputs {shape}, outputs {outputs}"
        facts.append(f"Architectures: {given}, {training}.")
    return facts + [_escaped(paper) for paper in task["papers"]]


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
        pieces[index] = linked(plain)
    return "".join(pieces)


def _table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return str(tabulate(rows, header, tablefmt="pipe", disable_numparse=True))
