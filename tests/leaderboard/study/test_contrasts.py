"""Verdicts on planted effects."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from leaderboard.analysis.verdicts import Comparison, Ruling, Verdict, rule
from leaderboard.study.contrasts import Contrast, judge, matched
from suite.predictions import Claim

FLAT = Claim("sgd-flat", "SGD is flatter than Adam.", "Nobody 2025, arXiv:2501.00000")
CONTRAST = Contrast("flat", FLAT, "optimizer", "sgd", "adam", "sharpness")
FACTORS = ["optimizer", "depth", "batch"]


def runs(effect: dict[int, float], generator: np.random.Generator, seeds: int = 3) -> pd.DataFrame:
    """sharpness = exp(effect[depth] for sgd + what the setting and the seed add + noise)."""
    rows = []
    for optimizer, depth, batch, seed in itertools.product(("sgd", "adam"), (1, 2), (16, 64, 256), range(seeds)):
        shift = effect[depth] if optimizer == "sgd" else 0.0
        level = np.exp(shift + 0.3 * depth + 0.1 * np.log(batch) + 0.1 * generator.normal())
        rows.append({"optimizer": optimizer, "depth": depth, "batch": batch, "seed": seed, "sharpness": level})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        ({1: -1.0, 2: -0.8}, "holds"),
        ({1: 0.0, 2: 0.0}, "fails"),
        ({1: 0.5, 2: 0.5}, "fails"),
        ({1: -1.0, 2: 1.0}, "depends on"),
    ],
)
def test_planted_effects(effect: dict[int, float], verdict: str) -> None:
    result = judge(runs(effect, np.random.default_rng(4)), CONTRAST, FACTORS)
    assert result.verdict == verdict
    assert result.pairs == 18
    if verdict == "depends on":
        assert result.depends_on == "depth"
        assert rule([result.comparison, Comparison(Verdict.HOLDS)]) == Ruling(Verdict.DEPENDS, ("depth",))
    if verdict == "holds":
        assert result.difference.low < -0.9 < result.difference.high


def test_chance_rarely_makes_a_claim_hold() -> None:
    generator = np.random.default_rng(1)
    verdicts = [judge(runs({1: 0.0, 2: 0.0}, generator), CONTRAST, FACTORS).verdict for _ in range(60)]
    # One side of a 95 % interval, and the environments' 5 %: at most 4.5 expected, above 12 below 1e-3.
    assert sum(verdict != "fails" for verdict in verdicts) <= 12


def test_pairs_match_in_everything_else() -> None:
    frame = runs({1: 0.0, 2: 0.0}, np.random.default_rng(2))
    alone = frame[~((frame["optimizer"] == "adam") & (frame["seed"] == 0) & (frame["depth"] == 1))]
    assert len(matched(alone, CONTRAST, FACTORS)) == 18 - 3


def test_nothing_to_compare() -> None:
    frame = runs({1: 0.0, 2: 0.0}, np.random.default_rng(3))
    assert judge(frame[frame["optimizer"] == "sgd"], CONTRAST, FACTORS).verdict is Verdict.NOT_MEASURED
