"""The findings as a page of markdown with its pictures, generated from the records alone."""

from __future__ import annotations

from pathlib import Path

from leaderboard.study.findings import Findings
from leaderboard.study.sections import sections, summary
from leaderboard.tables.formats import linked, render
from suite.errors import InputError

PICTURES = "findings"
"""The folder of the pictures, next to the page."""


def markdown(findings: Findings, source: str, command: str) -> str:
    """The findings as a page of markdown, which `command` makes from the records in the file `source`."""
    parts = ["# Findings", f"Generated from `{source}` by `{command}`. {summary(findings)}"]
    for section in sections(findings):
        parts += [f"## {section.heading}", linked(section.text)]
        parts += [f"![{section.picture.alt}]({PICTURES}/{section.name}.svg)", section.caption]
        parts += [render(section.table, "markdown")] if section.table else []
        for detail in section.details:
            parts += [f"### {detail.heading}", linked(detail.text), render(detail.table, "markdown")]
    return "\n\n".join(parts) + "\n"


def write(findings: Findings, directory: Path, source: str, command: str) -> Path:
    """Write ``findings.md`` (see `markdown`) and its pictures into `directory`, and return the path of the page."""
    page = directory / "findings.md"
    try:
        (directory / PICTURES).mkdir(parents=True, exist_ok=True)
        for section in sections(findings):
            picture = directory / PICTURES / f"{section.name}.svg"
            picture.write_text(section.picture.standalone(), encoding="utf-8")
        page.write_text(markdown(findings, source, command), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The findings cannot be written to {directory} ({error.strerror}).") from error
    return page
