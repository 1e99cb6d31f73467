"""Associations on planted ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from leaderboard.analysis.verdicts import Verdict
from leaderboard.study.associations import ASSOCIATIONS, Association, associate
from suite.predictions import Claim

CLAIM = Claim("sharp-errs", "Sharper runs err more.", "Nobody 2025, arXiv:2501.00000")
FACTORS = ["optimizer", "depth"]


def _runs(slope: float, noise: float = 0.1) -> pd.DataFrame:
    """test_error = slope times sharp, which the factors move, and noise; blunt has nothing to do with it."""
    generator = np.random.default_rng(0)
    rows = [
        {"optimizer": optimizer, "depth": depth, "seed": seed, "sharp": optimizer + depth + generator.normal()}
        for optimizer, depth, seed in itertools.product((0, 1), (0, 2), range(40))
    ]
    frame = pd.DataFrame(rows)
    error = slope * frame["sharp"] + noise * generator.normal(size=len(frame))
    return frame.assign(test_error=error, blunt=generator.normal(size=len(frame)))


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, Verdict.HOLDS), (-1.0, Verdict.FAILS), (0.0, Verdict.UNDECIDED)])
def test_planted_associations(slope: float, verdict: Verdict) -> None:
    generator = np.random.default_rng(1)
    _, comparison = associate(_runs(slope), Association(CLAIM, "sharp", low=0.0), FACTORS, generator)
    assert comparison.verdict is verdict


def test_tau_is_scipys_and_is_held_against_both_bounds() -> None:
    frame, generator = _runs(1.0), np.random.default_rng(1)
    association = Association(CLAIM, "sharp", within=False, low=-0.1, high=0.1)
    interval, comparison = associate(frame, association, FACTORS, generator)
    assert interval.value == pytest.approx(kendalltau(frame["sharp"], frame["test_error"]).statistic)
    assert interval.low < interval.value < interval.high
    assert comparison.verdict is Verdict.FAILS
    assert association.formula == "-0.1 ≤ tau of sharp ≤ 0.1"


def test_one_measure_beyond_another() -> None:
    association = Association(CLAIM, "sharp", low=0.0, beyond="blunt")
    _, comparison = associate(_runs(1.0), association, FACTORS, np.random.default_rng(1))
    assert comparison.verdict is Verdict.HOLDS
    _, comparison = associate(
        _runs(1.0), Association(CLAIM, "blunt", low=0.0, beyond="sharp"), FACTORS, np.random.default_rng(1)
    )
    assert comparison.verdict is Verdict.FAILS


def test_every_association_says_something() -> None:
    for association in ASSOCIATIONS:
        assert math.isfinite(association.low) or math.isfinite(association.high)
        assert association.measure in association.formula
