"""The leaderboard: who is ranked, how, and what does not depend on whom."""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from rliable import metrics
from scipy.stats import bootstrap

from leaderboard.analysis.baselines import shipped_logs, with_shipped
from leaderboard.analysis.differences import Differences
from leaderboard.analysis.measure_values import measure_values
from leaderboard.analysis.ranking import Standing, best, board, boards, places
from leaderboard.analysis.results import Results, check, load
from leaderboard.analysis.robustness import probabilities_of_improvement
from leaderboard.analysis.statistics import Spread
from leaderboard.tables import views
from suite.errors import InputError
from suite.tracks import TRACKS, Track
from tests.leaderboard.helpers import LINEAR, noisy, record, runs_of, scores_of


def _standings(records: list[dict[str, Any]]) -> dict[str, Standing]:
    return {standing.submission: standing for standing in board(Results(records)).standings}


names = st.sampled_from(["adam", "sgd", "sam", "muon", "lion"])
tasks = st.sampled_from(["a1", "a2", "b1", "c1"])
axes = st.sampled_from(["flatness", "norm", "generalization"])
values = st.lists(st.floats(0.0, 1.5), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(names, tasks, axes), values, min_size=1, max_size=12), names)
def test_adding_or_dropping_an_entry_changes_no_score(
    scores: dict[tuple[str, str, str], list[float]], dropped: str
) -> None:
    records = runs_of(scores)
    rest = [r for r in records if r["submission"] != dropped]
    before, after = _standings(rest) if rest else {}, _standings(records)
    for name, standing in before.items():
        assert after[name].axes.keys() == standing.axes.keys()
        for axis in standing.axes:
            assert_allclose(astuple(after[name].axes[axis]), astuple(standing.axes[axis]), atol=1e-12)
        assert_allclose(astuple(after[name].overall), astuple(standing.overall), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, st.lists(st.floats(0.0, 1.25), min_size=3, max_size=3), min_size=2), st.floats(0.0, 9.0))
def test_scatter_about_a_fixed_mean_moves_no_place(runs: dict[str, list[float]], factor: float) -> None:
    def made(factor: float) -> dict[str, Standing]:
        scores = {name: np.array(values) / 10 for name, values in runs.items()}  # small: scores end at 1.25
        first = next(iter(scores))
        mean = scores[first].mean()
        scores[first] = mean + min(factor, mean / (np.ptp(scores[first]) + 1e-9)) * (scores[first] - mean)
        return _standings(runs_of({(name, "a1", "norm"): values for name, values in scores.items()}))

    before, after = made(1.0), made(factor)
    ranks = [{name: standing.rank for name, standing in found.items()} for found in (before, after)]
    printed = {name: f"{standing.overall.value:.9f}" for name, standing in before.items()}
    # A mean on the edge of rounding to printed digits may fall to either side of it.
    if all(abs(float(value) * 1e3 % 1 - 0.5) > 1e-3 for value in printed.values()):
        assert ranks[0] == ranks[1]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, st.floats(0.0, 1.0), min_size=2), names, st.integers(1, 3))
def test_a_failing_run_improves_no_place(scores: dict[str, float], failing: str, failures: int) -> None:
    runs = {(name, "a1", "norm"): [score] * 3 for name, score in scores.items()}
    before = _standings(runs_of(runs))
    if failing in scores:
        runs[failing, "a1", "norm"] = [0.0] * failures + [scores[failing]] * (3 - failures)
        after = _standings(runs_of(runs))
        assert (after[failing].rank or 0) >= (before[failing].rank or 0)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, st.floats(0.0, 1.0), min_size=2), st.sets(names, min_size=1))
def test_others_move_a_place_by_their_presence_alone(scores: dict[str, float], dropped: set[str]) -> None:
    everyone = _standings(runs_of({(name, "a1", "norm"): [score] * 3 for name, score in scores.items()}))
    left = {name: score for name, score in scores.items() if name not in dropped}
    rest = _standings(runs_of({(name, "a1", "norm"): [score] * 3 for name, score in left.items()})) if left else {}
    for name, standing in rest.items():
        above = [other for other in scores.keys() - left.keys() if round(scores[other], 3) > round(scores[name], 3)]
        assert everyone[name].rank == (standing.rank or 0) + len(above)


def test_rows_stand_in_the_order_of_the_overall_score() -> None:
    made = board(Results(noisy({"low": 0.3, "high": 0.7, "middle": 0.5})))
    assert [(s.submission, s.rank_text) for s in made.standings] == [
        ("high", "1 [1-1]"),
        ("middle", "2 [2-2]"),
        ("low", "3 [3-3]"),
    ]


