"""The protocol's choice among tuned settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite.storage.record import Record

SELECTION_FIELDS = ("phase", "trial", "converged", "train_loss", "validation_loss", "target_evaluations")
"""All that selection may know of a record."""


def select(task_selection: str, records: Sequence[Record]) -> int:
    """The trial that the protocol selects from the tuning records of one submission on one task.

    Trials whose every run reached the target loss come first, ordered by mean validation loss there (image tasks) or by
    total gradient evaluations until there (ground-truth tasks); then those of which fewer runs missed it, then those
    with the lower training loss. Never by flatness, norm, an oracle or test data. Ties go to the earlier trial.
    """
    trials: dict[int, list[Record]] = {}
    for record in records:
        trials.setdefault(record["trial"], []).append(record)

    def key(number: int) -> tuple[float, float, int]:
        runs = trials[number]
        missed = sum(not run["converged"] for run in runs)
        if missed:
            losses = [run["train_loss"] for run in runs]
            finite = [math.inf if loss is None or not math.isfinite(loss) else loss for loss in losses]
            return missed, sum(finite), number
        if task_selection == "validation_loss":
            return 0, sum(run["validation_loss"] for run in runs) / len(runs), number
        return 0, sum(run["target_evaluations"] for run in runs), number

    return min(trials, key=key)
