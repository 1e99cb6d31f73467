"""Which measure predicts generalization? Rank correlations that a confounder cannot fake.

A measure may correlate with generalization only because both follow one factor. Granulated correlation and conditional
mutual information (Jiang et al. 2020, arXiv:1912.02178) and sign-errors per environment (Dziugaite et al. 2020,
arXiv:2010.11924) compare runs that differ in one factor, or given the factors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from leaderboard.analysis.statistics import Array, Interval
from leaderboard.study.frame import varied

RESAMPLES = 400
"""Bootstrap draws of an interval."""

INFORMATION_RESAMPLES = 20
"""The same for conditional mutual information, which takes seconds each time."""

INFORMATION_RUNS = 400
"""Conditional mutual information looks at all pairs of runs: more runs than this are thinned out at random."""


@dataclass(frozen=True)
class Prediction:
    """How well `measure` predicts the response.

    Attributes:
        tau: Kendall's rank correlation over all runs, in [-1, 1].
        granulated: the mean of `by_factor`.
        by_factor: factor -> the rank correlation between runs that differ in this factor alone, in [-1, 1].
        information: normalised conditional mutual information, in [0, 1].
        sign_error: the mean sign-error over environments, in [0, 1].
        worst_sign_error: the largest of them.
        worst: the environment of the largest: a factor and two of its levels.
    """

    measure: str
    tau: Interval
    granulated: Interval
    by_factor: dict[str, float]
    information: Interval
    sign_error: Interval
    worst_sign_error: float
    worst: str


def bootstrap(
    estimate: Callable[[Array], float], values: Array, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """An estimate over rows, with its interval over draws of rows."""
    draws = [estimate(values[generator.integers(len(values), size=len(values))]) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(estimate(values), float(low), float(high))


def _matched(
    frame: pd.DataFrame, measure: str, response: str, factor: str, factors: Sequence[str]
) -> Iterator[tuple[str, Array, Array]]:
    """For every two levels of `factor`, over groups of runs that share the seed and every other factor.

    Yields the levels' names, the product [groups] of the signs of both differences between them, and the response's
    absolute difference [groups]; NaN where a run is missing.
    """
    fixed = [name for name in (*factors, "seed") if name != factor]
    wide = frame.pivot_table(index=fixed, columns=factor, values=[measure, response])
    for a, b in itertools.combinations(wide[response].columns, 2):
        measured, responses = (
            wide[name, a].to_numpy(float) - wide[name, b].to_numpy(float) for name in (measure, response)
        )
        yield f"{a} or {b}", np.sign(measured) * np.sign(responses), np.abs(responses)


def granulated(frame: pd.DataFrame, measure: str, response: str, factors: Sequence[str]) -> dict[str, Array]:
    """Rank correlation between runs that differ in one factor alone.

    Factor -> Kendall's tau [groups] within each group of matched runs: the mean product of the signs of the
    differences over all pairs of the group, as Jiang et al. define it.
    """
    taus = {}
    for factor in factors:
        matched = _matched(frame, measure, response, factor, factors)
        agreements = np.stack([agreement for _, agreement, _ in matched], axis=1)
        taus[factor] = np.nanmean(agreements[~np.isnan(agreements).all(axis=1)], axis=1)
    return taus


def conditional_information(frame: pd.DataFrame, measure: str, response: str, factors: Sequence[str]) -> float:
    """Normalised conditional mutual information of the signs of differences, least over sets of up to two factors.

    Over pairs of runs: I(sign of the measure's difference; sign of the response's | the factors' levels of both runs),
    divided by the conditional entropy of the response's sign. In [0, 1]: with 1 the measure decides the order whatever
    is known; with 0 it adds nothing to some two factors.
    """
    measured, responses = frame[measure].to_numpy(), frame[response].to_numpy()
    first, second = np.triu_indices(len(frame), 1)
    measure_up, response_up = measured[first] > measured[second], responses[first] > responses[second]
    clear = (measured[first] != measured[second]) & (responses[first] != responses[second])
    pairs = {}
    for name in factors:  # the levels of both runs as one number, and how many numbers there are
        codes = frame[name].astype("category").cat.codes.to_numpy().astype(np.int64)
        levels = int(codes.max()) + 1
        pairs[name] = (codes[first] * levels + codes[second])[clear], levels**2
    measure_up, response_up = measure_up[clear], response_up[clear]
    minimum = math.inf
    for size in range(3):
        for condition in itertools.combinations(factors, size):
            cell = np.zeros(len(measure_up), dtype=np.int64)
            for name in condition:
                of_pair, count = pairs[name]
                cell = cell * count + of_pair
            minimum = min(minimum, _normalised_information(cell, measure_up, response_up))
    return minimum


def _normalised_information(
    cell: NDArray[np.int64], measure_up: NDArray[np.bool_], response_up: NDArray[np.bool_]
) -> float:
    """I(measure; response | cell) / H(response | cell) of signs; `cell` numbers the levels of the condition."""
    size = 4 * (int(cell.max(initial=0)) + 1)
    counts = np.bincount(4 * cell + 2 * measure_up + response_up, minlength=size).reshape(-1, 2, 2)
    joint = counts / counts.sum()

    def entropy(p: Array) -> float:
        positive = p[p > 0]
        return float(-(positive * np.log(positive)).sum())

    of_cell = entropy(joint.sum(axis=(1, 2)))
    of_response, of_measure = entropy(joint.sum(axis=1)) - of_cell, entropy(joint.sum(axis=2)) - of_cell
    of_both = entropy(joint) - of_cell
    return (of_response + of_measure - of_both) / of_response if of_response > 0 else 0.0


def sign_errors(
    frame: pd.DataFrame, measure: str, response: str, factors: Sequence[str], noise: float = 0.0
) -> dict[str, Array]:
    """How often the measure orders two runs wrongly, environment by environment.

    An environment is a factor and two of its levels: pairs that differ in nothing else, the seed included. Pairs whose
    responses differ by no more than `noise` say nothing and are left out. Environment -> sign-errors [pairs]: 0, 1, or
    a half where the measure ties.
    """
    errors = {}
    for factor in factors:
        for levels, agreement, gap in _matched(frame, measure, response, factor, factors):
            clear = ~np.isnan(agreement) & (gap > noise)
            if clear.any():
                errors[f"{factor}: {levels}"] = (1 - agreement[clear]) / 2
    return errors


def predict(
    frame: pd.DataFrame,
    measure: str,
    response: str,
    factors: Sequence[str],
    generator: np.random.Generator,
    noise: float = 0.0,
) -> Prediction:
    """How well `measure` predicts `response` (larger with larger); runs without one of the two are left out.

    Intervals are 95 % bootstrap intervals: over runs for tau and information, over groups of matched runs for the
    granulated correlation, over environments' pairs for the sign-error (`noise`: see `sign_errors`).
    """
    frame = frame.dropna(subset=[measure, response])
    factors = varied(frame, factors)
    pairs = frame[[measure, response]].to_numpy(dtype=float)
    taus = {name: values for name, values in granulated(frame, measure, response, factors).items() if len(values)}
    by_factor, granulated_tau = mean_of_means(taus, generator)
    rates, sign_error = mean_of_means(sign_errors(frame, measure, response, factors, noise), generator)
    thinned = frame.sample(INFORMATION_RUNS, random_state=generator) if len(frame) > INFORMATION_RUNS else frame

    def tau(pairs: Array) -> float:
        return float(kendalltau(pairs[:, 0], pairs[:, 1]).statistic)

    def information(rows: Array) -> float:
        return conditional_information(thinned.iloc[rows.astype(int)], measure, response, factors)

    worst = max(rates, key=rates.__getitem__)
    return Prediction(
        measure=measure,
        tau=bootstrap(tau, pairs, generator),
        granulated=granulated_tau,
        by_factor=by_factor,
        information=bootstrap(information, np.arange(float(len(thinned))), generator, INFORMATION_RESAMPLES),
        sign_error=sign_error,
        worst_sign_error=rates[worst],
        worst=worst,
    )


def mean_of_means(groups: Mapping[str, Array], generator: np.random.Generator) -> tuple[dict[str, float], Interval]:
    """The mean of each group, and the mean of these means with its interval over draws within groups."""
    means = {name: float(values.mean()) for name, values in groups.items()}
    draws = [
        np.mean([generator.choice(values, len(values)).mean() for values in groups.values()]) for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return means, Interval(float(np.mean(list(means.values()))), float(low), float(high))
