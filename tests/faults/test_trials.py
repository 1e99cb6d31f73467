"""The list of trials in docs/reliability.md: its counts are those of its lines, and every line names a test."""

from __future__ import annotations

import ast
from collections import Counter

from tests.faults.trials import HEADING, PAGE, TESTS, trials


def test_the_counts_are_those_of_the_lines() -> None:
    listed = trials()
    headings = [heading for line in PAGE.read_text().splitlines() if (heading := HEADING.fullmatch(line))]
    assert {heading[1]: (int(heading[2]), int(heading[3])) for heading in headings} == {
        section: (
            sum(trial.section == section for trial in listed),
            sum((trial.section, trial.first) == (section, "held") for trial in listed),
        )
        for section in dict.fromkeys(trial.section for trial in listed)
    }
    assert sorted(Counter(trial.section for trial in listed).values()) == [35, 46, 53]
    assert len({(trial.section, trial.tried) for trial in listed}) == len(listed)
    numbers = [trial.number for trial in listed]
    assert numbers == [n + 1 for count in (53, 35, 46) for n in range(count)]


def test_every_line_names_a_test() -> None:
    for file in {trial.file for trial in trials()}:
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        named = {trial.function for trial in trials() if trial.file == file}
        assert all(name.startswith("test_") for name in named)
        assert named <= functions, file
