"""Measures that predict generalization, that do not, and that only seem to."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from leaderboard.study.prediction import conditional_information, granulated, predict, sign_errors

FACTORS = ["width", "rate", "batch"]


def runs(generator: np.random.Generator, seeds: int = 4) -> pd.DataFrame:
    """`true` causes the gap whatever the factors; `confounded` follows the width, as the gap does; `noise` nothing."""
    rows = []
    for (w, r, b), seed in itertools.product(itertools.product(range(3), range(3), range(2)), range(seeds)):
        quality = generator.normal()
        rows.append(
            {
                "width": w,
                "rate": r,
                "batch": b,
                "seed": seed,
                "gap": quality + 2.0 * w + 0.05 * generator.normal(),
                "true": quality + 2.0 * w,
                "confounded": w + 0.01 * generator.normal(),
                "noise": generator.normal(),
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return runs(np.random.default_rng(0))


def test_a_cause_is_found(frame: pd.DataFrame) -> None:
    prediction = predict(frame, "true", "gap", FACTORS, np.random.default_rng(1))
    assert prediction.tau.low > 0.9
    assert prediction.granulated.low > 0.8
    assert prediction.information.value > 0.7
    assert prediction.worst_sign_error < 0.1


def test_chance_is_not(frame: pd.DataFrame) -> None:
    prediction = predict(frame, "noise", "gap", FACTORS, np.random.default_rng(1))
    assert abs(prediction.tau.value) < 0.2
    assert prediction.granulated.low < 0 < prediction.granulated.high
    assert prediction.information.value < 0.1
    assert prediction.sign_error.low < 0.5 < prediction.sign_error.high


def test_a_confounded_measure_correlates_and_is_found_out(frame: pd.DataFrame) -> None:
    prediction = predict(frame, "confounded", "gap", FACTORS, np.random.default_rng(1))
    assert prediction.tau.low > 0.4
    assert prediction.by_factor["width"] > 0.7
    assert abs(prediction.by_factor["rate"]) < 0.3
    assert prediction.information.value < 0.1
    assert prediction.worst_sign_error > 0.4
    assert not prediction.worst.startswith("width")


def test_information_is_sklearns_where_nothing_is_given(frame: pd.DataFrame) -> None:
    few = frame.iloc[::3]
    first, second = np.triu_indices(len(few), 1)
    up, goal = (few[name].to_numpy()[first] > few[name].to_numpy()[second] for name in ("noise", "gap"))
    expected = mutual_info_score(up, goal) / mutual_info_score(goal, goal)
    assert conditional_information(few, "noise", "gap", []) == pytest.approx(expected, rel=1e-9)


def test_granulated_by_hand() -> None:
    frame = pd.DataFrame({"width": [0, 1, 2], "seed": 0, "m": [1.0, 2.0, 3.0], "gap": [1.0, 3.0, 2.0]})
    assert granulated(frame, "m", "gap", ["width"])["width"].tolist() == pytest.approx([1 / 3])


def test_sign_errors_by_hand() -> None:
    frame = pd.DataFrame({"width": [0, 1, 2], "seed": 0, "m": [1.0, 2.0, 2.0], "gap": [1.0, 3.0, 2.9]})
    errors = sign_errors(frame, "m", "gap", ["width"], noise=0.05)
    assert {name: values.tolist() for name, values in errors.items()} == {
        "width: 0 or 1": [0.0],
        "width: 0 or 2": [0.0],
        "width: 1 or 2": [0.5],
    }
    assert "width: 1 or 2" not in sign_errors(frame, "m", "gap", ["width"], noise=0.2)