def test_equal_to_the_printed_digits_is_equal() -> None:
    records = noisy({"low": 0.3, "high": 0.7})
    records += [r | {"submission": "twin"} for r in records if r["submission"] == "high"]
    wanted = {"high": "1= [1-2]", "twin": "1= [1-2]", "low": "3 [3-3]"}
    assert {name: s.rank_text for name, s in _standings(records).items()} == wanted
    assert places(np.array([0.4999, 0.5004, 0.5006])) == [2, 2, 1]


def test_many_submissions_can_still_be_told_apart() -> None:
    records = noisy({f"s{number:02}": 0.1 + 0.02 * number for number in range(40)})
    standings = board(Results(records)).standings
    assert [standing.rank for standing in standings] == list(range(1, 41))
    assert [standing.rank_interval for standing in standings] == [(place, place) for place in range(1, 41)]


def test_a_single_seed_tells_nobody_apart() -> None:
    made = _standings([record("x", "a1", 0, 0.1), record("y", "a1", 0, 0.9)])
    assert {name: s.rank_text for name, s in made.items()} == {"x": "1 [1-2]~", "y": "2 [1-2]~"}
    assert made["x"].overall.value == pytest.approx(0.9)
    assert math.isnan(made["x"].overall.low)


def test_few_seeds_and_scores_of_zero_are_marked() -> None:
    for seeds, scores, rough in ((5, 0.5, False), (4, 0.5, True), (5, 0.0, True)):
        runs = {("x", "a1", "norm"): [scores] * seeds, ("y", "a1", "norm"): [0.7] * seeds}
        assert _standings(runs_of(runs))["x"].rough == rough


def test_explicit_regularizers_take_no_place_among_the_others() -> None:
    records = noisy({"first": 0.8, "second": 0.6})
    records += [r | {"explicit": True, "submission": "decay"} for r in noisy({"decay": 0.7})]
    everyone, implicit = (board(Results(records), implicit_only=only) for only in (False, True))
    assert [(s.submission, s.rank) for s in everyone.standings] == [("first", 1), ("decay", 2), ("second", 3)]
    assert [(s.submission, s.rank) for s in implicit.standings] == [("first", 1), ("second", 2)]
    assert [s.overall for s in implicit.standings] == [s.overall for s in everyone.standings if not s.explicit]


@pytest.mark.parametrize("log", shipped_logs(), ids=lambda log: log.stem)
def test_no_shipped_table_ranks_a_lower_score_above_a_higher(log: Path) -> None:
    for made in boards(load([log])):
        standings = [standing for standing in made.standings if standing.rank]
        scores = [standing.overall.value for standing in standings]
        assert scores == sorted(scores, reverse=True)
        assert [standing.rank for standing in standings] == places(np.array(scores))
        for standing in standings:
            low, high = standing.rank_interval or (0, 0)
            assert low <= (standing.rank or 0) <= high


def test_an_entry_that_fails_at_random_stays_where_its_score_is() -> None:
    """Adagrad that stands still in a random half of its runs has its score's place; the others' order stays."""
    quick = load([log for log in shipped_logs() if log.stem == "quick"])
    rng = np.random.default_rng(0)
    flaky = [
        run | {"submission": "flaky"} | ({"converged": False, "measures": {}} if rng.uniform() < 0.5 else {})
        for run in quick.scored()
        if run["submission"] == "adagrad"
    ]
    before, after = board(quick), board(Results([*quick.records, *flaky]))
    place = [standing.submission for standing in after.standings].index("flaky")
    others = [*after.standings[:place], *after.standings[place + 1 :]]
    assert [s.submission for s in others] == [s.submission for s in before.standings]
    assert [s.rank for s in others[:place]] == [s.rank for s in before.standings[:place]]
    assert after.standings[place].rank == place + 1 == len(quick.submissions("optimizer"))  # L-BFGS alone is below
    assert all(s.overall.value > after.standings[place].overall.value for s in others[:place])
    assert all(s.overall.value < after.standings[place].overall.value for s in others[place:])


