"""Tables parse back, whatever a submission is called."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from leaderboard.results import Results
from leaderboard.scoring import Board, board
from leaderboard.tables import render, render_tasks, terminal
from suite.errors import InputError
from tests.leaderboard.test_scoring import record

NAMES = ["plain", "a|b", "<script>", "x_1 & 50%"]


@pytest.fixture
def made() -> Board:
    rows = [record(name, "a1", s, 0.1 * n + 0.01 * s) for n, name in enumerate(NAMES) for s in range(3)]
    return board(Results([*rows, record("half", "a1", 0, 0.5, explicit=True)]))


def test_markdown(made: Board) -> None:
    lines = render(made, "markdown").splitlines()
    assert len(lines) == 2 + len(made.standings)
    assert all(line.replace("\\|", "").count("|") == lines[0].count("|") for line in lines)
    assert "half †" in render(made, "markdown")


def test_csv_carries_numbers(made: Board) -> None:
    rows = list(csv.DictReader(render(made, "csv").splitlines()))
    assert [row["submission"] for row in rows] == [s.submission for s in made.standings]
    assert float(rows[0]["overall"]) == made.standings[0].overall.value


def test_json_carries_everything(made: Board) -> None:
    read = json.loads(render(made, "json"))
    assert read["standings"][0]["overall"]["low"] == made.standings[0].overall.low


def test_html_escapes(made: Board) -> None:
    text = render(made, "html")
    assert "<script>" not in text
    cells: list[str] = []
    parser = HTMLParser()
    parser.handle_data = cells.append  # type: ignore[method-assign]
    parser.feed(text)
    assert "<script>" in cells


def test_latex_escapes(made: Board) -> None:
    text = render(made, "latex")
    assert r"\toprule" in text
    assert r"x\_1 \& 50\%" in text


@pytest.mark.parametrize("style", ["markdown", "latex", "csv", "html", "json"])
def test_tasks(made: Board, style: str) -> None:
    assert "plain" in render_tasks(made, style)


def test_unknown_format(made: Board) -> None:
    with pytest.raises(InputError, match="no table format"):
        render(made, "pdf")


def test_terminal_shows_every_submission(made: Board) -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in terminal(made):
        console.print(table)
    text = console.export_text()
    assert all(text.count(name) >= 2 for name in NAMES)
