"""What is tried again after a failure: whole, then in parts, so that one bad setting fails alone.

A batch of training runs stands or falls together: one that raises, hangs or kills its process takes the others with it.
So every level that runs a batch narrows a failure down by the same rule, `parts_to_retry`; levels differ only in what
they split. Where code raises, the parts are single runs; where a process was lost, they are trials (a run costs no less
time than its trial, and a process is expensive).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from suite.training.run import TrainingResult, TrainingRun

T = TypeVar("T")
Runs = Sequence[TrainingRun]


def parts_to_retry(batch: T, split: Callable[[T], Sequence[T]]) -> Sequence[T]:
    """The parts of `batch`, which failed, to try each by itself; none if it has only one, which then is to blame."""
    parts = split(batch)
    return parts if len(parts) > 1 else ()


def by_run(runs: Runs) -> list[Runs]:
    return [[run] for run in runs]


def by_trial(runs: Runs) -> list[Runs]:
    """The runs of each trial, which are consecutive."""
    return [list(trial) for _, trial in groupby(runs, key=attrgetter("trial"))]


def train_in_parts(
    runs: Runs,
    train: Callable[[Runs], Sequence[TrainingResult | Exception]],
    split: Callable[[Runs], Sequence[Runs]],
    failure: type[Exception] = Exception,
) -> list[TrainingResult | Exception]:
    """The results of ``train(runs)``; if it raises `failure`, those of each part by itself; other errors are passed on.

    Returns:
        A result per run, in order; for the runs of a part that failed by itself, the error.
    """
    try:
        return list(train(runs))
    except failure as error:
        parts = parts_to_retry(runs, split)
        if not parts:
            return [error] * len(runs)
    return [result for part in parts for result in train_in_parts(part, train, split, failure)]
