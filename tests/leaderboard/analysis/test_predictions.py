"""Verdicts on predictions: the intervals are scipy's, and the rule errs as rarely as it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.predictions import admitted, judge, outcomes
from leaderboard.analysis.results import Results, load
from leaderboard.analysis.statistics import mean_interval
from leaderboard.analysis.verdicts import Gap, Verdict
from suite.predictions import Claim, Measured, Method, Prediction, Relation
from tests.leaderboard.helpers import record


def _prediction(relation: Relation, value: float | Measured, tolerance: float = 0.0) -> Prediction:
    claim = Claim("it-is", "It is.", "Nobody 2025, arXiv:2501.00000")
    return Prediction("a", (Method.ADAM,), "m", relation, value, tolerance, claim)


def _run(submission: str, seed: int, value: float | None, **more: Any) -> dict[str, Any]:
    return record(submission, "a", seed, 0.0) | {"measures": {} if value is None else {"m": value}} | more


def _runs(submission: str, values: list[float]) -> list[dict[str, Any]]:
    return [_run(submission, seed, value) for seed, value in enumerate(values)]


def test_intervals_are_students() -> None:
    values = np.random.default_rng(0).normal(size=7)
    interval = mean_interval(values)
    low, high = t.interval(0.95, 6, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(7))
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-12)


def test_one_seed_decides_nothing() -> None:
    (judged,) = judge(Results(_runs("adam", [1.0])), [_prediction(Relation.EQUALS, 1.0, 0.1)])
    assert judged.verdict is Verdict.UNDECIDED
    assert math.isnan(judged.gap.interval().low)


@pytest.mark.parametrize(
    ("relation", "low", "high", "verdict"),
    [
        (Relation.EQUALS, -0.1, 0.1, Verdict.HOLDS),
        (Relation.EQUALS, -0.1, 0.11, Verdict.UNDECIDED),
        (Relation.EQUALS, 0.11, 0.2, Verdict.FAILS),
        (Relation.EQUALS, -0.2, -0.11, Verdict.FAILS),
        (Relation.EQUALS, -1.0, 1.0, Verdict.UNDECIDED),
        (Relation.AT_MOST, -9.0, 0.1, Verdict.HOLDS),
        (Relation.AT_MOST, -9.0, 0.2, Verdict.UNDECIDED),
        (Relation.AT_MOST, 0.2, 0.3, Verdict.FAILS),
        (Relation.AT_LEAST, -0.1, 9.0, Verdict.HOLDS),
        (Relation.AT_LEAST, -0.2, 9.0, Verdict.UNDECIDED),
        (Relation.AT_LEAST, -0.3, -0.2, Verdict.FAILS),
    ],
)
def test_the_rule(relation: Relation, low: float, high: float, verdict: Verdict) -> None:
    deviation = (high - low) / 2 * math.sqrt(10) / t.ppf(0.975, 9)
    assert Gap((low + high) / 2, deviation * (1 - 1e-12), 10, *admitted(relation, 0.1)).verdict() is verdict


def test_orders_are_judged_seed_by_seed() -> None:
    """Data sets differ by far more than the methods on any of them."""
    hard = [0.1, 0.5, 0.9, 0.3]
    runs = _runs("adam", [h + 0.01 + 0.001 * k for k, h in enumerate(hard)]) + _runs("sgd", hard)
    runs += [_run("sgd[lr=0.1]", seed, 99.0) for seed in range(4)]
    (judged,) = judge(Results(runs), [_prediction(Relation.AT_LEAST, Measured("m", Method.GRADIENT_DESCENT))])
    assert judged.verdict is Verdict.HOLDS
    assert judged.gap.mean == pytest.approx(0.0115)
    assert judged.expected == pytest.approx(0.45)
    assert judged.measured.high - judged.measured.low > 0.5


def test_variants_are_compared_seed_by_seed() -> None:
    """What is measured on another variant of the task is that of the same submission, or of the method named."""
    large = [run | {"task": "a[batch=200]"} for run in _runs("adam", [2.0, 4.0]) + _runs("sgd", [7.0, 9.0, 1.0])]
    runs = _runs("adam", [1.0, 3.0]) + large
    for method, mean in ((None, -1.0), (Method.GRADIENT_DESCENT, -6.0)):
        prediction = _prediction(Relation.AT_MOST, Measured("m", method, "a[batch=200]"))
        (judged,) = judge(Results(runs), [prediction])
        assert (judged.gap.mean, judged.gap.seeds, judged.verdict) == (mean, 2, Verdict.HOLDS)
    assert judge(Results(_runs("adam", [1.0])), [prediction]) == []


def test_only_solutions_count_and_settings_of_a_seed_count_once() -> None:
    runs = [_run("adam", 0, 1.0), _run("adam", 0, 3.0, trial=1), _run("adam", 1, 2.0)]
    runs += [_run("adam", 2, None), _run("adam", 3, 50.0, converged=False, status="budget")]
    (judged,) = judge(Results(runs), [_prediction(Relation.EQUALS, 2.0, 0.1)])
    assert (judged.verdict, judged.gap.seeds, judged.runs) == (Verdict.HOLDS, 2, 5)


def test_who_is_not_spoken_of_is_not_judged() -> None:
    predictions = [_prediction(Relation.EQUALS, 1.0, 0.1)]
    assert judge(Results(_runs("sgd", [1.0, 1.0]) + _runs("mine", [1.0, 1.0])), predictions) == []
    assert judge(Results([_run("adam", 0, 1.0, kind="architecture")]), predictions) == []
    assert judge(Results(_runs("adam", [1.0])), [_prediction(Relation.AT_MOST, Measured("other"))]) == []
    assert judge(Results([_run("adam", 0, None)]), predictions) == []
    against = [_prediction(Relation.AT_MOST, Measured("m", Method.SIGN))]
    assert judge(Results(_runs("adam", [1.0])), against) == []


def test_a_true_bound_is_rarely_said_to_fail() -> None:
    """A mean that lies exactly on the bound: either verdict errs in 2.5 % at most."""
    rng = np.random.default_rng(0)
    bounds = admitted(Relation.AT_MOST, 0.0)
    verdicts = [Gap.of(rng.normal(size=5), *bounds).verdict() for _ in range(4_000)]
    for wrong in (Verdict.HOLDS, Verdict.FAILS):
        assert verdicts.count(wrong) / len(verdicts) == pytest.approx(0.025, abs=0.0075)  # three standard errors


def test_the_shipped_records_of_theory() -> None:
    judged = {
        (j.prediction.task, j.submission, j.prediction.formula): j.verdict
        for j in judge(load([BASELINES / "theory.jsonl"]))
    }
    assert judged["min_norm_regression", "sgd", "excess_norm ≤ 0.01"] is Verdict.HOLDS
    assert judged["min_norm_regression", "adam", "excess_norm ≥ 0.01"] is Verdict.HOLDS
    assert judged["max_margin", "sign", "linf_margin_ratio = 1 ± 5 %"] is Verdict.HOLDS
    assert judged["univariate_relu", "sgd", "variation_ratio = 1 ± 5 %"] is Verdict.FAILS


def test_outcomes_have_methods_of_which_nothing_is_predicted() -> None:
    predictions = [_prediction(Relation.EQUALS, 1.0, 0.1)]
    runs = [*_runs("adam", [1.0, 1.02, 0.98]), *_runs("sgd", [3.0, 5.0]), _run("sgd", 2, 7.0, converged=False)]
    adam, sgd = outcomes(Results(runs), predictions)
    assert [judged.verdict for judged in adam.judgements] == [Verdict.HOLDS]
    assert (adam.submission, adam.solutions, adam.runs, adam.untested) == ("adam", 3, 3, ())
    assert (sgd.submission, sgd.solutions, sgd.runs, sgd.judgements, sgd.untested) == ("sgd", 2, 3, (), ())
    low, high = t.interval(0.95, 1, loc=4.0, scale=1.0)
    measured = sgd.measured["m"]
    assert measured is not None
    assert (measured.value, measured.low, measured.high) == pytest.approx((4.0, low, high))


def test_an_outcome_names_predictions_that_were_not_measured() -> None:
    predictions = [_prediction(Relation.EQUALS, 1.0, 0.1)]
    (outcome,) = outcomes(Results([_run("adam", seed, None) for seed in range(3)]), predictions)
    assert (outcome.judgements, outcome.untested, outcome.measured) == ((), tuple(predictions), {"m": None})
