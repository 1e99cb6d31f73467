"""Logs become results: what cannot be judged is left out and named."""

from __future__ import annotations

from pathlib import Path

from leaderboard.analysis.results import load
from suite.storage.log import Log
from tests.leaderboard.helpers import record


def test_runs_without_data_are_left_out_and_named_and_dead_ones_count(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    nothing = {"data_fingerprint": None, "converged": False}
    for made in (
        record("sgd", "a", 0, 0.5),
        record("sgd", "a", 1, 0.5) | nothing | {"status": "failed", "reason": "the worker process died"},
        record("adam", "a", 1, 0.5),
        record("sgd", "b", 0, 0.5) | nothing | {"status": "unavailable", "reason": "There is no CIFAR-10 here."},
    ):
        log.append(made)
    results = load([log.path])
    assert [(r["submission"], r["task"], r["seed"]) for r in results.records] == [
        ("sgd", "a", 0),
        ("sgd", "a", 1),
        ("adam", "a", 1),
    ]
    assert results.notes == ["Task b could not be run and is left out: There is no CIFAR-10 here."]
