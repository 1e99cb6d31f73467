"""References of tasks of the user's own, from runs of well-known optimizers.

score_1 of a measure is the best mean over seeds among these optimizers, score_0 the worst: a method that scores 0 is as
the worst of them, one that scores 1 as the best. (Image tasks of the suite have another score_0, from an adversarial
initialization.) The seeds are neither scoring nor tuning seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suite.errors import InputError
from suite.storage.record import Record
from suite.task import Axis
from suite.tasks.own_references import Pair
from suite.tracks import Track

SUBMISSIONS = ("sgd", "momentum", "adam", "adamw", "rmsprop", "sam", "sign")
FIRST_SEED = 20_000
TRIALS = 4


def track_of_references(task: str, seeds: int) -> Track:
    """The track whose runs references are made of."""
    return Track("references", (task,), seeds, TRIALS, 1, "runs that references are made of", first_seed=FIRST_SEED)


def references_of(records: Sequence[Record], axes: Sequence[Axis]) -> dict[str, Pair]:
    """The references of the measures of `axes`.

    Args:
        records: of the scored runs of one task. Submissions that missed the target loss on a seed are left out.
        axes: whose `higher` says which values are better.

    Raises:
        InputError: fewer than two submissions have reached the target loss on all seeds and have the measure, or all of
            them have the same value.
    """
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record["submission"], []).append(record)
    solved = {name: group for name, group in runs.items() if all(record["converged"] for record in group)}
    pairs = {}
    for axis in axes:
        means = {}
        for name, group in solved.items():
            values = [record["measures"].get(axis.measure) for record in group]
            if None not in values:
                means[name] = float(np.mean(values))
        order = sorted(means, key=means.__getitem__, reverse=axis.higher)
        if len(order) < 2:
            raise InputError(
                f"{axis.measure}: {len(order)} of {len(runs)} reference optimizers reached the target loss on every "
                f"seed and measured it; it takes two. Is the target loss too low, or the budget too small?"
            )
        best, worst = order[0], order[-1]
        if means[best] == means[worst]:
            raise InputError(f"{axis.measure} is {means[best]:g} for every reference optimizer: it cannot be scored.")
        pairs[axis.measure] = Pair(means[worst], means[best], worst, best)
    return pairs
