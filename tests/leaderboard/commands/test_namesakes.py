"""`lowlands namesakes`, and that `docs/namesakes.md` is what it finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from leaderboard.cli import main
from leaderboard.tables import namesakes as tables
from suite.namesakes.algorithms import algorithms
from suite.namesakes.collections import installed
from suite.namesakes.comparison import as_data, compare

PAGE = Path(__file__).parents[3] / "docs" / "namesakes.md"


def test_a_table_and_what_is_to_be_said() -> None:
    result = CliRunner().invoke(main, ["namesakes", "lion"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "formula: Lion (Chen et al. 2023), arXiv:2302.06675" in result.stdout
    assert "algorithm 2 (README of its authors' code)" in result.stdout
    assert "pytorch_optimizer:Lion" in result.stdout
    assert "The paper's formula: " in result.stdout
    missing = [module for module in ("timm.optim", "lion_pytorch", "optax") if installed(module) is None]
    assert ("Not installed, and left out: " + ", ".join(missing) in result.stdout) is bool(missing)


def test_numbers_for_programs() -> None:
    result = CliRunner().invoke(main, ["namesakes", "radam", "--format", "json"])
    (found,) = json.loads(result.stdout)
    rows = {row["implementation"]: row for row in found["rows"]}
    assert rows["radam"]["group"] == "A"
    assert rows["radam"]["number at the source"].startswith("algorithm 2 (")
    assert not rows["torch.optim:RAdam"]["number at the source"]
    assert rows["pytorch_optimizer:RAdam"]["first step"] == 0.0
    assert rows["torch.optim:RAdam"]["tall"] > 1e-4  # the fifth step


def test_an_unknown_name_is_a_sentence() -> None:
    result = CliRunner().invoke(main, ["namesakes", "muonn"])
    assert result.exit_code == 2
    assert "There is no algorithm 'muonn': did you mean 'muon'?" in result.stderr


def _groups(page: str) -> dict[str, dict[str, str]]:
    """Algorithm -> implementation -> group, as a page states them."""
    found: dict[str, dict[str, str]] = {}
    for line in page.splitlines():
        if line.startswith("## "):
            name = line[3:]
        elif match := re.match(r"\| ([A-Z–]) +\| (.+?) +\| ", line):
            found.setdefault(name, {})[match[2]] = match[1]
    return found


@pytest.mark.slow
def test_the_page_is_what_is_found() -> None:
    """Other versions than the page's may be other algorithms, which are nobody's mistake: they are not compared.

    If this fails: ``lowlands namesakes NAME… --format markdown > docs/namesakes.md``, with the page's names.
    """
    page = PAGE.read_text(encoding="utf-8")
    (said,) = re.findall(r"^Measured with (.+)\.$", page, re.MULTILINE)
    stated = dict(part.rsplit(" ", 1) for part in said.split(", "))
    if any(installed(module) != version for module, version in stated.items()):
        pytest.skip("the page is of other versions")
    chosen = [one for one in algorithms().values() if f"\n## {one.title}\n" in page]
    assert len(chosen) == page.count("\n## ")
    assert _groups(page) == _groups(tables.page([as_data(compare(one)) for one in chosen]))
