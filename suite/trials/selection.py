"""The protocol's choice among tuned settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite.storage.record import Record
from suite.task import Selection

SELECTION_FIELDS = ("phase", "trial", "converged", "train_loss", "validation_loss", "target_evaluations")
"""All that selection may know of a record."""


def select(task_selection: Selection, records: Sequence[Record]) -> list[int]:
    """The trials that are scored, by the tuning records of one search of one submission on one task.

    Trials whose every run reached the target loss come first: all of them (``convergence``), or the one with the lowest
    mean validation loss there (``validation_loss``) or the fewest gradient evaluations until there
    (``gradient_evaluations``). Where there is none, it is the one of which the fewest runs missed it, then the one with
    the lower training loss. Never by flatness, norm, an oracle or test data. Ties go to the earlier trial.
    """
    trials: dict[int, list[Record]] = {}
    for record in records:
        trials.setdefault(record["trial"], []).append(record)
    if task_selection == "convergence":
        trained = [number for number, runs in trials.items() if all(run["converged"] for run in runs)]
        if trained:
            return sorted(trained)

    def key(number: int) -> tuple[float, float, int]:
        runs = trials[number]
        missed = sum(not run["converged"] for run in runs)
        if missed:
            return missed, sum(_known(run["train_loss"]) for run in runs), number
        if task_selection == "validation_loss":
            return 0, sum(_known(run["validation_loss"]) for run in runs) / len(runs), number
        return 0, sum(run["target_evaluations"] for run in runs), number

    return [min(trials, key=key)]


def _known(loss: float | None) -> float:
    """The loss; infinity where it was not finite, which a record states as null."""
    return loss if loss is not None and math.isfinite(loss) else math.inf
