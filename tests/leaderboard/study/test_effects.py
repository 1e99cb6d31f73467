"""Effect sizes: known effects are recovered, none is found where there is none."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from leaderboard.study.effects import effects, noncentrality, partial_omega_squared

LEVELS = {"optimizer": ["sgd", "adam", "muon"], "depth": [1, 3], "batch": [16, 256]}
SHIFTS = {"optimizer": [-1.0, 0.0, 1.0], "depth": [-0.5, 0.5]}


def design(generator: np.random.Generator, seeds: int = 6, effect: float = 1.0) -> pd.DataFrame:
    """A full factorial frame: y = optimizer + depth + optimizer × depth + seed + N(0, 1); batch does nothing."""
    rows = []
    shift = generator.normal(size=seeds)
    for (o, d, b), seed in itertools.product(itertools.product(range(3), range(2), range(2)), range(seeds)):
        y = SHIFTS["optimizer"][o] + SHIFTS["depth"][d] + 0.5 * (o - 1) * (2 * d - 1)
        rows.append(
            {
                "optimizer": LEVELS["optimizer"][o],
                "depth": LEVELS["depth"][d],
                "batch": LEVELS["batch"][b],
                "seed": seed,
                "y": effect * y + shift[seed] + generator.normal(),
            }
        )
    return pd.DataFrame(rows)


TRUE = {  # population partial omega squared: variance of the term over itself plus the noise's 1
    "optimizer": (2 / 3) / (2 / 3 + 1),
    "depth": 0.25 / (0.25 + 1),
    "optimizer × depth": (0.25 * 2 / 3) / (0.25 * 2 / 3 + 1),
    "batch": 0.0,
    "optimizer × batch": 0.0,
    "depth × batch": 0.0,
}


def test_known_effects_lie_in_their_intervals_and_none_is_invented() -> None:
    generator = np.random.default_rng(0)
    inside = dict.fromkeys(TRUE, 0)
    significant = dict.fromkeys(TRUE, 0)
    runs = 60
    for _ in range(runs):
        for effect in effects(design(generator), "y", list(LEVELS)):
            interval = effect.omega_squared
            inside[effect.term] += interval.low <= TRUE[effect.term] <= interval.high
            significant[effect.term] += effect.p_value < 0.05
    # 95 % of 60 is 57; fewer than 51 has a probability below 1e-3.
    assert all(count >= 51 for count in inside.values()), inside
    assert all(significant[term] <= 9 for term, share in TRUE.items() if not share), significant
    assert significant["optimizer"] == runs


def test_largest_share_first_and_one_level_factors_left_out() -> None:
    frame = design(np.random.default_rng(1)).assign(width=64)
    terms = effects(frame, "y", [*LEVELS, "width"])
    assert terms[0].term == "optimizer"
    assert not any("width" in effect.term for effect in terms)
    shares = [effect.omega_squared.value for effect in terms]
    assert shares == sorted(shares, reverse=True)


def test_an_interaction_with_a_missing_combination_is_left_out() -> None:
    frame = design(np.random.default_rng(2))
    frame = frame[~((frame["optimizer"] == "adam") & (frame["depth"] == 3))]
    terms = {effect.term for effect in effects(frame, "y", list(LEVELS))}
    assert "optimizer × depth" not in terms
    assert {"optimizer", "depth", "optimizer × batch"} <= terms


def test_names_of_factors_may_be_anything() -> None:
    frame = design(np.random.default_rng(3)).rename(columns={"batch": "batch size (samples)"})
    assert "batch size (samples)" in {e.term for e in effects(frame, "y", ["optimizer", "batch size (samples)"])}


@pytest.mark.parametrize(("f", "df1", "df2"), [(0.3, 2, 50), (5.0, 1, 30), (80.0, 4, 400), (5e4, 2, 2000)])
def test_noncentrality_inverts_the_distribution(f: float, df1: int, df2: int) -> None:
    from scipy.stats import ncf

    for probability in (0.025, 0.975):
        value = noncentrality(f, df1, df2, probability)
        if value > 0:
            assert ncf.cdf(f, df1, df2, value) == pytest.approx(probability, abs=1e-6)


def test_interval_holds_the_estimate() -> None:
    interval = partial_omega_squared(12.0, 2, 60, 63)
    assert interval.low < interval.value < interval.high < 1
