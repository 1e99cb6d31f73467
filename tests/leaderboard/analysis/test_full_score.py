"""The predicted score on the full track: against scikit-learn, refits without a submission, and a known law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from leaderboard.analysis.full_score import (
    PENALTIES,
    best_penalty,
    left_out,
    predict_full_scores,
    predictions_without,
    ridge,
)
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.analysis.statistics import Array
from suite.storage.record import Record


def _data(seed: int = 0, count: int = 9, features: int = 14) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(count, features))
    return x, x @ rng.normal(0, 0.1, features) + rng.normal(0, 0.02, count)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_ridge_is_scikit_learns(penalty: float) -> None:
    x, y = _data()
    new = _data(1)[0]
    np.testing.assert_allclose(ridge(x, y, new, penalty), Ridge(alpha=penalty).fit(x, y).predict(new), rtol=1e-9)


@given(st.integers(0, 100), st.integers(3, 12), st.sampled_from([0.01, 0.3, 10.0]))
def test_the_leverage_gives_what_a_refit_without_the_submission_gives(seed: int, count: int, penalty: float) -> None:
    x, y = _data(seed, count)
    wanted = cross_val_predict(Ridge(alpha=penalty), x, y, cv=LeaveOneOut())
    np.testing.assert_allclose(left_out(x, y, penalty), wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_penalty_is_that_of_scikit_learns_leave_one_out(seed: int) -> None:
    x, y = _data(seed)
    assert (
        best_penalty(x, y)
        == RidgeCV(alphas=PENALTIES, cv=LeaveOneOut(), scoring="neg_mean_squared_error").fit(x, y).alpha_
    )


def test_a_submission_says_nothing_of_its_own_prediction() -> None:
    x, y = _data()
    changed = y.copy()
    changed[2] += 10
    assert predictions_without(x, changed)[2] == predictions_without(x, y)[2]
    assert predictions_without(x, changed)[3] != predictions_without(x, y)[3]


def _run(submission: str, task: str, score: float, track: str, seed: int) -> Record:
    axis = {"measure": "m", "scale": "linear", "score_0": 0.0, "score_1": 1.0, "floor": None}
    return {
        "submission": submission,
        "kind": "optimizer",
        "explicit": False,
        "track": track,
        "task": task,
        "family": task,
        "seed": seed,
        "phase": "score",
        "search": 0,
        "trial": 0,
        "converged": True,
        "status": "converged",
        "gradient_evaluations": 1,
        "seconds": 1.0,
        "axes": {"norm": axis},
        "measures": {"m": score},
        "hyperparameters": {},
    }


def _results(track: str, tasks: Sequence[str], scores: Array) -> Results:
    """`scores` [submissions, tasks], the same with both seeds."""
    return Results(
        [
            _run(f"s{row}", task, float(score), track, seed)
            for row, own in enumerate(scores)
            for task, score in zip(tasks, own, strict=True)
            for seed in range(2)
        ]
    )


def test_a_linear_law_is_found_and_told_of_a_submission_without_the_full_track() -> None:
    """The full score is 0.2 + 0.6 * the only score of quick; the first ten were run on both, the last two were not."""
    quick = np.linspace(0.05, 0.95, 12)[:, None]
    full = 0.2 + 0.6 * quick[:10]
    others = [
        _results("theory", ["max_margin"], full - 0.1),
        _results("full", ["mnist_mlp", "max_margin"], np.hstack([full + 0.1, full - 0.1])),
        _results("smoke", ["adaptive_trap"], np.ones((12, 1))),
    ]
    found = predict_full_scores(board(_results("quick", ["min_norm_regression"], quick)), others)
    assert found is not None
    assert found.tasks == 2
    assert found.recorded == {f"s{row}": pytest.approx(float(full[row, 0])) for row in range(10)}
    for row in (10, 11):
        predicted = found.predicted[f"s{row}"]
        assert predicted.value == pytest.approx(0.2 + 0.6 * float(quick[row, 0]), abs=0.02)
        assert predicted.low <= 0.2 + 0.6 * float(quick[row, 0]) <= predicted.high
    assert found.error < 0.02
    means = [(full.sum() - own) / 9 for own in full[:, 0]]
    assert found.error_of_mean == pytest.approx(np.sqrt(np.mean((means - full[:, 0]) ** 2)))


def test_a_submission_that_lacks_a_task_of_full_teaches_nothing() -> None:
    quick = _results("quick", ["min_norm_regression"], np.linspace(0, 1, 6)[:, None])
    theory = _results("theory", ["max_margin"], np.linspace(0, 1, 6)[:, None])
    images = _results("full", ["mnist_mlp"], np.linspace(0, 1, 5)[:, None])
    found = predict_full_scores(board(quick), [theory, images])
    assert found is not None
    assert set(found.recorded) == {f"s{row}" for row in range(5)}
    assert set(found.predicted) == {f"s{row}" for row in range(6)}


def test_too_few_submissions_on_both() -> None:
    quick = _results("quick", ["min_norm_regression"], np.linspace(0, 1, 6)[:, None])
    assert predict_full_scores(board(quick), []) is None
    assert predict_full_scores(board(quick), [_results("full", ["mnist_mlp"], np.ones((3, 1)))]) is None
