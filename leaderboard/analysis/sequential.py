"""Seeds are added until every task is decided, and the looks in between cost their share of the error.

    looks      4, 8, 16, ... seeds, up to a largest number
    level      of the look at n of N seeds: s(n / N) - s(of the look before), where s spends 5 % in all:
               s(t) = 5 % ln(1 + (e - 1) t)   (Lan and DeMets 1983, Biometrika 70, their function after Pocock 1977:
               what is plain is found in the first look)
    decided    a task with a regression, and one whose intervals all exclude a loss of the smallest difference

The levels add up to 5 %, so that by the union bound alarms of equals over all looks together stay below it, whatever
their dependence. Tasks that are decided get no further seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leaderboard.analysis.comparison import Comparison, Difference, Quantity, Verdict
from leaderboard.analysis.statistics import SIGNIFICANCE, Array

FIRST, MOST = 4, 32
"""Seeds at the first look, and at the last unless it is said otherwise."""

SMALLEST = 0.1
"""The smallest difference that matters: a share of a measure's distance from score_0 to score_1."""

Compare = Callable[[int, float, Sequence[str] | None], Comparison]
"""A comparison with so many seeds, at a level; further seeds are for the tasks that are named, or for all of them."""


def looks(most: int = MOST) -> list[int]:
    """The numbers of seeds at which results are looked at."""
    counts = [FIRST]
    while counts[-1] * 2 < most:
        counts.append(counts[-1] * 2)
    return [count for count in counts if count < most] + [most]


def levels(counts: Sequence[int], level: float = SIGNIFICANCE) -> Array:
    """What each look may spend of `level`."""
    share = np.asarray(counts, dtype=float) / counts[-1]
    return np.diff(level * np.log1p((math.e - 1) * share), prepend=0.0)


def undecided(comparison: Comparison, smallest: float = SMALLEST) -> dict[str, list[str]]:
    """Submission -> the tasks of which it is not known whether they lost `smallest` or more."""
    found: dict[str, list[str]] = {}
    for name in comparison.compared:
        differences = [one for one in comparison.differences if one.submission == name and one.task]
        for task in dict.fromkeys(one.task for one in differences):
            own = [one for one in differences if one.task == task]
            if any(one.verdict == Verdict.REGRESSION for one in own):
                continue
            measures = [one for one in own if one.quantity in (Quantity.MEASURE, Quantity.SCORE)]
            if task in comparison.blind.get(name, []) or not all(_excludes(one, smallest) for one in measures):
                found.setdefault(name, []).append(task)
    return found


def _excludes(difference: Difference, smallest: float) -> bool:
    """Whether the interval excludes a loss of `smallest`."""
    return math.isfinite(difference.difference.low) and difference.difference.low > -smallest


@dataclass(frozen=True)
class Decision:
    """How it ended: the last comparison with all regressions of any look, the seeds, and what stayed undecided."""

    comparison: Comparison
    seeds: int
    undecided: dict[str, list[str]]


def sequential(
    compare: Compare,
    counts: Sequence[int],
    smallest: float = SMALLEST,
    spent: Callable[[], bool] = lambda: False,
) -> Decision:
    """Add seeds until every task is decided, the seeds are used up, or `spent` says that the budget is.

    Args:
        compare: makes the comparison of a look.
        counts: the numbers of seeds, rising.
        smallest: the smallest difference that matters.
        spent: asked after every look.
    """
    found: dict[tuple[str, str, str, Quantity], Difference] = {}
    tasks: list[str] | None = None
    for count, level in zip(counts, levels(counts), strict=True):
        comparison = compare(count, float(level), tasks)
        found |= {(d.submission, d.task, d.axis, d.quantity): d for d in comparison.regressions}
        left = undecided(comparison, smallest)
        regressed = {(one.submission, one.task) for one in found.values()}
        left = {name: [t for t in own if (name, t) not in regressed] for name, own in left.items()}
        tasks = sorted({task for own in left.values() for task in own})
        if not tasks or spent():
            break
    kept = [found.get((d.submission, d.task, d.axis, d.quantity), d) for d in comparison.differences]
    return Decision(replace(comparison, differences=kept), count, {name: own for name, own in left.items() if own})