def test_an_own_network_for_images_stands_as_the_shipped_ones_do() -> None:
    """It has skipped the tasks of vectors: without a rank beside those who have them, ranked where nobody has them."""
    quick = load([log for log in shipped_logs() if log.stem == "quick"])
    of = {name: [r for r in quick.records if r["submission"] == name] for name in ("cnn", "mlp")}
    own = [run | {"submission": "own"} for run in of["cnn"]]
    standings = board(with_shipped(Results([*own, *of["mlp"]])), "architecture").standings
    rows = {standing.submission: standing for standing in standings}
    assert (rows["own"].rank, rows["cnn"].rank, rows["mlp"].rank is None) == (None, None, False)
    assert rows["own"].missing == rows["cnn"].missing
    assert len(rows["own"].missing) == 3
    alone = {standing.submission: standing for standing in board(with_shipped(Results(own)), "architecture").standings}
    assert alone["own"].rank == alone["cnn"].rank
    assert alone["own"].rank is not None
    assert all(not standing.missing for standing in alone.values())


def test_best_marks_a_block_from_the_top() -> None:
    def differences(p_of_top: list[float]) -> Differences:
        class Given(Differences):
            def p_values(self) -> Any:
                return np.array([p_of_top] * len(p_of_top))

        return Given(np.zeros((1, 1)), Spread(np.zeros((1, 1)), np.zeros((1, 1))), np.zeros((1, 1)))

    # The third cannot be told from the first, so the second, which is above it, is marked too.
    assert best(differences([1.0, 0.01, 0.2, 0.001]), np.array([0.9, 0.8, 0.7, 0.1])) == [True, True, True, False]
    assert best(differences([1.0, 1.0]), np.array([math.nan, math.nan])) == [False, False]
    # A score of 0 is not good, whatever it differs from.
    assert best(differences([1.0, 1.0, 1.0]), np.array([0.2, 0.0, 0.0])) == [True, False, False]
    assert best(differences([1.0, 1.0]), np.array([0.0, 0.0])) == [False, False]


def test_a_measure_without_some_of_its_runs_is_never_best() -> None:
    """The one run that reached the target loss is the easiest of three."""
    runs = {"whole": [0.3, 0.3, 0.3], "part": [0.1, None, None]}
    records = [
        record(name, "a1", seed, 0.0 if value is None else value)
        | ({} if value is not None else {"converged": False, "measures": {}})
        for name, values in runs.items()
        for seed, value in enumerate(values)
    ]
    found = board(Results(records))
    (row,) = measure_values(Results(records), found)
    assert dict(zip(row.names, row.best, strict=True)) == {"whole": True, "part": False}
    table = views.measures(found, Results(records))
    assert {column.title: cell.text for column, cell in zip(table.columns, table.rows[0], strict=True)}["part"] == (
        "0.100 (1/3)"
    )


def test_a_seed_that_is_scored_on_several_settings_counts_once() -> None:
    """Its value is the mean over its settings, and it is missing where one of them missed the target loss."""
    values = {0: [0.1, 0.3], 1: [0.2, 0.6], 2: [0.4, None]}
    records = [
        record("x", "a1", seed, value or 0.0)
        | {"trial": trial, "selection": "convergence"}
        | ({} if value is not None else {"converged": False, "measures": {}})
        for seed, settings in values.items()
        for trial, value in enumerate(settings)
    ]
    found = board(Results(records))
    (row,) = measure_values(Results(records), found)
    assert row.values[0] == pytest.approx([0.2, 0.4, math.nan], nan_ok=True)
    assert (row.seeds, row.measured) == ((3,), [2])
    assert views.measures(found, Results(records)).rows[0][-1].text == "0.3 (2/3)"


def _coverage(seeds: int, tasks: int, runs: int = 100) -> float:
    """How often the interval of skewed scores on several tasks holds their true mean."""
    rng, hits = np.random.default_rng(3), 0
    for _ in range(runs):
        drawn = 0.4 + 0.1 * rng.exponential(size=(tasks, seeds))
        made = runs_of({("x", f"a{task}", "norm"): scores for task, scores in enumerate(drawn)})
        interval = board(Results(made), resamples=400).standings[0].overall
        hits += interval.low <= 0.5 <= interval.high
    return hits / runs


def test_intervals_cover_with_few_seeds() -> None:
    assert _coverage(seeds=3, tasks=5) >= 0.85
    assert _coverage(seeds=20, tasks=1) >= 0.85


def test_intervals_are_reproducible_and_narrow_with_seeds() -> None:
    first, second = (_standings(noisy({"x": 0.5}))["x"].overall for _ in range(2))
    assert first == second
    many = _standings(noisy({"x": 0.5}, seeds=40))["x"].overall
    assert many.high - many.low < (first.high - first.low) / 1.5


