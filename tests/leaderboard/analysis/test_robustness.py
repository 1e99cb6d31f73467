"""Why a rank is what it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.analysis.robustness import (
    agreement,
    contributions,
    leave_one_task_out,
    neighbours,
    separations,
    trials,
    tuning_curves,
)
from tests.leaderboard.helpers import noisy, record, runs_of, scores_of

CELLS = (("a1", "norm"), ("a2", "norm"), ("b1", "norm"), ("b1", "flatness"), ("c1", "generalization"))


@given(st.lists(st.floats(0, 1.25), min_size=2 * len(CELLS), max_size=2 * len(CELLS)))
def test_contributions_add_up_to_the_difference(values: list[float]) -> None:
    keys = [(name, *cell) for name in "xy" for cell in CELLS]
    scores = scores_of(runs_of({key: [value] for key, value in zip(keys, values, strict=True)}))
    parts = contributions(scores, "x", "y")
    assert sum(part.points for part in parts) == pytest.approx(scores.overall[0] - scores.overall[1], abs=1e-9)
    assert [abs(part.points) for part in parts] == sorted((abs(part.points) for part in parts), reverse=True)
    for part in parts:
        assert part.points * (part.score - part.other_score) >= 0


def test_contributions_by_hand() -> None:
    # One axis: points are weights times differences. Family a (two tasks) and family b share the axis half and half.
    scores = scores_of(
        runs_of({("x", "a1", "norm"): [0.8], ("x", "a2", "norm"): [0.4], ("x", "b1", "norm"): [0.5]})
        + runs_of({("y", "a1", "norm"): [0.4], ("y", "a2", "norm"): [0.4], ("y", "b1", "norm"): [0.7]})
    )
    found = {part.task: part.points for part in contributions(scores, "x", "y")}
    assert found == pytest.approx({"a1": 0.1, "a2": 0.0, "b1": -0.1})


def test_neighbours() -> None:
    made = board(Results(noisy({"low": 0.2, "middle": 0.5, "high": 0.8})))
    assert neighbours(made) == {"high": "middle", "middle": "high", "low": "middle"}
    assert neighbours(board(Results(noisy({"alone": 0.5})))) == {}


def test_a_task_that_decides_a_rank_is_found_by_leaving_it_out() -> None:
    rng = np.random.default_rng(0)

    def around(score: float) -> Any:
        return score + 0.01 * rng.normal(size=6)

    scores = scores_of(
        runs_of(
            {
                ("x", "a1", "norm"): around(0.9),
                ("x", "b1", "norm"): around(0.5),
                ("y", "a1", "norm"): around(0.2),
                ("y", "b1", "norm"): around(0.6),
            }
        )
    )
    assert leave_one_task_out(scores) == {"a1": {"x": 2, "y": 1}, "b1": {"x": 1, "y": 2}}
    assert leave_one_task_out(scores.of_tasks(["a1"])) == {}


def test_that_many_seeds_do_separate_neighbours() -> None:
    def records(seeds: int, draw: int) -> list[dict[str, Any]]:
        rng = np.random.default_rng(draw)
        means = {"x": 0.5, "y": 0.56}
        return runs_of({(name, "a1", "norm"): mean + 0.1 * rng.normal(size=seeds) for name, mean in means.items()})

    found = separations(board(Results(records(2_000, 0))))
    # The noise of a difference of 0.06 is 0.1 * sqrt(2): 46 seeds, as any power table says.
    assert [(pair.upper, pair.lower) for pair in found] == [("y", "x")]
    needed = found[0].needed
    assert needed == pytest.approx(46, rel=0.2)
    apart = [separations(board(Results(records(46, draw))))[0].apart for draw in range(1, 61)]
    assert np.mean(apart) == pytest.approx(0.8, abs=0.12)


def test_no_number_of_seeds_separates_equals() -> None:
    records = noisy({"x": 0.5})
    pair = separations(board(Results(records + [r | {"submission": "y"} for r in records])))[0]
    assert (pair.needed, pair.apart) == (None, False)
    assert separations(board(Results(noisy({"x": 0.5})))) == []


def tuned(trial: int, loss: float | None, status: str = "converged", **more: Any) -> list[dict[str, Any]]:
    """The two runs of a tuning trial, of which the second is 0.2 worse."""
    return [
        record("x", "a1", 10_000 + run, 0.0)
        | {"phase": "tune", "trial": trial, "hyperparameters": {"lr": 10.0**-trial}, "status": status, "axes": {}}
        | {"converged": status == "converged", "validation_loss": None if loss is None else loss + 0.2 * run}
        | more
        for run in range(2)
    ]


def test_trials_and_what_a_smaller_budget_would_have_found() -> None:
    records = tuned(0, 0.5) + tuned(1, 0.3) + tuned(2, None, "budget") + [record("x", "a1", 0, 0.5, trial=1)]
    found = trials(Results(records))
    assert [trial.criterion for trial in found] == pytest.approx([0.6, 0.4, math.inf])
    assert [trial.chosen for trial in found] == [False, True, False]
    curve = tuning_curves(found)[0]
    assert curve.best == pytest.approx([0.5, (0.4 + 0.4 + 0.6) / 3, 0.4])
    assert curve.chance == pytest.approx([2 / 3, 1, 1])


def test_raced_trials_have_no_curve() -> None:
    records = tuned(0, None, gradient_evaluations=7) + tuned(1, None, "raced")
    found = trials(Results(records))
    assert [(trial.by, trial.criterion, trial.raced) for trial in found] == [
        ("gradient_evaluations", 7, False),
        ("gradient_evaluations", math.inf, True),
    ]
    assert tuning_curves(found) == []


def test_agreement_of_two_tracks() -> None:
    true = {f"s{number}": 0.2 + 0.1 * number for number in range(6)}
    swapped = true | {"s2": true["s3"], "s3": true["s2"]}
    first, second = (board(Results(noisy(means, seeds=5))) for means in (true, swapped))
    found = agreement(first, second)
    assert found is not None
    assert found.names == tuple(true)
    assert found.tau.value == pytest.approx(kendalltau(found.first, found.second).statistic)
    assert found.tau.value == pytest.approx(13 / 15)
    assert found.tau.low <= found.tau.value <= found.tau.high
    assert agreement(first, board(Results(noisy({"s1": 0.5, "other": 0.5})))) is None


def test_agreement_on_tasks_that_the_first_track_lacks() -> None:
    true = {f"s{number}": 0.2 + 0.1 * number for number in range(5)}
    turned = {name: 1 - score for name, score in true.items()}
    shared = noisy(true, seeds=5)
    more = [r | {"task": "c1", "family": "c"} for r in noisy(turned, seeds=5) if r["task"] == "a1"]
    first, second = board(Results(shared)), board(Results(shared + more))
    found = agreement(first, second, other_tasks=True)
    assert found is not None
    assert found.tasks == (2, 1)
    assert found.tau.value == pytest.approx(-1)
    assert agreement(first, first, other_tasks=True) is None
    assert agreement(first, board(Results(noisy(dict.fromkeys(true, 2.0), seeds=5)))) is None, "all at the ceiling"
