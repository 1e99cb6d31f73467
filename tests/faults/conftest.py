"""What the fault tests share: a plan of cheap units, its undisturbed records, and the table of figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.storage.log import Log, read
from suite.tracks import Track

QUICK = ("test_reports.py", "test_trials.py")
"""These break nothing."""

FIGURES = pytest.StashKey[list[tuple[str, str]]]()
PLAN = make_plan(("sgd", "momentum", "nesterov", "adam"), ("min_norm_regression",), Track("smoke", (), 2, 2, 1, ""))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name not in QUICK:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Add a line to the table: what was done to it, and what came of it."""

    def add(fault: str, outcome: str) -> None:
        request.config.stash.setdefault(FIGURES, []).append((fault, outcome))

    return add


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(FIGURES, [])
    if rows:
        terminalreporter.write_line("| fault | what came of it |\n| --- | --- |")
        for row in rows:
            terminalreporter.write_line(f"| {row[0]} | {row[1]} |")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run that nothing disturbs."""
    path = tmp_path_factory.mktemp("undisturbed") / "log.jsonl"
    with connect("local:0") as engine:
        list(Driver(PLAN, Log(path), engine).steps())
    assert all(record["status"] != "failed" for record in read(path).records)
    return path