def test_incomplete_submissions_are_shown_apart() -> None:
    records = noisy({"x": 0.5, "y": 0.6})
    made = board(Results([r for r in records if not (r["submission"] == "y" and r["task"] == "b1")]))
    # The one that holds all runs is ranked, the other says what it lacks.
    assert [(s.submission, s.rank_text, s.missing) for s in made.standings] == [
        ("x", "1 [1-1]", ()),
        ("y", "–", ("b1",)),
    ]


def test_the_track_says_what_counts() -> None:
    def run(name: str, task: str, seeds: int) -> list[dict[str, Any]]:
        return [record(name, task, seed, 0.5, track="smoke") for seed in range(seeds)]

    # A variant that only one ran, and seeds beyond the track's two, leave the others complete.
    records = [*run("x", "adaptive_trap", 2), *run("y", "adaptive_trap", 5), *run("y", "max_margin[n=9]", 2)]
    made = board(Results(records))
    assert {s.submission: s.missing for s in made.standings} == {"x": (), "y": ()}
    assert made.scores.tasks == ["adaptive_trap"]
    assert made.extra_scores.tasks == ["max_margin[n=9]"]


def test_nothing_is_missing_where_the_track_asks_for_fewer_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track("smoke", ("max_margin", "mnist5k_mlp"), 4, 1, 0, "", fewer_seeds={"mnist5k_mlp": 2})
    monkeypatch.setitem(TRACKS, "smoke", track)

    def run(name: str, task: str, seeds: int) -> list[dict[str, Any]]:
        return [record(name, task, seed, 0.5, track="smoke") for seed in range(seeds)]

    whole = [*run("x", "max_margin", 4), *run("x", "mnist5k_mlp", 4)]
    made = board(Results([*whole, *run("y", "max_margin", 4), *run("y", "mnist5k_mlp", 2), *run("z", "max_margin", 3)]))
    # x has more than asked for, y as much, z a seed too few.
    missing = {standing.submission: standing.missing for standing in made.standings}
    assert (missing["x"], missing["y"]) == ((), ())
    assert "max_margin" in missing["z"]


def test_every_kind_has_its_own_board() -> None:
    records = noisy({"x": 0.5}) + [r | {"kind": "architecture"} for r in noisy({"net": 0.9})]
    made = boards(Results(records))
    assert [(b.kind, b.names) for b in made] == [("optimizer", ["x"]), ("architecture", ["net"])]


def test_architectures_take_their_time_relative_to_mlp() -> None:
    taken = {"mlp": 2.0, "sgd": 1.0, "x": 3.0}
    results = Results([record(name, "a1", 0, 0.5, seconds=s, kind="architecture") for name, s in taken.items()])
    (made,) = boards(results)
    assert {s.submission: s.relative_seconds for s in made.standings} == {"mlp": 1.0, "sgd": 0.5, "x": 1.5}
    assert "relative to mlp" in views.ranking(made, results).notes[-1]


def test_cost_is_relative_to_sgd() -> None:
    records = [record(name, task, 0, 0.5, seconds=s) for name, s in (("sgd", 2.0), ("x", 6.0)) for task in ("a1", "b1")]
    assert _standings(records)["x"].relative_seconds == pytest.approx(3.0)
    assert _standings([record("x", "a1", 0, 0.5)])["x"].relative_seconds is None


def test_what_must_not_share_a_table() -> None:
    with pytest.raises(InputError, match="mix suite versions 1 and 2"):
        check([record("x", "a1", 0, 0.5), record("x", "a1", 1, 0.5, suite_version="2")])
    with pytest.raises(InputError, match="two data sets for task 'a1', seed 0"):
        check([record("x", "a1", 0, 0.5), record("y", "a1", 0, 0.5, data_fingerprint="other")])


def _on_scale(seed: int = 1, **stated: Any) -> dict[str, Any]:
    return record("y", "a1", seed, 0.5, axes={"norm": LINEAR | {"measure": "m_norm"} | stated})


@pytest.mark.parametrize(
    "other",
    [_on_scale(measure="other"), _on_scale(2, measure="other"), _on_scale(score_0=1.1), _on_scale(score_1=0.01)],
)
def test_one_axis_of_a_task_is_scored_in_one_way(other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"score the norm of task 'a1' in two ways \(m_norm from 1\.0 to 0\.0 and"):
        check([record("x", "a1", 1, 0.5), other])


def test_references_of_an_oracle_differ_between_seeds_and_by_rounding_and_may_be_missing() -> None:
    unsolved = _on_scale(score_0=None, score_1=None)
    check([unsolved, record("x", "a1", 1, 0.5), _on_scale(score_0=1 + 1e-9), unsolved, _on_scale(2, score_0=3.0)])


