"""A log that tells two stories of a run: neither counts, and the run is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import load
from leaderboard.tables import views
from suite.behavior import Behavior, Probe
from suite.storage.log import Log
from tests.leaderboard.helpers import record
from tests.logs import RUN

ELSEWHERE = {"environment": RUN["environment"] | {"torch": "another"}}
DECAYS = Probe((Behavior.DECAYS,), 16, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _log(path: Path, *more: dict[str, Any]) -> Path:
    """Two submissions on two tasks; then the records of `more`."""
    log = Log(path / "log.jsonl")
    runs = [
        record(name, task, seed, value)
        for name, value in (("honest", 0.3), ("other", 0.5))
        for task in ("a", "b")
        for seed in range(3)
    ]
    log.append(*runs, *more)
    return log.path


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"measures": {"m_norm": 1e-9}}, "measures.m_norm 0.5 and 1e-09"),
        ({"measures": {"m_norm": 0.5 * (1 - 2e-4)}}, "measures.m_norm 0.5 and 0.4999"),
        ({"measures": {"m_norm": 0.4}} | ELSEWHERE, "measures.m_norm 0.5 and 0.4"),
        ({"measures": {}}, "measures.m_norm 0.5 and None"),
        ({"gradient_evaluations": 1}, "gradient_evaluations"),
        ({"explicit": True}, "explicit False and True"),
        ({"probe": to_builtins(DECAYS)}, "probe None and ['decays its weights']"),
    ],
)
def test_a_run_with_two_records_that_differ_does_not_count_and_is_named(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    """A second, sealed record of a run, as code that runs beside the log could write it."""
    results = load([_log(tmp_path, record("other", "b", 1, 0.5) | change)])
    assert len(results.notes) == 1
    assert "Two records of one run differ, and neither counts: other on b, seed 1 (" + named in results.notes[0]
    assert sorted(r["seed"] for r in results.records if (r["submission"], r["task"]) == ("other", "b")) == [0, 2]
    found = board(results)
    assert {standing.submission: standing.rank for standing in found.standings} == {"honest": 1, "other": None}
    assert found.standings[1].missing == ("b",)
    assert views.ranking(found, results).rows


@pytest.mark.parametrize("change", [{}, {"seconds": 9.0}, {"measures": {"m_norm": 0.5 * (1 + 1e-5)}}])
def test_repetitions_that_agree_up_to_rounding_count_once(tmp_path: Path, change: dict[str, Any]) -> None:
    results = load([_log(tmp_path, record("other", "b", 1, 0.5) | change)])
    assert results.notes == ["1 records of older sources or repeated runs are left out."]
    assert len(results.records) == 12


def test_another_machine_may_differ_by_five_percent(tmp_path: Path) -> None:
    results = load([_log(tmp_path, record("other", "b", 1, 0.5 * 1.04) | ELSEWHERE)])
    assert [note for note in results.notes if "differ" in note] == []


def test_a_repetition_after_missing_data_counts(tmp_path: Path) -> None:
    missing = {"status": "unavailable", "converged": False, "reason": "no data", "measures": {}}
    log = Log(tmp_path / "log.jsonl")
    log.append(record("x", "a", 0, 0.5) | missing, record("x", "a", 0, 0.5))
    assert [r["status"] for r in load([log.path]).records] == ["converged"]


def test_many_such_runs_are_one_sentence_for_a_submission_and_task(tmp_path: Path) -> None:
    forged = [record("other", task, seed, 0.0) for task in ("a", "b") for seed in range(3)]
    notes = [note for note in load([_log(tmp_path, *forged)]).notes if "differ" in note]
    assert len(notes) == 2
    assert all("and 2 more of its runs there" in note for note in notes)


def test_seeds_that_were_scored_with_several_settings_are_named(tmp_path: Path) -> None:
    results = load([_log(tmp_path, record("other", "b", 1, 0.1, trial=7) | {"hyperparameters": {"lr": 9.0}})])
    assert results.notes[0].startswith("other on b: 1 of its seeds were scored with several settings")
    assert len(results.records) == 12
