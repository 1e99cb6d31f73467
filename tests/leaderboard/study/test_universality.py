"""Concordance by hand, by Friedman's test, and under chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare

from leaderboard.study.universality import kendalls_w, universality


def test_w_is_friedmans_statistic_over_its_largest_value() -> None:
    generator = np.random.default_rng(0)
    for values in (generator.normal(size=(6, 5)), generator.integers(0, 3, size=(6, 5)).astype(float)):
        chi = friedmanchisquare(*values.T).statistic
        assert kendalls_w(values) == pytest.approx(chi / (6 * (5 - 1)))


def test_one_ranking_and_opposite_rankings() -> None:
    row = np.arange(5.0)
    assert kendalls_w(np.stack([row, row, row])) == pytest.approx(1)
    assert kendalls_w(np.stack([row, row[::-1]])) == pytest.approx(0)
    assert np.isnan(kendalls_w(np.ones((3, 4))))


def test_chance_is_not_universal() -> None:
    generator = np.random.default_rng(1)
    rejected = 0
    for _ in range(60):
        scores = pd.DataFrame(generator.normal(size=(5, 6)))
        rejected += universality(scores, generator, permutations=200).p_value < 0.05
    assert rejected <= 9  # 3 expected; more than 9 has a probability below 1e-3


def test_a_common_ranking_is_found_and_predicts_the_held_out_task() -> None:
    generator = np.random.default_rng(2)
    scores = pd.DataFrame(np.arange(8.0) + generator.normal(scale=0.5, size=(6, 8)), index=[f"t{i}" for i in range(6)])
    result = universality(scores, generator)
    assert result.p_value < 0.01
    assert result.w > 0.8
    assert result.predicted.low > 0.7
    assert set(result.held_out) == set(scores.index)


def test_too_few() -> None:
    with pytest.raises(ValueError, match="two tasks and three submissions"):
        universality(pd.DataFrame(np.ones((1, 4))), np.random.default_rng(0))
