"""Effect sizes: how much of a property's variance each factor and each pair of factors explains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.optimize import brentq
from scipy.stats import ncf

from leaderboard.analysis.statistics import Interval
from leaderboard.study.factors import crossed, varied


@dataclass(frozen=True)
class Effect:
    """One term of the analysis of variance: `factors` holds one name, or two for an interaction."""

    factors: tuple[str, ...]
    omega_squared: Interval
    degrees: int
    f: float
    p_value: float

    @property
    def term(self) -> str:
        """``depth`` or ``depth × width``."""
        return " × ".join(self.factors)


def noncentrality(f: float, df_effect: float, df_error: float, probability: float) -> float:
    """The noncentrality at which an F statistic as small as `f` has `probability`; 0 where none is as small."""

    def excess(value: float) -> float:
        return float(ncf.cdf(f, df_effect, df_error, value)) - probability

    if excess(0.0) <= 0:
        return 0.0
    high = 2 * df_effect * f + 10.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high))


def partial_omega_squared(f: float, df_effect: float, df_error: float, n: int, level: float = 0.95) -> Interval:
    """Partial omega squared with its interval from the noncentral F distribution.

    The estimate is Olejnik and Algina's (2003, Psychological Methods 8); the interval inverts the noncentral F
    distribution and turns noncentralities l into shares of variance l / (l + n) (Steiger 2004, Psychological Methods
    9). Negative estimates are kept: they say that the factor explains less than noise would.
    """
    estimate = df_effect * (f - 1) / (df_effect * (f - 1) + n)
    tail = (1 - level) / 2
    low, high = (noncentrality(f, df_effect, df_error, p) for p in (1 - tail, tail))
    return Interval(estimate, low / (low + n), high / (high + n))


def effects(frame: pd.DataFrame, response: str, factors: Sequence[str], block: str = "seed") -> list[Effect]:
    """Type II analysis of variance of `response`: all factors and their pairs, largest share first.

    StackedModels of one seed share data and initialisation, so `block` is taken out first. A factor with one level is left
    out, and so is an interaction of which a combination is missing (its lanes missed the stop).
    """
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    frame = frame.dropna(subset=[response])
    mains = varied(frame, factors)
    pairs = [pair for pair in itertools.combinations(mains, 2) if crossed(frame, pair)]
    terms = [(name,) for name in mains] + pairs
    # Plain column names: a factor may be called anything.
    columns = {name: f"f{number}" for number, name in enumerate(mains)}
    data = frame[mains].astype(str).rename(columns=columns).assign(y=frame[response].astype(float))
    formula = "y ~ " + " + ".join(":".join(f"C({columns[name]}, Sum)" for name in term) for term in terms)
    if block in frame and varied(frame, [block]):
        data = data.assign(block=frame[block].astype(str))
        formula += " + C(block)"
    table = sm.stats.anova_lm(smf.ols(formula, data).fit(), typ=2)
    df_error = float(table.loc["Residual", "df"])
    found = []
    for term in terms:
        row = table.loc[":".join(f"C({columns[name]}, Sum)" for name in term)]
        share = partial_omega_squared(float(row["F"]), float(row["df"]), df_error, len(data))
        found.append(Effect(term, share, int(row["df"]), float(row["F"]), float(row["PR(>F)"])))
    return sorted(found, key=lambda effect: -effect.omega_squared.value)
