"""The page of the tasks: it is the docstrings, whole, and the committed one is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leaderboard.tables.catalogue import render, text
from suite.commands.task_list import task_list
from suite.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


class Page(HTMLParser):
    """The text of every paragraph, the ids, and the links within the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.paragraphs, self.ids, self.links, self._open = [], set(), set(), False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id"))
        self.links.add(values.get("href"))
        if tag == "p":
            self._open = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.paragraphs[-1] += data


def test_the_committed_page_is_up_to_date() -> None:
    """If this fails: ``lowlands tasks --format markdown > docs/tasks.md``."""
    assert (ROOT / "docs" / "tasks.md").read_text() == render(task_list(), "markdown") + "\n"


def test_no_character_of_a_docstring_is_lost_or_taken_for_markup() -> None:
    entries = task_list()
    page = Page(render(entries, "html"))
    shown = {" ".join(paragraph.split()) for paragraph in page.paragraphs}
    for entry in entries:
        for paragraph in entry["description"].split("\n\n"):
            assert " ".join(paragraph.replace("`", "").split()) in shown, entry["name"]


def test_every_task_is_linked_to_its_section() -> None:
    entries = task_list()
    page = Page(render(entries, "html"))
    inside = {link[1:] for link in page.links if link and link.startswith("#")}
    assert inside == {entry["name"] for entry in entries}
    assert inside <= page.ids


def test_a_variant_states_its_own_facts() -> None:
    (entry,) = task_list(["linear_geometry[network=diagonal]"])
    page = render([entry], "markdown")
    assert "`network=diagonal`" in page
    assert "`l1_margin_ratio`" in re.findall(r"\| norm .*", page)[0]
    assert "lr in LogUniform" in page
    assert "norm: l1_margin_ratio, linear, score_0 worst_ratio, score_1 1.0" in text(entry)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean"):
        task_list(["linear_geometri"])


def test_printing_needs_no_torch() -> None:
    code = "import leaderboard.tables.catalogue, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
