"""The gate tells a regression from noise and from a broken asv."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gate import BROKEN, COUNTS, FINE, REGRESSION, TIMES, Run, judge, main

SLOW = "bench_training.TrainingLoop.time_train('linear', 'sgd', 1)"
WORK = "bench_training.TrainingCounts.track_flops('images', 'sam')"

Ended = tuple[int, str]


def _said(*names: str) -> Ended:
    """What `asv continuous` 0.6.6 says where `names` have got worse, and its exit status."""
    if not names:
        return 0, "BENCHMARKS NOT SIGNIFICANTLY CHANGED.\n"
    rows = "\n".join(f"| +        | 1.20±0.01ms          | 2.5±0.1ms           |    2.08 | {name} |" for name in names)
    head = "Benchmarks that have got worse:\n\n| Change   | Before   | After    |   Ratio | Benchmark (Parameter)  |"
    return 1, f"{head}\n|----------|----------|----------|---------|-------|\n{rows}\n\nPERFORMANCE DECREASED.\n"


def _asv(
    counts: tuple[int, str], first: tuple[int, str], second: tuple[int, str] | None = None
) -> tuple[Run, list[Sequence[str]]]:
    calls: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> Ended:
        calls.append(arguments)
        if arguments[0] == "machine":
            return 0, ""
        if COUNTS in arguments:
            return counts
        if TIMES in arguments:
            return first
        assert second is not None, "a second look at nothing"
        return second

    return run, calls


def test_nothing_changed() -> None:
    run, calls = _asv(_said(), _said())
    verdict = judge(run, "main", "HEAD")
    assert (verdict.status, verdict.lines) == (FINE, ["No regression."])
    assert all(call[-2:] == ["main", "HEAD"] for call in calls if call[0] == "continuous")


def test_slower_twice_is_a_regression() -> None:
    run, calls = _asv(_said(), _said(SLOW), _said(SLOW))
    assert judge(run, "main", "HEAD").status == REGRESSION
    # The second look is at what was flagged and nothing else, with more rounds.
    assert "rounds=4" in calls[-1]
    pattern = calls[-1][calls[-1].index("--bench") + 1]
    assert "time_train" in pattern
    assert r"\(" in pattern


def test_slower_once_is_noise() -> None:
    run, _ = _asv(_said(), _said(SLOW), _said())
    verdict = judge(run, "main", "HEAD")
    assert verdict.status == FINE
    assert verdict.lines == [f"Slower once, not again: {SLOW}"]


def test_more_work_is_a_regression_at_once() -> None:
    run, _ = _asv(_said(WORK), _said())
    assert judge(run, "main", "HEAD").lines == [f"More work: {WORK}"]


@pytest.mark.parametrize(
    "broken", [(2, "a benchmark failed"), (1, "Unknown commit"), (1, "PERFORMANCE DECREASED"), (127, "")]
)
def test_a_broken_asv_is_neither(broken: tuple[int, str]) -> None:
    for run, _ in (_asv(broken, _said()), _asv(_said(), broken), _asv(_said(), _said(SLOW), broken)):
        assert judge(run, "main", "HEAD").status == BROKEN


def test_unknown_commits_end_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> tuple[int, str]:
        seen.append(arguments)
        return (0, "") if arguments[0] == "machine" else (1, "Unknown commit nowhere")

    monkeypatch.setattr("benchmarks.gate.asv", run)
    assert main(["nowhere"]) == BROKEN
    assert list(seen[-1][-2:]) == ["nowhere", "HEAD"]


@pytest.mark.parametrize("asked", ["--benchmark-only", "--benchmark-compare-fail=mean:5%"])
def test_times_are_not_judged_where_benchmarks_are_off(asked: str) -> None:
    """Under xdist pytest-benchmark runs what it is to time once, and its gate lets every regression pass."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        asked,
        "--collect-only",
        "tests/benchmarks/test_gate.py",
    ]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Benchmarks are off under xdist" in found.stderr
