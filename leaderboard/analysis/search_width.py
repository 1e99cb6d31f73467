"""How wide a submission searched: constants that were tuned beforehand were tuned outside of the budget.

A record has the settings that were tried, not the space that they are drawn from. But of the points of a search the
first k, the largest power of two, are one in each of k equal parts of the range (on the logarithmic scale, for whatever
is drawn so): their extremes are at least (k - 2) / k of the range apart, whatever was drawn.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from suite.storage.record import Record, search_of

NARROW = 1.0
"""A range of fewer decades is narrow: those of built-in optimizers have two."""

FIXED, NARROWLY = "settings fixed beforehand", "less than a decade searched"


def unsearched(records: Iterable[Record]) -> dict[str, str]:
    """Submission -> how it avoids the search, of those that searched no hyper-parameter over a decade on any task."""
    settings: defaultdict[tuple[str, str], dict[tuple[int, int], Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        settings[record["submission"], record["task"]][search_of(record), record["trial"]] = record["hyperparameters"]
    widths: defaultdict[str, list[float]] = defaultdict(list)
    for (name, _), trials in settings.items():
        size = max(Counter(search for search, _ in trials).values())
        widths[name] += _decades(trials.values(), size)
    return {name: NARROWLY if found else FIXED for name, found in widths.items() if max(found, default=0.0) < NARROW}


def _decades(trials: Collection[Mapping[str, Any]], size: int) -> list[float]:
    """The most decades that the range of each hyper-parameter that varies can have, by searches of so many points.

    0 where one takes words, zeros or negative numbers; infinite where there are fewer than four points.
    """
    parts = 2 ** int(math.log2(size))
    found = []
    for name in {name for trial in trials for name in trial}:
        values = [trial.get(name) for trial in trials]
        if any(value != values[0] for value in values):
            numbers = [value for value in values if isinstance(value, int | float) and value > 0]
            span = math.log10(max(numbers) / min(numbers)) if len(numbers) == len(values) else 0.0
            found.append(span * parts / (parts - 2) if parts >= 4 else math.inf)
    return found
