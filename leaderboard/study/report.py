"""The findings as a page of markdown with its pictures, generated from the records alone."""

from __future__ import annotations

import re
from pathlib import Path

from leaderboard.study.findings import Findings
from leaderboard.study.sections import Section, sections, summary
from leaderboard.tables.formats import render
from suite.errors import InputError

PICTURES = "findings"
"""The folder of the pictures, next to the page."""


def markdown(findings: Findings, source: str, command: str) -> str:
    """The findings as a page of markdown.

    Args:
        findings: what the page says.
        source: the name of the records' file.
        command: what makes the page and its pictures from the records.
    """
    parts = ["# Findings", f"Generated from `{source}` by `{command}`. {summary(findings)}"]
    for section in sections(findings):
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {section.heading}", _linked(section.text)]
    parts += [f"![{section.picture.alt}]({PICTURES}/{section.name}.svg)", section.caption]
    parts += [render(section.table, "markdown")] if section.table else []
    for detail in section.details:
        parts += [f"### {detail.heading}", _linked(detail.text), render(detail.table, "markdown")]
    return parts


def _linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[\g<0>](https://arxiv.org/abs/\1)", text)


def write(findings: Findings, directory: Path, source: str, command: str) -> Path:
    """Write ``findings.md`` and its pictures into `directory`; `source` and `command` as in `markdown`.

    Returns:
        The path of the page.

    Raises:
        InputError: the files cannot be written.
    """
    page = directory / "findings.md"
    try:
        (directory / PICTURES).mkdir(parents=True, exist_ok=True)
        for section in sections(findings):
            path = directory / PICTURES / f"{section.name}.svg"
            path.write_text(section.picture.standalone(), encoding="utf-8")
        page.write_text(markdown(findings, source, command), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The findings cannot be written to {directory} ({error.strerror}).") from error
    return page
