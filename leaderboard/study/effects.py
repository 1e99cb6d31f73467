"""Effect sizes: how much of a property's variance each factor and each pair of factors explains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.optimize import brentq
from scipy.stats import ncf

from leaderboard.analysis.statistics import Interval
from leaderboard.study.frame import crossed, varied


@dataclass(frozen=True)
class Effect:
    """One term of the analysis of variance: a factor, or two for an interaction.

    `omega_squared` is partial: the variance of the term over that of the term and the noise together.
    """

    factors: tuple[str, ...]
    omega_squared: Interval
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
    9). Negative estimates are kept: they say that the factor explains less than noise would. `n` is the number of runs.
    """
    estimate = df_effect * (f - 1) / (df_effect * (f - 1) + n)
    tail = (1 - level) / 2
    low, high = (noncentrality(f, df_effect, df_error, p) for p in (1 - tail, tail))
    return Interval(estimate, low / (low + n), high / (high + n))


def effects(frame: pd.DataFrame, response: str, factors: Sequence[str]) -> list[Effect]:
    """Type II analysis of variance of `response`: all factors and their pairs.

    A factor with one level is left out, and so is an interaction of which a combination is missing (its runs missed
    the target loss), and a run without `response`. Seeds are blocks and taken out first: runs of one seed share data
    and initialization. The largest share comes first.
    """
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    frame = frame.dropna(subset=[response])
    mains = varied(frame, factors)
    pairs = [pair for pair in itertools.combinations(mains, 2) if crossed(frame, pair)]
    # Plain column names: a factor may be called anything.
    columns = {name: f"C(f{number}, Sum)" for number, name in enumerate(mains)}
    terms = {term: ":".join(columns[name] for name in term) for term in [*((name,) for name in mains), *pairs]}
    data = frame[mains].astype(str).set_axis([f"f{number}" for number in range(len(mains))], axis=1)
    data = data.assign(y=frame[response].astype(float))
    formula = f"y ~ {' + '.join(terms.values())}"
    if varied(frame, ["seed"]):
        data = data.assign(block=frame["seed"].astype(str))
        formula += " + C(block)"
    table = sm.stats.anova_lm(smf.ols(formula, data).fit(), typ=2)
    df_error = float(table.loc["Residual", "df"])
    explained = []
    for term, label in terms.items():
        f, df, p_value = (float(table.loc[label, column]) for column in ("F", "df", "PR(>F)"))
        explained.append(Effect(term, partial_omega_squared(f, df, df_error, len(data)), p_value))
    return sorted(explained, key=lambda effect: -effect.omega_squared.value)
