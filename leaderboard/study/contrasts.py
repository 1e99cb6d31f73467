"""Claims held against the study: contrasts, whose rule was fixed here before any run.

A contrast compares two levels of one factor, everything else and the seed being equal. The mean difference is taken
over all matched pairs, and in every environment (a level of another factor) by itself.

Verdicts. *holds*: the overall interval excludes 0 on the claimed side, and no environment's does on the other.
*fails*: neither the overall interval nor any environment's excludes 0 on the claimed side. *depends on* a factor:
anything else; it is the factor whose levels differ most (the largest F of the difference over its levels).
Environments' intervals are widened for their number (Bonferroni), so that chance finds no exception at the 5 % level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f_oneway, t

from leaderboard.analysis.statistics import Interval
from leaderboard.analysis.verdicts import Comparison, Verdict
from leaderboard.study.frame import varied
from suite.predictions import Claim


@dataclass(frozen=True)
class Contrast:
    """What a claim says of a factor: `treatment` has less (or, with `more`, more) of `measure` than `control`.

    Attributes:
        name: a short heading.
        factor: what the runs of a pair differ in: one is at its level `treatment`, the other at `control`.
        log: compare logarithms: a difference of -0.7 is a half.
        more: the treatment is claimed to have more, not less.
        where: factor -> level, which the runs are restricted to.
    """

    name: str
    claim: Claim
    factor: str
    treatment: Any
    control: Any
    measure: str
    log: bool = True
    more: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a contrast; it may depend on the factor `depends_on`, and is not measured without pairs.

    `difference` is treatment minus control over all `pairs`, with a 95 % interval; `environments` has it for each.
    """

    contrast: Contrast
    verdict: Verdict
    difference: Interval
    pairs: int
    environments: dict[str, Interval]
    depends_on: str | None = None

    @property
    def in_words(self) -> str:
        """The verdict with the factor that it depends on."""
        return f"{self.verdict} {self.depends_on}" if self.depends_on else str(self.verdict)

    @property
    def comparison(self) -> Comparison:
        """What it says of the claim."""
        return Comparison(self.verdict, {"task": "factorial"}, depends_on=self.depends_on or "")


def matched(frame: pd.DataFrame, contrast: Contrast, factors: Sequence[str]) -> pd.DataFrame:
    """One row per matched pair: the other factors, the seed, and ``difference``, treatment minus control."""
    for name, level in contrast.where.items():
        frame = frame[frame[name] == level]
    fixed = [name for name in (*factors, "seed") if name != contrast.factor]
    sides = [
        frame[frame[contrast.factor] == level].dropna(subset=[contrast.measure])[[*fixed, contrast.measure]]
        for level in (contrast.treatment, contrast.control)
    ]
    pairs = sides[0].merge(sides[1], on=fixed, suffixes=("_treatment", "_control"))
    treatment, control = (pairs[f"{contrast.measure}_{side}"].astype(float) for side in ("treatment", "control"))
    if contrast.log:
        treatment, control = np.log(treatment.clip(lower=1e-30)), np.log(control.clip(lower=1e-30))
    return pairs[fixed].assign(difference=treatment - control)


def _mean(values: pd.Series, clusters: pd.Series, level: float) -> Interval:
    """The mean and its Student interval; a cluster (the seeds of one setting) counts once."""
    means = values.groupby(clusters).mean()
    centre, count = float(values.mean()), len(means)
    if count < 2:
        return Interval(centre, -math.inf, math.inf)
    half = float(t.ppf(0.5 + level / 2, count - 1)) * float(means.std(ddof=1)) / math.sqrt(count)
    return Interval(centre, centre - half, centre + half)


def judge(frame: pd.DataFrame, contrast: Contrast, factors: Sequence[str], level: float = 0.95) -> Outcome:
    """Test `contrast` on a frame of runs that reached the target loss, with intervals of confidence `level`."""
    pairs = matched(frame, contrast, factors)
    if not len(pairs):
        return Outcome(contrast, Verdict.NOT_MEASURED, Interval(math.nan, math.nan, math.nan), 0, {})
    others = varied(pairs, [name for name in factors if name != contrast.factor])
    setting = pairs[others].astype(str).agg(" ".join, axis=1) if others else pd.Series("all", index=pairs.index)
    overall = _mean(pairs["difference"], setting, level)
    count = sum(len(pairs[name].unique()) for name in others)
    environments = {
        f"{name} = {value}": _mean(group["difference"], setting[group.index], 1 - (1 - level) / count)
        for name in others
        for value, group in pairs.groupby(name, observed=True)
    }
    supported, *supporting = (_excludes_zero(each, contrast.more) for each in (overall, *environments.values()))
    contradicted = any(_excludes_zero(each, not contrast.more) for each in environments.values())
    factor = None
    if supported and not contradicted:
        verdict = Verdict.HOLDS
    elif not supported and not any(supporting):
        verdict = Verdict.FAILS
    else:
        verdict, factor = Verdict.DEPENDS, max(others, key=lambda name: _interaction(pairs, name))
    return Outcome(contrast, verdict, overall, len(pairs), environments, factor)


def _excludes_zero(interval: Interval, above: bool) -> bool:
    return interval.low > 0 if above else interval.high < 0


def _interaction(pairs: pd.DataFrame, factor: str) -> float:
    """The F statistic of the difference over the factor's levels."""
    groups = [group["difference"].to_numpy() for _, group in pairs.groupby(factor, observed=True)]
    usable = [group for group in groups if len(group) > 1]
    return float(f_oneway(*usable).statistic) if len(usable) > 1 else 0.0
