"""A run against itself is clean, a planted loss is found, and equals raise no alarm."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

import leaderboard
from leaderboard.analysis.comparison import COST, MEASURES, OVERALL, TARGET, Comparison, Quantity, Verdict, compare
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results, load
from leaderboard.tables.formats import terminal
from leaderboard.tables.reports import as_json, headline, junit, markdown, report, table, updates
from suite.commands.updates import Outcome, UpdateDifference
from suite.errors import InputError
from tests.leaderboard.helpers import record, runs_of

SHIPPED = Path(leaderboard.__file__).parent / "baselines" / "quick.jsonl"
SUBMISSIONS = ("sgd", "adam", "muon")
TASKS = {f"{family}{number}": family for family in "abcd" for number in range(3)}


def _suite(rng: np.random.Generator, seeds: int, flatness: float = 1.0, shared: int = 0) -> Results:
    """A whole run: 3 submissions on 12 tasks of 4 families, noise of the size that real tasks show.

    `shared` seeds the part of the noise that two runs have in common (data, initialization); rng makes the rest.
    `flatness` multiplies the flatness scores.
    """
    common, scores = np.random.default_rng(shared), {}
    for name in SUBMISSIONS:
        for task, family in TASKS.items():
            axes = ("flatness", "norm", "generalization") if family in "ab" else ("norm",)
            for axis in axes:
                mean, noise = common.uniform(0.3, 0.9), common.uniform(0.002, 0.05)
                drawn = mean + noise * (common.normal(size=seeds) + rng.normal(size=seeds))
                scores[name, task, axis] = drawn * (flatness if axis == "flatness" else 1.0)
    records = runs_of(scores)
    for made in records:
        made["gradient_evaluations"] = int(100 * rng.lognormal(sigma=0.05))
    return Results(records)


def test_a_run_against_itself_is_clean() -> None:
    for results in (load([SHIPPED]), _suite(np.random.default_rng(0), 3)):
        found = compare(results, results)
        assert found.differences
        assert not found.regressions
        assert not found.improvements
        assert not found.notes
        for made in found.differences:  # one seed (others missed a stop) has no interval
            assert made.difference.value == 0
            bound = math.nan if made.seeds == 1 else 0.0
            np.testing.assert_equal([made.difference.low, made.difference.high], [bound, bound])


def test_one_difference_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.2, 0.8, size=(2, 9))
    found = compare(*(Results(runs_of({("x", "a1", "norm"): scores})) for scores in (before, after)))
    single = {d.axis: d for d in found.differences if d.task}
    assert single.keys() == {"norm", "m_norm", COST, TARGET}
    # Half of the 5 % is for single tasks, here for four tests. The measure lies between 1 and 0: it is 1 - score.
    wanted = ttest_rel(after, before).confidence_interval(1 - 0.025 / 4)
    for cell in (single["norm"], single["m_norm"]):
        assert [cell.difference.low, cell.difference.high] == pytest.approx([wanted.low, wanted.high])
        assert cell.difference.value == pytest.approx((after - before).mean())
    assert single["m_norm"].base == pytest.approx(1 - before.mean())


def _lost_flatness(found: Comparison) -> set[str]:
    assert not found.improvements
    assert all(d.axis in ("flatness", "m_flatness", MEASURES, OVERALL) for d in found.regressions)
    return {d.submission for d in found.regressions if d.axis == "flatness" and not d.task}


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_planted_loss_of_a_tenth_of_the_flatness_is_found(seeds: int) -> None:
    before = _suite(np.random.default_rng(1), seeds)
    after = _worse(before, 0.9)
    assert _lost_flatness(compare(before, after)) == set(SUBMISSIONS)
    # The other way round it is an improvement.
    assert not compare(after, before).regressions
    # New noise in every run hides it from some submissions at three seeds, from none at ten.
    again = _lost_flatness(compare(before, _suite(np.random.default_rng(2), seeds, flatness=0.9)))
    assert len(again) >= (1 if seeds == 3 else len(SUBMISSIONS))


def _worse(results: Results, factor: float) -> Results:
    """The same runs with every flatness score times `factor`: what a deterministic change does."""
    records = []
    for made in results.records:
        values = dict(made["measures"])
        if "m_flatness" in values:
            values["m_flatness"] = 1 - factor * (1 - values["m_flatness"])
        records.append(made | {"measures": values})
    return Results(records)


def test_a_loss_within_the_tolerance_is_accepted() -> None:
    before = _suite(np.random.default_rng(1), 3)
    after = _worse(before, 0.99)
    assert not compare(before, after).regressions
    assert compare(before, after, tolerance=0.001).regressions


def test_more_gradient_evaluations_are_a_regression_and_fewer_are_not() -> None:
    before = _suite(np.random.default_rng(1), 3)
    slower = Results([r | {"gradient_evaluations": int(1.3 * r["gradient_evaluations"])} for r in before.records])
    found = compare(before, slower)
    assert {(d.submission, d.axis) for d in found.regressions} == {(name, COST) for name in SUBMISSIONS}
    assert {d.task for d in found.regressions} == {"", *TASKS}
    cost = next(d for d in found.differences if d.axis == COST and not d.task)
    assert math.exp(cost.difference.value) == pytest.approx(1.3, rel=0.02)
    assert {d.axis for d in compare(slower, before).improvements} == {COST}
    for difference in (d for d in found.differences if d.axis == COST and not d.task):  # tables count alike
        shown = {standing.submission: standing.gradient_evaluations for standing in board(before).standings}
        assert difference.base == pytest.approx(shown[difference.submission])
    assert not compare(before, slower, cost_tolerance=0.4).regressions


def test_runs_that_miss_the_target_loss_are_a_regression() -> None:
    before = _suite(np.random.default_rng(1), 3)
    failed = [
        r | {"converged": False, "measures": {}} if (r["submission"], r["task"]) == ("adam", "a1") else r
        for r in before.records
    ]
    found = compare(before, Results(failed))
    assert ("adam", "a1") in {(d.submission, d.task) for d in found.regressions} or ("adam", "") in {
        (d.submission, d.task) for d in found.regressions
    }
    assert {d.submission for d in found.regressions} == {"adam"}


def _runs(met: list[bool], value: float = 0.5, **more: Any) -> Results:
    """Runs of one submission on one task, by whether they met the target loss."""
    return Results(
        [
            record("x", "a1", seed, value + 0.001 * seed, **more)
            | ({} if one else {"converged": False, "measures": {}})
            for seed, one in enumerate(met)
        ]
    )


def test_a_run_that_met_the_target_loss_in_base_alone_is_named() -> None:
    met = 9 * [True]
    found = compare(_runs(met), _runs([*met[:3], False, *met[4:]]))
    assert "x on a1: at the target loss in BASE and not in NEW: seed 3." in found.notes
    (runs,) = [d for d in found.regressions if d.axis == TARGET]
    assert (runs.task, runs.base, runs.new, runs.p_value) == ("a1", 9, 8, 1.0)
    # One lost, one won: no task lost runs, but it is said which.
    swapped = compare(_runs([*met[:8], False]), _runs([*met[:3], False, *met[4:]]))
    assert not [d for d in swapped.regressions if d.axis == TARGET]
    assert "seed 3." in swapped.notes[0]


def test_without_common_data_runs_at_the_target_loss_are_a_sign_test() -> None:
    unknown: dict[str, Any] = {"data_fingerprint": None}
    base = _runs(12 * [True], **unknown)
    for lost, regression in ((4, False), (12, True)):
        found = compare(base, _runs(lost * [False] + (12 - lost) * [True], **unknown))
        (runs,) = [d for d in found.differences if d.axis == TARGET and d.task]
        assert runs.p_value == pytest.approx(binomtest(lost, lost).pvalue)
        assert (runs.verdict == Verdict.REGRESSION) == regression
        assert not [note for note in found.notes if "not in NEW" in note]


def test_a_measure_tells_runs_apart_where_both_score_0() -> None:
    before, after = _runs(6 * [True], value=1.5), _runs(6 * [True], value=2.5)
    found = compare(before, after)
    assert {d.axis for d in found.regressions} == {"m_norm", MEASURES} - {MEASURES}
    (measure,) = found.regressions
    assert measure.quantity is Quantity.MEASURE
    assert measure.difference.value == pytest.approx(-1.0)  # shares of the distance from 1 (score 0) to 0 (score 1)
    (norm,) = [d for d in found.differences if d.axis == "norm" and d.task]
    assert norm.base == norm.new == 0


def test_all_measures_are_compared_by_flipping_signs() -> None:
    rng = np.random.default_rng(3)
    drawn = {(("x"), f"a{n}", "norm"): rng.uniform(0.3, 0.7, size=4) for n in range(3)}
    worse = {key: scores - rng.exponential(0.1, size=4) for key, scores in drawn.items()}
    found = compare(Results(runs_of(drawn)), Results(runs_of(worse)))
    (everything,) = [d for d in found.differences if d.axis == MEASURES]
    # All twelve seeds became worse: of the signs none is more extreme, and one as extreme.
    assert everything.p_value == pytest.approx(2 / 2**12)
    assert everything.verdict == Verdict.REGRESSION


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (0.01, Verdict.CHANGE),
        (-0.01, Verdict.CHANGE),
        (0.1, Verdict.IMPROVEMENT),
        (-0.1, Verdict.REGRESSION),
        (1e-4, Verdict.SAME),
    ],
)
def test_changes_within_the_tolerance_fail_where_any_change_does(shift: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(2)
    before = rng.uniform(0.3, 0.7, size=12)
    after = before + shift * (1 + 0.05 * rng.normal(size=12))
    found = compare(*(Results(runs_of({("x", "a1", "norm"): scores})) for scores in (before, after)))
    assert {d.verdict for d in found.differences if d.quantity in (Quantity.SCORE, Quantity.MEASURE)} == {verdict}
    assert report(found).failed == (verdict == Verdict.REGRESSION)
    assert report(found, any_change=True).failed == (verdict != Verdict.SAME)
    assert ("no changes" in headline(found)) == (verdict != Verdict.CHANGE)


def test_equals_rarely_change() -> None:
    sides = [_suite(np.random.default_rng([run, side]), 5, shared=run) for run in range(8) for side in range(2)]
    failed = [report(compare(*sides[n : n + 2]), any_change=True).failed for n in range(0, len(sides), 2)]
    assert sum(failed) <= 1


def test_measures_of_one_run_flip_their_signs_together() -> None:
    """A task that measures the same thing three times says no more than one that measures it once."""
    rng = np.random.default_rng(3)
    before, loss = rng.uniform(0.3, 0.7, size=5), rng.exponential(0.1, size=5)
    axes = ("flatness", "norm", "generalization")
    sides = (Results(runs_of({("x", "a1", axis): scores for axis in axes})) for scores in (before, before - loss))
    (everything,) = [d for d in compare(*sides).differences if d.axis == MEASURES]
    assert everything.p_value == pytest.approx(2 / 2**5)


def test_shipped_records_lend_their_scatter_to_few_seeds() -> None:
    """Two seeds have one degree of freedom; with the scatter that others show on the tasks they have more."""
    rng = np.random.default_rng(5)
    keys = [("x", f"a{n}", "norm") for n in range(8)]
    before = {key: rng.uniform(0.4, 0.6, size=2) for key in keys}
    after = {key: scores - 0.1 + rng.normal(scale=0.01, size=2) for key, scores in before.items()}
    others = {(f"o{n}", task, "norm"): rng.normal(0.5, 0.01, size=5) for n in range(4) for _, task, _ in keys}
    sides = [Results(runs_of(scores)) for scores in (before, after)]

    def found(shipped: Results | None) -> set[str]:
        return {
            d.task for d in compare(*sides, shipped=shipped).regressions if d.quantity is Quantity.MEASURE and d.task
        }

    assert found(Results(runs_of(others))) == {task for _, task, _ in keys}


def test_what_cannot_fail_is_said_first() -> None:
    nothing = _runs(5 * [False])
    found = compare(nothing, nothing)
    assert found.blind_submissions == ["x"]
    assert headline(found).startswith("Cannot fail: x on any task")
    assert not compare(_runs(5 * [True]), nothing).blind
    one_seed = compare(_runs([True]), _runs([True]))
    assert one_seed.blind_submissions == ["x"]
    # A task of two: it is said, and the comparison can fail.
    both = [
        Results([*side.records, *(record("x", "b1", seed, 0.5) for seed in range(3))]) for side in (nothing, nothing)
    ]
    partly = compare(*both)
    assert partly.blind == {"x": ["a1"]}
    assert not partly.blind_submissions
    assert headline(partly).startswith("Cannot fail: x on a1, ")


def test_identical_records_are_identical_and_no_tests() -> None:
    base = _suite(np.random.default_rng(1), 3)
    new = Results(
        [
            r | {"measures": {"m_norm": 0.9}} if (r["submission"], r["task"]) == ("adam", "c0") else r
            for r in base.records
        ]
    )
    found = compare(base, new)
    verdicts = {(d.submission, d.task): d.verdict for d in found.differences}
    assert {v for key, v in verdicts.items() if key[0] != "adam" or key[1] not in ("", "c0")} == {Verdict.IDENTICAL}
    assert "identical" in headline(found)
    assert verdicts["adam", "c0"] != Verdict.IDENTICAL


def _false_alarms(seeds: int, runs: int, shipped: Results | None = None) -> float:
    """The share of comparisons of equals in which anything is called a regression, without any tolerance."""
    alarms = 0
    for run in range(runs):
        sides = [_suite(np.random.default_rng([run, side, seeds]), seeds, shared=run) for side in range(2)]
        alarms += bool(compare(*sides, tolerance=0.0, cost_tolerance=0.0, shipped=shipped).regressions)
    return alarms / runs


def _others() -> Results:
    """What other submissions show on the tasks of `_suite`; their scatter is not that of the compared ones."""
    rng = np.random.default_rng(11)
    noise = {
        (task, axis): rng.uniform(0.002, 0.05) for task in TASKS for axis in ("flatness", "norm", "generalization")
    }
    scores = {
        (f"other{number}", task, axis): rng.normal(0.5, deviation, size=5)
        for number in range(4)
        for (task, axis), deviation in noise.items()
    }
    return Results(runs_of(scores))


@pytest.mark.slow
@pytest.mark.parametrize("shipped", [False, True])
@pytest.mark.parametrize("seeds", [3, 10])
def test_equals_raise_fewer_than_five_false_alarms_in_a_hundred(seeds: int, shipped: bool) -> None:
    assert _false_alarms(seeds, runs=400, shipped=_others() if shipped else None) < 0.05


def test_equals_rarely_raise_an_alarm() -> None:
    # Regressions are one side of 5 %: of 12 comparisons, more than one alarm has a chance below 4 %.
    assert _false_alarms(3, runs=12, shipped=_others()) <= 1 / 12


def test_what_cannot_be_compared() -> None:
    one = Results([record("x", "a1", seed, 0.5) for seed in range(3)])
    with pytest.raises(InputError, match="share no run"):
        compare(one, Results([record("y", "a1", seed, 0.5) for seed in range(3)]))
    with pytest.raises(InputError, match="other data"):
        compare(one, Results([record("x", "a1", seed, 0.5, data_fingerprint="other") for seed in range(3)]))


def test_what_only_one_side_holds_is_said() -> None:
    base = Results([record("x", task, seed, 0.5) for task in ("a1", "b1") for seed in range(3)])
    new = Results([record("x", "a1", seed, 0.5) for seed in range(3)] + [record("y", "a1", 0, 0.5)])
    assert compare(base, new).notes == ["Only BASE holds x on b1.", "Only NEW holds y on a1."]
    moved: dict[str, Any] = {
        "norm": {"measure": "m_norm", "scale": "linear", "score_0": 2.0, "score_1": 0.0, "floor": None}
    }
    other = Results([r | {"axes": moved} for r in base.records])
    assert any("references of a1, b1 differ" in note for note in compare(base, other).notes)


@pytest.fixture
def mixed() -> Comparison:
    before = _suite(np.random.default_rng(1), 3)
    records = [
        r | {"submission": "<b> & |x|" if r["submission"] == "adam" else r["submission"]} for r in before.records
    ]
    return compare(Results(records), _worse(Results(records), 0.9))


def test_markdown_says_what_changed_first(mixed: Comparison) -> None:
    lines = markdown(report(mixed)).splitlines()
    assert lines[0] == f"### Lowlands: {headline(mixed)}"
    assert headline(mixed).startswith(f"{len(mixed.regressions)} regressions, no improvements, ")
    rows = [line for line in lines if line.startswith("| regression")]
    assert len(rows) == 2 * len(mixed.regressions)  # once in the summary and once among all
    assert all(line.replace("\\|", "").count("|") == 8 for line in rows)
    assert "<b>" not in markdown(report(mixed)).replace("\\<b>", "")


def test_a_narrow_terminal_shows_costs_in_percent_and_exact_tests_by_their_p_value() -> None:
    before = _suite(np.random.default_rng(1), 3)
    slower = Results([r | {"gradient_evaluations": int(1.3 * r["gradient_evaluations"])} for r in before.records])
    parts = terminal(table(compare(before, slower)), 60)
    cells = [str(cell) for part in parts for column in part.columns for cell in column.cells]
    assert any(re.fullmatch(r"(29|30)(\.\d)?±\d+(\.\d+)? %", cell) for cell in cells)
    assert any(cell.endswith("(p = 1)") for cell in cells)
    assert not any("nan" in cell for cell in cells)


def test_markdown_shows_no_empty_table() -> None:
    same, other = (
        UpdateDifference("as it is", outcome, step, "w", 0.5)
        for outcome, step in ((Outcome.IDENTICAL, 0), (Outcome.DIFFERENT, 3))
    )
    for found, tables in (([same], 1), ([same, other], 2)):  # one of them is folded away
        text = markdown(updates({"x": found}))
        assert text.count("NEW / BASE   |") + text.count("NEW / BASE |") == tables


def test_junit_has_a_failure_for_every_regression(mixed: Comparison) -> None:
    root = ElementTree.fromstring(junit(report(mixed)))
    assert len(root.findall(".//testcase")) == len(mixed.differences)
    assert len(root.findall(".//failure")) == len(mixed.regressions) > 0
    assert {suite.get("name") for suite in root} == {"sgd", "muon", "<b> & |x|"}
    for suite in root:
        assert int(suite.get("failures", "")) == len(suite.findall(".//failure"))


def test_json_carries_everything(mixed: Comparison) -> None:
    made = json.loads(as_json(report(mixed)))
    assert made["regressions"] == len(mixed.regressions)
    assert made["differences"][0]["difference"]["low"] == mixed.differences[0].difference.low
