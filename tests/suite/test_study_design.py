"""The second edition's cells are what the rule chooses; its step sizes are those of the submissions' own spaces."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from benchmarks.choose_study import CELLS as COUNT
from benchmarks.choose_study import SMALL_CELLS, chosen, coded
from suite.entries.loading import load
from suite.study_design import CELLS, LADDERS, LEVELS, PRESETS
from suite.submission import LogUniform


def _levels() -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the levels [cells, factors], and which cells are in the small preset [cells]."""
    rows = list(csv.DictReader(CELLS.open(encoding="utf-8", newline="")))
    numbers = [[[*map(str, values)].index(row[name]) for name, values in LEVELS.items()] for row in rows]
    return np.array(numbers, dtype=float), np.array([row["small"] == "yes" for row in rows])


def test_no_main_effect_or_interaction_of_two_is_aliased() -> None:
    levels, small = _levels()
    assert len(np.unique(levels, axis=0)) == len(levels) == COUNT
    full, few = coded(levels, True), coded(levels[small], False)
    assert full.shape[1] == 1 + 13 + 73
    assert np.linalg.matrix_rank(full) == full.shape[1]
    assert few.shape == (SMALL_CELLS, 14)
    assert np.linalg.matrix_rank(few) == 14
    for column in levels.T:  # every level about equally often
        counts = np.bincount(column.astype(int))
        assert counts.max() - counts.min() <= 0.1 * len(levels)


def test_contrasts_are_orthogonal_over_all_combinations() -> None:
    levels = np.array(list(itertools.product(*(range(len(values)) for values in LEVELS.values()))), dtype=float)
    x = coded(levels, True)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(x.shape[1]), atol=1e-12)


def test_the_exchange_ends_where_no_swap_of_two_rows_gains() -> None:
    candidates = np.random.default_rng(1).normal(size=(12, 3))
    best, rows = chosen(candidates, 6, np.random.default_rng(0))

    def criterion(rows: list[int]) -> float:
        return float(np.linalg.slogdet(candidates[rows].T @ candidates[rows])[1])

    assert best == pytest.approx(criterion(rows))
    others = [row for row in range(12) if row not in rows]
    for out, into in itertools.product(rows, others):
        assert criterion([into if row == out else row for row in rows]) <= best + 1e-8
    everything = max(criterion(list(each)) for each in itertools.combinations(range(12), 6))
    assert best > everything - 0.2


@pytest.mark.parametrize("name", LADDERS)
def test_step_sizes_are_the_middles_of_four_parts_of_the_declared_space(name: str) -> None:
    space = load(name).submission.space
    for rung, text in enumerate(LADDERS[name]):
        given = {key: float(value) for key, value in (part.split("=") for part in text.split(","))}
        for key, value in given.items():
            declared = space[key]
            if not isinstance(declared, LogUniform):
                assert value == pytest.approx(0.1)  # the middle choice of AdamW's decay
                continue
            share = (rung + 0.5) / 4 if key.endswith("lr") else 0.5
            assert value == pytest.approx(declared.low * (declared.high / declared.low) ** share, rel=5e-3)


def test_sizes_that_the_plan_states() -> None:
    sizes = {
        name: len(preset.submissions()) * len(preset.tasks) * preset.seeds
        for name, preset in PRESETS.items()
        if preset.edition == 2
    }
    assert sizes == {"second": 10_368, "second-small": 1_152}
    assert set(PRESETS["second-small"].tasks) < set(PRESETS["second"].tasks)