def test_a_measure_that_is_not_defined_is_named_with_the_reason() -> None:
    unproved = {"m_norm": "Not canonical: it is not proved which changes of the weights leave the network alone"}
    records = [record("x", "a1", 0, 0.2), record("y", "a1", 0, 0.5, measures={"m_norm": None}, undefined=unproved)]
    (made,) = boards(Results(records))
    note = f"y on a1: m_norm is not defined and scores 0. {unproved['m_norm']}."
    for view in (views.measures, views.why):
        assert [each for each in view(made, Results(records)).notes if "not defined" in each] == [note]


def test_provisional_references_are_named_under_the_table() -> None:
    records = [_on_scale(provisional="they are values of m_older"), record("x", "b1", 0, 0.5)]
    (made,) = boards(Results(records))
    notes = views.ranking(made, Results(records)).notes
    words = "Provisional scores, until their references are made anew: a1 (norm), as they are values of m_older."
    assert words in notes
    (made,) = boards(Results(records[1:]))
    assert not any("rovisional" in note for note in views.ranking(made, Results(records[1:])).notes)


def test_agreement_with_rliable_and_scipy() -> None:
    """Where they coincide: one axis, one family, many seeds.

    The point estimates are rliable's. Its bootstrap cannot be imported beside pandas 3 (it needs arch < 8); scipy's is
    the same one: every task's runs are resampled by themselves.
    """
    rng = np.random.default_rng(0)
    drawn = {name: rng.beta(2, b, size=(40, 3)) for name, b in (("x", 2.0), ("y", 3.0))}  # [seeds, tasks]
    records = runs_of({(name, f"a{t}", "norm"): scores[:, t] for name, scores in drawn.items() for t in range(3)})
    standings = _standings(records)

    def mean_of_tasks(*tasks: Any, axis: int) -> Any:
        return np.mean([task.mean(axis=axis) for task in tasks], axis=0)

    for name, runs in drawn.items():
        overall = standings[name].overall
        assert overall.value == pytest.approx(metrics.aggregate_mean(runs))
        wanted = bootstrap(list(runs.T), mean_of_tasks, method="percentile", n_resamples=4_000, rng=1)
        interval = wanted.confidence_interval
        assert [overall.low, overall.high] == pytest.approx([interval.low, interval.high], abs=0.006)
    found = probabilities_of_improvement(scores_of(records))
    assert found[0, 1] == pytest.approx(metrics.probability_of_improvement(drawn["x"], drawn["y"]))


def test_where_nothing_is_scored_everyone_is_shown_without_a_rank() -> None:
    """A task without references, alone: its measures are what the user came for."""
    records = [
        record(name, "a1", seed, value, axes={}, reported=["m_norm"], gradient_evaluations=cost)
        for name, value, cost in (("dear", 0.5, 20), ("sgd", 0.25, 10))
        for seed in range(3)
    ]
    found = board(Results(records))
    assert found.names == ["sgd", "dear"]
    for standing in found.standings:
        assert standing.rank is None
        assert math.isnan(standing.overall.value)
        assert (standing.converged, standing.runs, standing.relative_seconds) == (3, 3, 1.0)
    table = views.measures(found, Results(records))
    assert [column.key for column in table.columns][-2:] == ["sgd", "dear"]
    assert [entry.text for entry in table.rows[0]][-2:] == ["0.250", "0.500"]
    assert views.UNSCORED in views.ranking(found, Results(records)).notes


def _searched(draw: float, searches: int = 2, **more: Any) -> list[dict[str, Any]]:
    """Two submissions on two tasks, six seeds dealt out to the searches, whose means differ by `draw`; a trial each."""
    rng = np.random.default_rng(0)
    runs = [
        record(name, task, seed, 0.5 - merit + draw * (seed % searches) + 0.01 * rng.normal(), search=seed % searches)
        for name, merit in (("x", 0.2), ("y", 0.0))
        for task in ("a1", "b1")
        for seed in range(6)
    ]
    trials = [
        record(name, task, 10_000 + 1_000 * search, 0.9 - 0.2 * trial, search=search, trial=trial, phase="tune") | more
        for name in ("x", "y")
        for task in ("a1", "b1")
        for search in range(searches)
        for trial in range(3)
    ]
    return runs + trials


