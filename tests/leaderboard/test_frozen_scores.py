"""The shipped records still give the shipped scores: records and rules cannot drift apart unnoticed.

After a change that is meant to move them: ``lowlands table --track quick --format json >
leaderboard/baselines/quick.scores.json`` (and so for every track that is shipped), and say why in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from leaderboard.analysis.baselines import shipped_logs
from leaderboard.cli import main

LOGS = shipped_logs()


def _numbers(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value by its path."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for key, item in items for name, leaf in _numbers(item, key).items()}


def test_something_is_shipped() -> None:
    assert LOGS


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_the_shipped_records_give_the_shipped_scores(log: Path) -> None:
    made = CliRunner().invoke(main, ["table", "--track", log.stem, "--format", "json"])
    assert made.exit_code == 0, made.output
    frozen = log.with_suffix(".scores.json")
    assert frozen.is_file(), f"Make it: lowlands table --track {log.stem} --format json > {frozen.name}"
    found, wanted = (_numbers(json.loads(text)) for text in (made.stdout, frozen.read_text()))
    assert found.keys() == wanted.keys()
    for path, value in wanted.items():
        if isinstance(value, float):
            assert found[path] == pytest.approx(value, abs=1e-6, rel=0), path
        elif "notes" not in path:
            assert found[path] == value, path
