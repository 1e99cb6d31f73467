"""The protocol's choice among tuned settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite.trials.evaluate import Record

SELECTION_FIELDS = ("phase", "trial", "converged", "train_loss", "validation_loss", "target_evaluations")
"""All that selection may know of a record."""


def select(task_selection: str, records: Sequence[Record]) -> int:
    """The trial that the protocol selects from the tuning records of one submission on one task.

    Trials whose every lane met the stop come first, ordered by mean validation loss at the stop (image tasks) or by
    total gradient evaluations to the stop (ground-truth tasks); then those with more lanes at the stop, then with the
    lower training loss. Never by flatness, norm, an oracle or test data. Ties go to the earlier trial.
    """
    trials: dict[int, list[Record]] = {}
    for record in records:
        trials.setdefault(record["trial"], []).append(record)

    def key(number: int) -> tuple[float, float, int]:
        lanes = trials[number]
        missed = sum(not lane["converged"] for lane in lanes)
        if missed:
            losses = [lane["train_loss"] for lane in lanes]
            worst = [math.inf if loss is None or not math.isfinite(loss) else loss for loss in losses]
            return missed, sum(worst), number
        if task_selection == "validation_loss":
            return 0, sum(lane["validation_loss"] for lane in lanes) / len(lanes), number
        return 0, sum(lane["target_evaluations"] for lane in lanes), number

    return min(trials, key=key)
