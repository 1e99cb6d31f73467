"""The shipped results beside a user's own: which runs of whom, and when none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leaderboard.analysis import baselines as shipped
from leaderboard.analysis.results import Results
from suite.storage.log import Log
from suite.storage.record import seal
from tests.leaderboard.helpers import record


def _run(submission: str, task: str, seed: int, **more: Any) -> dict[str, Any]:
    return seal(record(submission, task, seed, 0.5, **({"track": "quick"} | more)))


@pytest.fixture(autouse=True)
def _baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "BASELINES", tmp_path)
    log = Log(tmp_path / "quick.jsonl")
    runs = [_run(name, task, seed) for name in ("sgd", "adam") for task in ("a", "b") for seed in range(3)]
    for run in [*runs, _run("mlp", "a", 0, kind="architecture"), _run("adam", "a", 0, phase="tune")]:
        log.append(run)


def _held(results: Results, name: str) -> list[tuple[str, int]]:
    return sorted((r["task"], r["seed"]) for r in results.records if r["submission"] == name)


def test_the_runs_that_results_hold_of_submissions_that_it_lacks() -> None:
    own = Results([_run("mine", "a", 0), _run("mine", "a", 1), _run("adam", "a", 0, seconds=7.0)])
    everyone = shipped.with_shipped(own)
    assert everyone.records[: len(own.records)] == own.records
    assert _held(everyone, "sgd") == [("a", 0), ("a", 1)]
    assert _held(everyone, "adam") == [("a", 0)]  # one's own, not run again and not replaced
    assert _held(everyone, "mlp") == []
    assert {r["submission"]: r["seconds"] for r in everyone.records} == {"mine": 1.0, "adam": 7.0, "sgd": None}


def test_another_track_has_nothing_beside_it() -> None:
    own = Results([_run("mine", "a", 0, track="smoke")])
    assert shipped.with_shipped(own) == own


@pytest.mark.parametrize("other", [{"suite_version": "2"}, {"data_fingerprint": "other"}])
def test_what_must_not_share_a_table_is_left_out_and_said(other: dict[str, str]) -> None:
    own = Results([_run("mine", "a", 0, **other)])
    everyone = shipped.with_shipped(own)
    assert everyone.records == own.records
    assert everyone.notes
    assert "cannot share a table" in everyone.notes[0]
