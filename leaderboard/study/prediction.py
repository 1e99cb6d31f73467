"""Which measure foretells generalization? Rank correlations that a confounder cannot fake.

A measure may correlate with generalization only because both follow one factor. Granulated correlation and conditional
mutual information (Jiang et al. 2020, arXiv:1912.02178) and sign-errors per environment (Dziugaite et al. 2020,
arXiv:2010.11924) compare runs that differ in one factor, or given the factors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from leaderboard.analysis.statistics import Interval
from leaderboard.study.factors import varied

Array = NDArray[np.float64]


RESAMPLES = 400


MOST_RUNS = 400
"""Conditional mutual information looks at all pairs of runs: more runs than this are thinned out at random."""


@dataclass(frozen=True)
class Prediction:
    """How `measure` foretells the target. Correlations in [-1, 1], `information` in [0, 1], sign-errors in [0, 1].

    `by_factor` is the granulated correlation of each factor, `granulated` their mean. `sign_error` is the mean over
    environments, `worst_sign_error` the largest one, of the environment `worst` (a factor and two of its levels).
    """

    measure: str
    tau: Interval
    granulated: Interval
    by_factor: dict[str, float]
    information: Interval
    sign_error: Interval
    worst_sign_error: float
    worst: str


def _bootstrap(
    estimate: Callable[[Array], float], values: Array, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    draws = [estimate(values[generator.integers(len(values), size=len(values))]) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(estimate(values), float(low), float(high))


def _tau(pairs: Array) -> float:
    return float(kendalltau(pairs[:, 0], pairs[:, 1]).statistic)


@dataclass(frozen=True)
class Matched:
    """Runs that differ in `factor` alone: measured values and goals [groups, levels], NaN where a run is missing."""

    factor: str
    levels: tuple[object, ...]
    measured: Array
    goals: Array

    def agreement(self, a: int, b: int) -> Array:
        """Per group, the product of the signs of both differences between the levels a and b; NaN without a run."""
        return np.sign(self.measured[:, a] - self.measured[:, b]) * np.sign(self.goals[:, a] - self.goals[:, b])

    def pairs(self) -> Iterator[tuple[int, int]]:
        """All pairs of levels."""
        return itertools.combinations(range(len(self.levels)), 2)


def matched_runs(frame: pd.DataFrame, measure: str, target: str, factor: str, factors: Sequence[str]) -> Matched:
    """The runs of `frame` side by side that share every factor but `factor`, and the seed."""
    fixed = [name for name in (*factors, "seed") if name != factor]
    wide = frame.pivot_table(index=fixed, columns=factor, values=[measure, target])
    return Matched(
        factor,
        tuple(wide[target].columns),
        wide[measure].to_numpy(dtype=float),
        wide[target].to_numpy(dtype=float),
    )


def granulated(frame: pd.DataFrame, measure: str, target: str, factors: Sequence[str]) -> dict[str, Array]:
    """Factor -> Kendall's tau within each group of runs that differ in this factor alone.

    The mean product of the signs of the differences over all pairs of a group, as Jiang et al. define it.
    """
    found = {}
    for factor in factors:
        runs = matched_runs(frame, measure, target, factor, factors)
        stacked = np.stack([runs.agreement(a, b) for a, b in runs.pairs()], axis=1)
        found[factor] = np.nanmean(stacked[~np.isnan(stacked).all(axis=1)], axis=1)
    return found


def conditional_information(frame: pd.DataFrame, measure: str, target: str, factors: Sequence[str]) -> float:
    """Normalised conditional mutual information of the signs of differences, least over sets of up to two factors.

    Over pairs of runs: I(sign of the measure's difference; sign of the target's | the factors' values of both runs),
    over the conditional entropy of the latter. 1: the measure decides the order whatever is known; 0: knowing some two
    factors, the measure adds nothing.
    """
    values, goals = frame[measure].to_numpy(), frame[target].to_numpy()
    first, second = np.triu_indices(len(frame), 1)
    up, goal = values[first] > values[second], goals[first] > goals[second]
    clear = (values[first] != values[second]) & (goals[first] != goals[second])
    codes = {name: frame[name].astype("category").cat.codes.to_numpy().astype(np.int64) for name in factors}
    least = math.inf
    for size in range(3):
        for chosen in itertools.combinations(factors, size):
            cell = np.zeros(len(first), dtype=np.int64)
            for name in chosen:
                levels = int(codes[name].max()) + 1
                cell = (cell * levels + codes[name][first]) * levels + codes[name][second]
            least = min(least, _normalised_information(cell[clear], up[clear], goal[clear]))
    return least


def _normalised_information(cell: NDArray[np.int64], up: NDArray[np.bool_], goal: NDArray[np.bool_]) -> float:
    counts = np.bincount(4 * cell + 2 * up + goal, minlength=4 * (int(cell.max(initial=0)) + 1)).reshape(-1, 2, 2)
    joint = counts / counts.sum()

    def entropy(p: Array) -> float:
        positive = p[p > 0]
        return float(-(positive * np.log(positive)).sum())

    given = entropy(joint.sum(axis=(1, 2)))
    of_goal, of_up = entropy(joint.sum(axis=1)) - given, entropy(joint.sum(axis=2)) - given
    both = entropy(joint) - given
    return (of_goal + of_up - both) / of_goal if of_goal > 0 else 0.0


def sign_errors(
    frame: pd.DataFrame, measure: str, target: str, factors: Sequence[str], noise: float = 0.0
) -> dict[str, Array]:
    """Environment -> sign-errors (0, 1, or a half for a tie of the measure) of its pairs of runs.

    An environment is a factor and two of its levels: pairs that differ in nothing else, the seed included. Pairs whose
    targets differ by no more than `noise` say nothing and are left out.
    """
    found = {}
    for factor in factors:
        runs = matched_runs(frame, measure, target, factor, factors)
        for a, b in runs.pairs():
            signs = runs.agreement(a, b)
            clear = ~np.isnan(signs) & (np.abs(runs.goals[:, a] - runs.goals[:, b]) > noise)
            if clear.any():
                found[f"{factor}: {runs.levels[a]} or {runs.levels[b]}"] = (1 - signs[clear]) / 2
    return found


def predict(
    frame: pd.DataFrame,
    measure: str,
    target: str,
    factors: Sequence[str],
    generator: np.random.Generator,
    noise: float = 0.0,
) -> Prediction:
    """How well `measure` foretells `target` (larger with larger) over the runs of `frame` that have both.

    Intervals are 95 % bootstrap intervals: over runs for tau and information, over groups of matched runs for the
    granulated correlation, over environments' pairs for the sign-error.
    """
    frame = frame.dropna(subset=[measure, target])
    among = varied(frame, factors)
    pairs = frame[[measure, target]].to_numpy(dtype=float)
    groups = {name: taus for name, taus in granulated(frame, measure, target, among).items() if len(taus)}
    means = [np.mean([generator.choice(taus, len(taus)).mean() for taus in groups.values()]) for _ in range(RESAMPLES)]
    by_factor = {name: float(taus.mean()) for name, taus in groups.items()}
    errors = sign_errors(frame, measure, target, among, noise)
    rates = {name: float(values.mean()) for name, values in errors.items()}
    drawn = [
        np.mean([generator.choice(values, len(values)).mean() for values in errors.values()]) for _ in range(RESAMPLES)
    ]
    thinned = frame.sample(MOST_RUNS, random_state=generator) if len(frame) > MOST_RUNS else frame

    def information(rows: Array) -> float:
        return conditional_information(thinned.iloc[rows.astype(int)], measure, target, among)

    worst = max(rates, key=rates.__getitem__)
    return Prediction(
        measure=measure,
        tau=_bootstrap(_tau, pairs, generator),
        granulated=_spread(float(np.mean(list(by_factor.values()))), means),
        by_factor=by_factor,
        information=_bootstrap(information, np.arange(float(len(thinned))), generator, resamples=20),
        sign_error=_spread(float(np.mean(list(rates.values()))), drawn),
        worst_sign_error=rates[worst],
        worst=worst,
    )


def _spread(value: float, draws: Sequence[np.floating]) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, float(low), float(high))
