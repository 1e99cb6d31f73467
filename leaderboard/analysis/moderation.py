"""Variances from few runs, moderated by what others of the same task show (Smyth 2004, doi:10.2202/1544-6115.1027).

    each variance s2 with d degrees of freedom estimates its own sigma2, and 1 / sigma2 is a scaled chi-square:
        s2 / sigma2 ~ chi2(d) / d          1 / sigma2 ~ chi2(d0) / (d0 s0_2)
    fit d0 and s0_2 to the mean and the variance of all log s2, whose moments are digamma and trigamma functions
    moderated s2 = (d0 s0_2 + d s2) / (d0 + d), with d0 + d degrees of freedom

With three seeds a variance has two degrees of freedom, and whether two submissions differ is decided by the luck of
their scatter. What scatter is usual on a task is known from all of its submissions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, polygamma

from leaderboard.analysis.statistics import Array

SMALLEST = 1e-5
"""Variances below this share of the median count as that much, so that rounding decides no prior (as limma)."""


@dataclass(frozen=True)
class VariancePrior:
    """What is known of a variance before its runs are seen: `variance` with `freedom` degrees of freedom.

    No freedom: nothing is known. Infinite freedom: all variances are equal.
    """

    variance: float
    freedom: float

    def moderated(self, variances: ArrayLike, freedom: ArrayLike) -> tuple[Array, Array]:
        """Posterior variances and their degrees of freedom, elementwise.

        Args:
            variances: sample variances; NaN where there are no degrees of freedom.
            freedom: their degrees of freedom, at least 0.

        Returns:
            Both of the arguments' common shape. Without a prior they are the arguments, NaN stays NaN; with one, a
            variance without degrees of freedom is the prior's.
        """
        variances, freedom = np.broadcast_arrays(np.asarray(variances, float), np.asarray(freedom, float))
        if not self.freedom:
            return variances.copy(), freedom.copy()
        known = np.where(freedom > 0, variances, 0.0)
        share = 1.0 if math.isinf(self.freedom) else self.freedom / (self.freedom + freedom)
        return share * self.variance + (1 - share) * known, self.freedom + freedom


def fit_prior(variances: ArrayLike, freedom: ArrayLike) -> VariancePrior:
    """The prior of sample variances by the method of moments of their logarithms (Smyth 2004, section 6.2).

    Args:
        variances: sample variances >= 0, of any shape. Those of exactly 0 say of two submissions that they answer
            alike, not how runs scatter, and are left out, as are NaN.
        freedom: their degrees of freedom, broadcast to them; those without any are left out.

    Returns:
        A prior without freedom where fewer than two variances are left.
    """
    variances, freedom = np.broadcast_arrays(np.asarray(variances, float), np.asarray(freedom, float))
    used = (variances > 0) & (freedom > 0)
    if used.sum() < 2:
        return VariancePrior(math.nan, 0.0)
    d, s2 = freedom[used], variances[used]
    logs = np.log(np.maximum(s2, SMALLEST * np.median(s2))) - digamma(d / 2) + np.log(d / 2)
    mean, excess = logs.mean(), logs.var(ddof=1) - polygamma(1, d / 2).mean()
    if excess <= 0:
        return VariancePrior(float(np.exp(mean)), math.inf)
    half = trigamma_inverse(float(excess))
    return VariancePrior(float(np.exp(mean + digamma(half) - np.log(half))), 2 * half)


def trigamma_inverse(value: float) -> float:
    """The x > 0 whose trigamma function is `value` > 0, by Newton's method (Smyth 2004, appendix)."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        # A step on 1 / trigamma, which is nearly linear and convex: it converges from this start without overshooting.
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-12 * x:
            break
    return x