def test_the_draw_of_the_search_is_its_own_uncertainty() -> None:
    calm, lottery = _standings(_searched(0.0))["x"], _standings(_searched(0.3))["x"]
    assert calm.overall.high - calm.overall.low == pytest.approx(lottery.overall.high - lottery.overall.low)
    assert calm.half_over_searches is not None
    assert lottery.half_over_searches is not None
    assert lottery.half_over_searches > 5 * calm.half_over_searches
    assert calm.rank_over_searches == (1, 1)
    assert lottery.rank_interval == (1, 1)


def test_with_one_search_the_draw_is_not_known() -> None:
    results = Results(_searched(0.0, searches=1))
    found = board(results)
    assert {s.half_over_searches for s in found.standings} == {None}
    assert {s.rank_over_searches for s in found.standings} == {None}
    table = views.ranking(found, results)
    assert any(views.ONE_SEARCH in note for note in table.notes)
    assert "± search" not in [column.title for column in table.for_people().columns]
    several = Results(_searched(0.1))
    table = views.ranking(board(several), several)
    assert any(views.SEARCHES in note for note in table.notes)
    assert [column.title for column in table.for_people().columns][-3:] == ["± tasks", "± search", "overall"]


def test_the_expected_score_is_the_mean_over_the_space() -> None:
    standing = _standings(_searched(0.0))["x"]
    assert standing.expected == pytest.approx(1 - (0.9 + 0.7 + 0.5) / 3)
    for unknown in ({"status": "raced", "converged": False}, {"axes": {}}, {"measures": {}}):
        assert _standings(_searched(0.0, **unknown))["x"].expected is None
    missed = {"status": "budget", "converged": False, "measures": {}}
    assert _standings(_searched(0.0, **missed))["x"].expected == 0


def test_one_measured_search_tells_the_expected_score() -> None:
    runs = _searched(0.0)
    for run in runs:
        if run["phase"] == "tune" and run["search"] == 1:
            run |= {"status": "raced", "converged": False, "axes": {}, "measures": {}}
    assert _standings(runs)["x"].expected == pytest.approx(1 - (0.9 + 0.7 + 0.5) / 3)


def test_where_every_setting_that_trains_is_scored_the_others_count_nothing() -> None:
    """Of four settings two train, in either search, and score 0.8 and 0.4: the mean over the space is 0.3."""
    every = {"selection": "convergence"}
    for searches in (1, 2):
        runs = [
            record("x", task, seed, 1 - score, trial=trial, search=seed % searches) | every
            for task in ("a1", "b1")
            for seed in range(6)
            for trial, score in ((1, 0.8), (3, 0.4))
        ]
        runs += [
            record("x", task, 10_000 + search, 0.5, trial=trial, search=search, phase="tune")
            | {"converged": trial in (1, 3), "axes": {}, "measures": {}}
            | every
            for task in ("a1", "b1")
            for search in range(searches)
            for trial in range(4)
        ]
        standing = _standings(runs)["x"]
        assert standing.expected == pytest.approx(0.3)
        assert standing.overall.value == pytest.approx(0.6)


def test_the_uncertainty_over_tasks_is_shown() -> None:
    quick = load([log for log in shipped_logs() if log.stem == "quick"])
    for standing in board(quick).standings:
        assert standing.half_over_tasks is not None
        assert standing.half_over_tasks > standing.overall.high - standing.overall.value, "tasks say less than seeds"
        low, high = standing.rank_over_tasks or (0, 0)
        assert low <= (standing.rank or 0) <= high


def _failing(name: str, *tasks: str) -> list[dict[str, Any]]:
    """Runs of which none has a solution."""
    ended = {"converged": False, "status": "failed", "measures": {}, "gradient_evaluations": 0}
    return [record(name, task, seed, 0.0) | ended for task in tasks for seed in range(2)]


def test_who_has_no_solution_stands_below_everyone_who_has_one() -> None:
    """Below one that scores 0 with solutions, and below one that lacks a task; names and costs would say otherwise."""
    works = [record("z_works", task, seed, 1.0) for task in ("a1", "b1") for seed in range(2)]
    lacks = [record("z_lacks", "a1", seed, 0.5) for seed in range(2)]
    found = board(Results([*_failing("a_fails", "a1", "b1"), *works, *lacks]))
    assert found.names == ["z_works", "z_lacks", "a_fails"]
    assert [standing.rank for standing in found.standings] == [1, None, None]
    unscored = [run | {"axes": {}} for run in (*_failing("a_fails", "a1"), *works)]
    assert board(Results(unscored)).names == ["z_works", "a_fails"]
