"""Claims held against the study afterwards: how measures go with the test error, over all runs or one factor at a time.

They were written when the study's records were there already; the claims are older. An association is judged by its
bootstrap interval, over runs for Kendall's tau and over groups of matched runs for the granulated one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from leaderboard.analysis.statistics import Array, Interval
from leaderboard.analysis.verdicts import Comparison, verdict_of
from leaderboard.study.contrasts import Contrast
from leaderboard.study.frame import varied
from leaderboard.study.prediction import bootstrap, granulated, mean_of_means
from leaderboard.study.preregistered import RESPONSE
from suite.predictions import Basis, Claim

NEGLIGIBLE = 0.1
"""A rank correlation that is smaller than this in size is as good as none (a small effect by Cohen 1988)."""

JIANG = "Jiang et al. 2020, arXiv:1912.02178"
TEST_ERROR = "of the test error, not of the generalization gap, and at one depth and width of networks"
SMALL_NETWORKS = "observed on transformers and large networks"

SHARPNESS_PREDICTS = Claim(
    "sharpness-predicts",
    "Of runs that differ in one factor the sharper one makes more errors: granulated tau of sharpness is positive.",
    JIANG,
    Basis.OBSERVATION,
)
NORMS_MISLEAD = Claim(
    "norms-mislead",
    "Of runs that differ in one factor the one of larger norm makes fewer errors: granulated tau of norms is negative.",
    JIANG,
    Basis.OBSERVATION,
)
SHARPNESS_UNRELATED = Claim(
    "sharpness-unrelated",
    "Sharpness that rescaling does not move does not correlate well with the test error: tau is within 0.1 of nothing.",
    "Andriushchenko et al. 2023, arXiv:2302.07011",
    Basis.OBSERVATION,
    "abstract",
)
INVARIANT_BETTER = Claim(
    "invariant-predicts-better",
    "The largest eigenvalue made invariant to rescaling predicts the test error better than the raw one.",
    "Kwon et al. 2021, arXiv:2102.11600",
    Basis.OBSERVATION,
)
SGD_EIGENVALUE = Claim(
    "sgd-smaller-eigenvalue",
    "SGD ends at a smaller largest eigenvalue of the Hessian, raw, than Adam.",
    "Zhou et al. 2020, arXiv:2010.05627",
    Basis.OBSERVATION,
)

AFTERWARDS = (Contrast("SGD prefers small lambda_max", SGD_EIGENVALUE, "optimizer", "sgd", "adam", "lambda_max"),)
"""Contrasts that were not fixed before the runs: the ledger has them, marked, and the findings do not."""


@dataclass(frozen=True)
class Association:
    """How `measure` goes with the test error, and which values the claim admits: from `low` to `high`.

    Attributes:
        within: whether runs are compared that differ in one factor (granulated tau), not all with all (Kendall's tau).
        beyond: the measure whose granulated tau is subtracted; empty for none.
        unmet: what the claim asks for and the study does not give.
    """

    claim: Claim
    measure: str
    within: bool = True
    low: float = -math.inf
    high: float = math.inf
    beyond: str = ""
    unmet: str = ""

    @property
    def formula(self) -> str:
        """The association as a short formula."""
        name = "granulated tau" if self.within else "tau"
        left = f"{name} of {self.measure}" + (f" - that of {self.beyond}" if self.beyond else "")
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{self.low:g} ≤ {left} ≤ {self.high:g}"
        return f"{left} ≥ {self.low:g}" if math.isfinite(self.low) else f"{left} ≤ {self.high:g}"


ASSOCIATIONS = (
    *(
        Association(SHARPNESS_PREDICTS, measure, low=0.0, unmet=TEST_ERROR)
        for measure in ("adaptive_sharpness", "adaptive_lambda_max", "adaptive_trace", "lambda_max", "hessian_trace")
    ),
    *(
        Association(NORMS_MISLEAD, measure, high=0.0, unmet=TEST_ERROR)
        for measure in ("l2_norm", "distance_from_initialization")
    ),
    *(
        Association(SHARPNESS_UNRELATED, measure, within=False, low=-NEGLIGIBLE, high=NEGLIGIBLE, unmet=SMALL_NETWORKS)
        for measure in ("adaptive_sharpness", "adaptive_lambda_max")
    ),
    Association(INVARIANT_BETTER, "adaptive_lambda_max", low=0.0, beyond="lambda_max"),
)


def associate(
    frame: pd.DataFrame, association: Association, factors: Sequence[str], generator: np.random.Generator
) -> tuple[Interval, Comparison]:
    """The value of an association with its 95 % interval, and what it says of the claim.

    Of a `frame` of runs that reached the target loss; runs without one of the measures are left out.
    """
    names = [association.measure, RESPONSE, *filter(None, [association.beyond])]
    frame = frame.dropna(subset=names)
    factors = varied(frame, factors)
    if association.within:
        taus = granulated(frame, association.measure, RESPONSE, factors)
        if association.beyond:
            others = granulated(frame, association.beyond, RESPONSE, factors)
            taus = {name: values - others[name] for name, values in taus.items()}
        _, interval = mean_of_means({name: values for name, values in taus.items() if len(values)}, generator)
    else:

        def tau(pairs: Array) -> float:
            return float(kendalltau(pairs[:, 0], pairs[:, 1]).statistic)

        interval = bootstrap(tau, frame[names].to_numpy(dtype=float), generator)
    verdict = verdict_of(interval, association.low, association.high)
    return interval, Comparison(verdict, {"task": "factorial", "measure": association.measure})
