"""The rule that claims are judged by: pure functions of what was measured, fixed before it.

A comparison (one prediction for one submission on one task) is judged by Student's interval of its gaps, measured minus
predicted, over seeds: it *holds* if the interval lies in what is admitted, *fails* if it lies outside, and is
*undecided* otherwise. A claim rests on several comparisons:

    holds       every comparison holds           fails       every comparison fails
    depends on  one holds and another fails, with intervals widened for the number of comparisons (Bonferroni)
    undecided   anything else, with how many more seeds would decide if mean and spread stayed what they are

That all hold, or all fail, needs no wider intervals: it is said wrongly only if each of them errs (an
intersection-union test, Berger 1982, Technometrics 24). That some do and others do not is what chance alone brings
about, if there are enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.analysis.statistics import SIGNIFICANCE, Interval, critical_value

MOST_SEEDS = 10_000
"""No more seeds than this are asked for: a difference that takes them is none that matters."""


class Verdict(StrEnum):
    """What records say of a claim, or of a prediction."""

    HOLDS = "holds"
    FAILS = "fails"
    DEPENDS = "depends on"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


def verdict_of(interval: Interval, low: float, high: float) -> Verdict:
    """Whether an interval lies in what is admitted, from `low` to `high`, outside of it, or on the border."""
    if low <= interval.low and interval.high <= high:
        return Verdict.HOLDS
    if interval.high < low or high < interval.low:
        return Verdict.FAILS
    return Verdict.UNDECIDED


@dataclass(frozen=True)
class Gap:
    """Measured minus predicted, seed by seed, and which gaps are admitted.

    Attributes:
        mean, deviation: of the gaps; the standard deviation is the sample's, NaN for one seed.
        seeds: how many gaps there are.
        low, high: the least and the largest gap that is admitted; infinite where there is no bound.
    """

    mean: float
    deviation: float
    seeds: int
    low: float
    high: float

    @classmethod
    def of(cls, gaps: ArrayLike, low: float, high: float) -> Gap:
        """The gap of so many seeds' `gaps` [seeds]."""
        values = np.asarray(gaps, dtype=float)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), deviation, len(values), low, high)

    def half_width(self, seeds: int, significance: float = SIGNIFICANCE) -> float:
        """Half of Student's interval of the mean if these were so many seeds; NaN for one."""
        return float(critical_value(seeds - 1, significance)) * self.deviation / math.sqrt(seeds)

    def interval(self, significance: float = SIGNIFICANCE) -> Interval:
        """The mean gap with Student's interval over seeds, of confidence ``1 - significance``."""
        half = self.half_width(self.seeds, significance)
        return Interval(self.mean, self.mean - half, self.mean + half)

    def verdict(self, significance: float = SIGNIFICANCE) -> Verdict:
        """Whether the interval lies in what is admitted, outside, or on the border; one seed decides nothing."""
        return self._verdict(self.half_width(self.seeds, significance))

    def _verdict(self, half: float) -> Verdict:
        return verdict_of(Interval(self.mean, self.mean - half, self.mean + half), self.low, self.high)

    def more_seeds(self, significance: float = SIGNIFICANCE) -> int | None:
        """How many more seeds would decide, if mean and spread stayed what they are.

        None if the spread is unknown (one seed), or if more than `MOST_SEEDS` would not do.
        """

        def decided(seeds: int) -> bool:
            return self._verdict(self.half_width(seeds, significance)) is not Verdict.UNDECIDED

        if math.isnan(self.deviation) or not decided(MOST_SEEDS):
            return None
        few, enough = max(1, self.seeds - 1), MOST_SEEDS  # intervals only shrink as seeds come
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if decided(middle) else (middle, enough)
        return max(0, enough - self.seeds)


@dataclass(frozen=True)
class Comparison:
    """What one comparison says of a claim.

    Attributes:
        verdict: at 5 % by itself.
        levels: what it was made on, factor by factor (the task, the submission).
        gap: over seeds; None for a comparison that has a rule of its own.
        depends_on: the factor, of such a one.
    """

    verdict: Verdict
    levels: Mapping[str, str] = field(default_factory=dict)
    gap: Gap | None = None
    depends_on: str = ""

    def verdict_at(self, significance: float) -> Verdict:
        """The verdict with a wider interval, where it comes from one."""
        return self.verdict if self.gap is None else self.gap.verdict(significance)


@dataclass(frozen=True)
class Ruling:
    """The verdict on a claim, the factors that it depends on, and how many more seeds would decide (None: unknown)."""

    verdict: Verdict
    depends_on: tuple[str, ...] = ()
    more_seeds: int | None = None

    @property
    def outcome(self) -> str:
        """The verdict and what it depends on, without a number of seeds."""
        return f"{self.verdict} {' and '.join(self.depends_on)}" if self.depends_on else str(self.verdict)

    def __str__(self) -> str:
        if self.verdict is not Verdict.UNDECIDED:
            return self.outcome
        if self.more_seeds is None:
            return f"{self.verdict}: more seeds, unknown how many"
        return f"{self.verdict}: {self.more_seeds:,} more seed{'s' if self.more_seeds != 1 else ''}"


def rule(comparisons: Sequence[Comparison]) -> Ruling:
    """The verdict on the claim that `comparisons` test, by the rule above."""
    verdicts = {each.verdict for each in comparisons}
    if not verdicts:
        return Ruling(Verdict.NOT_MEASURED)
    if len(verdicts) == 1 and (verdict := verdicts.pop()) in (Verdict.HOLDS, Verdict.FAILS):
        return Ruling(verdict)
    stated = tuple(dict.fromkeys(each.depends_on for each in comparisons if each.depends_on))
    if stated:
        return Ruling(Verdict.DEPENDS, stated)
    widened = SIGNIFICANCE / len(comparisons)
    sides = [each.verdict_at(widened) for each in comparisons]
    if {Verdict.HOLDS, Verdict.FAILS} <= set(sides):
        return Ruling(Verdict.DEPENDS, _factors([each.levels for each in comparisons], sides))
    significance = SIGNIFICANCE if Verdict.UNDECIDED in verdicts else widened
    pending = [each for each in comparisons if each.verdict_at(significance) is Verdict.UNDECIDED]
    needed = [None if each.gap is None else each.gap.more_seeds(significance) for each in pending]
    known = [number for number in needed if number is not None]
    return Ruling(Verdict.UNDECIDED, (), max(known) if known and len(known) == len(needed) else None)


def _factors(levels: Sequence[Mapping[str, str]], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The first factor whose levels each have one verdict among those decided; all that vary if none is such."""
    names = [name for name in levels[0] if len({each.get(name) for each in levels}) > 1]
    for name in names:
        sides: dict[str | None, set[Verdict]] = {}
        for each, verdict in zip(levels, verdicts, strict=True):
            sides.setdefault(each.get(name), set()).add(verdict)
        if all(not {Verdict.HOLDS, Verdict.FAILS} <= found for found in sides.values()):
            return (name,)
    return tuple(names) or ("the measure",)
