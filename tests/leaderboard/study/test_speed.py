"""Step sizes are chosen by the other seeds, tuned or at one speed."""

from __future__ import annotations

import pandas as pd
import pytest

from leaderboard.study.frame import second_frame, study_frame
from leaderboard.study.speed import matched, tuned
from suite.errors import InputError
from tests.leaderboard.helpers import study_records


def _frame(evaluations: dict[str, list[float]], seeds: int = 3) -> pd.DataFrame:
    """One cell; optimizer -> gradient evaluations by rung, the same on all seeds; 0 misses the target."""
    return pd.DataFrame(
        {
            "cell": "a",
            "optimizer": optimizer,
            "rung": rung,
            "seed": seed,
            "converged": value > 0,
            "gradient_evaluations": value or 2_000,
        }
        for optimizer, values in evaluations.items()
        for rung, value in enumerate(values)
        for seed in range(seeds)
    )


def _rungs(runs: pd.DataFrame) -> dict[tuple[str, int], int]:
    return {(row.optimizer, row.seed): row.rung for row in runs.itertuples()}


def test_tuned_is_the_fastest_and_matched_has_the_slowests_speed() -> None:
    frame = _frame({"sgd": [0, 900, 300, 0], "adam": [310, 100, 30, 30], "sign": [90, 40, 40, 0], "lion": [0, 0, 0, 0]})
    seeds = range(3)
    assert _rungs(tuned(frame)) == {
        (name, s): rung for name, rung in (("sgd", 2), ("adam", 2), ("sign", 1)) for s in seeds
    }
    slow = {"sgd": 2, "adam": 0}
    # The speed is SGD's 300. Sign is at best 3.3 times as fast, so it has no run there.
    assert _rungs(matched(frame)) == {(name, seed): rung for name, rung in slow.items() for seed in range(3)}


def test_the_seed_that_is_compared_has_no_part_in_the_choice() -> None:
    frame = _frame({"sgd": [300, 200]})
    lucky = (frame["seed"] == 1) & (frame["rung"] == 0)
    frame.loc[lucky, "gradient_evaluations"] = 1
    assert _rungs(tuned(frame)) == {("sgd", 0): 0, ("sgd", 1): 1, ("sgd", 2): 0}
    missed = (frame["seed"] == 2) & (frame["rung"] == 1)
    frame.loc[missed, "converged"] = False
    # Seed 2's own miss does not count against its rung; for the others it does.
    assert _rungs(tuned(frame))["sgd", 1] == 0


def test_one_seed_chooses_by_itself() -> None:
    assert _rungs(tuned(_frame({"sgd": [300, 200]}, seeds=1))) == {("sgd", 0): 1}


def test_records_of_the_second_edition_are_read_apart_from_the_firsts() -> None:
    second = [
        record | {"variant": record["variant"] | {"network": "mlp"}, "gradient_evaluations": 100}
        for record in study_records()
    ]
    frame = second_frame([*study_records(), *second])
    assert len(frame) == len(second)
    assert sorted(frame["rung"].unique()) == [0, 1]
    assert len(frame["cell"].unique()) == 8  # depth, batch and scale
    assert len(study_frame([*study_records(), *second])) == len(study_records())
    # Every cell, optimizer and seed whose other seeds trained has one run; the smaller step wins a tie.
    assert set(tuned(frame)["rung"]) == {0, 1}
    with pytest.raises(InputError, match="no records of the second edition"):
        second_frame(study_records())
