"""A failure is narrowed down: whole, then in parts, and what fails alone is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from suite.task import Problem, Split
from suite.training import TrainingRun
from suite.training.retry import by_run, by_trial, parts_to_retry, train_in_parts

PROBLEM = Problem(Split(torch.zeros(1, 1), torch.zeros(1)))
RUNS = [TrainingRun(PROBLEM, seed, trial, {}) for trial in (0, 1, 3) for seed in (5, 6)]


class Trainer:
    """Raises on every batch with a run that `fails`; notes the batches."""

    def __init__(self, *fails: tuple[int, int]) -> None:
        self.fails, self.batches = set(fails), list[list[tuple[int, int]]]()

    def __call__(self, runs: Sequence[TrainingRun]) -> list[Any]:
        names = [(run.trial, run.seed) for run in runs]
        self.batches.append(names)
        if self.fails & set(names):
            raise ArithmeticError(str(sorted(self.fails & set(names))))
        return names


def outcomes(results: list[Any]) -> list[Any]:
    return [str(result) if isinstance(result, Exception) else result for result in results]


def test_nothing_is_tried_twice_where_nothing_fails() -> None:
    train = Trainer()
    assert train_in_parts(RUNS, train, by_run) == [(run.trial, run.seed) for run in RUNS]
    assert len(train.batches) == 1


def test_a_run_that_raises_fails_alone() -> None:
    train = Trainer((1, 6))
    results = outcomes(train_in_parts(RUNS, train, by_run))
    assert results == [(0, 5), (0, 6), (1, 5), "[(1, 6)]", (3, 5), (3, 6)]
    assert [len(batch) for batch in train.batches] == [6, 1, 1, 1, 1, 1, 1]


def test_a_trial_that_raises_fails_alone() -> None:
    train = Trainer((1, 6))
    results = outcomes(train_in_parts(RUNS, train, by_trial))
    assert results == [(0, 5), (0, 6), "[(1, 6)]", "[(1, 6)]", (3, 5), (3, 6)]
    assert [len(batch) for batch in train.batches] == [6, 2, 2, 2]


def test_one_part_is_not_tried_again() -> None:
    train = Trainer((0, 5))
    assert outcomes(train_in_parts(RUNS[:1], train, by_run)) == ["[(0, 5)]"]
    assert outcomes(train_in_parts(RUNS[:2], train, by_trial)) == ["[(0, 5)]"] * 2
    assert len(train.batches) == 2
    assert parts_to_retry(RUNS[:2], by_trial) == ()
    assert parts_to_retry(RUNS, by_trial) == [RUNS[:2], RUNS[2:4], RUNS[4:]]


def test_other_errors_are_passed_on() -> None:
    with pytest.raises(ArithmeticError):
        train_in_parts(RUNS, Trainer((1, 6)), by_trial, KeyError)
