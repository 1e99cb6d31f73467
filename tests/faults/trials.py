"""``python -m tests.faults.trials``: runs the test of every trial that docs/reliability.md lists, and counts them."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
HEADING = re.compile(r"### (.+): (\d+) trials, (\d+) held at first, all \d+ now")
ROW = re.compile(r"\| (\d+) \| (.+) \| (held|fault|limit) \| (.+) \| `([\w/.]+)::(\w+)` \|")


@dataclass(frozen=True)
class Trial:
    """A line of the table: what was tried, what came of it first, and the file and the function of its test."""

    section: str
    number: int
    tried: str
    first: str
    file: str
    function: str


def trials() -> list[Trial]:
    """Every trial of the page, in order."""
    found, section = [], ""
    for line in PAGE.read_text().splitlines():
        if heading := HEADING.fullmatch(line):
            section = heading[1]
        elif row := ROW.fullmatch(line):
            found.append(Trial(section, int(row[1]), row[2], row[3], row[5], row[6]))
    return found


class _Outcomes:
    """Notes how every test has ended, by its file and function: the worst of its cases."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            path, _, name = report.nodeid.partition("::")
            file = path.removeprefix(f"{TESTS.name}/")
            self.of[file, name.partition("[")[0]].add(report.outcome)


def main() -> int:
    """Run the tests, and print for each section how many trials are held; 1 if one is not."""
    listed, outcomes = trials(), _Outcomes()
    names = dict.fromkeys(f"{TESTS / trial.file}::{trial.function}" for trial in listed)
    # In one process; some of these tests take longer than an ordinary test may.
    options = ["-q", "-n", "0", "--timeout", "3600", "-m", "faults or slow or not slow", "-p", "no:cacheprovider"]
    pytest.main([*options, f"--rootdir={TESTS.parent}", *names, *sys.argv[1:]], plugins=[outcomes])
    good = True
    print("\n| trials | tried | held | not run here |\n| --- | --- | --- | --- |")
    for section in dict.fromkeys(trial.section for trial in listed):
        found = [outcomes.of[trial.file, trial.function] for trial in listed if trial.section == section]
        held = sum("passed" in each and "failed" not in each for each in found)
        absent = sum(each <= {"skipped"} for each in found)
        good = good and held + absent == len(found)
        print(f"| {section} | {len(found)} | {held} | {absent} |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
