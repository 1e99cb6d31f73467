"""Who tunes off-line and ships constants, or a space as narrow as one, is named: that search is in no budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.analysis.baselines import shipped_logs
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results, load
from leaderboard.analysis.search_width import FIXED, NARROWLY, unsearched
from leaderboard.tables import views
from suite.submission import Choice, LogUniform, Submission, Uniform
from tests.leaderboard.helpers import record


def _runs(name: str, space: dict[str, Any], trials: int = 4, searches: int = 2) -> list[dict[str, Any]]:
    """What two seeds on two tasks record of a submission with this space: the first trial is selected."""
    submission = Submission(name=name, optimizer=lambda params, **settings: None, space=space)
    found = []
    for task in ("a", "b"):
        for search in range(searches):
            drawn = submission.settings(submission.size_of_search(trials), search)
            tried = [
                record(name, task, 10_000, 0.5, phase="tune", trial=trial, search=search) | {"hyperparameters": values}
                for trial, values in enumerate(drawn)
            ]
            found += tried if len(tried) > 1 else []
            found += [record(name, task, search, 0.5, search=search) | {"hyperparameters": drawn[0]}]
    return found


HONEST = _runs("honest", {"lr": LogUniform(1e-3, 0.1)})


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"lr": 0.0337}, FIXED),
        ({"lr": 0.0337, "momentum": 0.93}, FIXED),
        ({}, FIXED),
        ({"lr": LogUniform(0.033, 0.034)}, NARROWLY),
        ({"lr": Uniform(0.03, 0.04), "beta": Uniform(0.9, 0.95)}, NARROWLY),
        ({"lr": Choice(0.0337, 0.0338)}, NARROWLY),
        ({"lr": 0.0337, "decoy": Choice("a", "b")}, NARROWLY),
    ],
)
def test_constants_that_were_tuned_off_line_are_named(space: dict[str, Any], words: str) -> None:
    results = Results([*HONEST, *_runs("elsewhere", space)])
    assert unsearched(results.records) == {"elsewhere": words}
    notes = views.ranking(board(results), results).notes
    assert f"Tuned elsewhere, if at all: elsewhere ({words})." in notes


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-4, 0),
    st.floats(1, 3),
    st.integers(0, 200),
    st.integers(4, 20),
    st.booleans(),
    st.sampled_from([0.0, 0.4]),
)
def test_nobody_who_searches_a_decade_is_named(
    low: float, decades: float, search: int, trials: int, alone: bool, narrow: float
) -> None:
    """Whatever points the search draws; and whoever searches 0.4 of one always is."""
    space = {"lr": LogUniform(10**low, 10 ** (low + (narrow or decades)))} | ({} if alone else {"momentum": 0.9})
    drawn = Submission(name="x", optimizer=lambda params: None, space=space).settings(trials, search)
    runs = [record("x", "a", 0, 0.5, trial=n) | {"hyperparameters": values} for n, values in enumerate(drawn)]
    assert unsearched(runs) == ({"x": NARROWLY} if narrow else {})


def test_a_few_points_say_nothing_of_a_range() -> None:
    assert unsearched(_runs("x", {"lr": LogUniform(1e-3, 0.1)}, trials=2)) == {}
    assert unsearched(_runs("x", {"lr": LogUniform(1e-3, 0.1)}, trials=1)) == {}


def test_of_those_shipped_only_one_without_a_step_size_is_named() -> None:
    """L-BFGS finds its step by a line search: there is nothing to search for, and whoever reads its row is told."""
    for log in shipped_logs():
        named = unsearched(load([log]).records)
        assert named == ({"lbfgs": "settings fixed beforehand"} if log.stem == "quick" else {}), log
