"""Oracles on disk: what is kept comes back exactly, and whatever goes wrong with the disk is only solved again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from suite.oracles import oracle_cache as cache
from suite.oracles.solvers import OracleError
from suite.storage import cache as disk
from suite.task import Oracle
from suite.tasks import find_task
from suite.trials import resolved

ORACLE = Oracle(
    {"w": torch.tensor([[0.1, -1e300], [float("inf"), 3.0]], dtype=torch.float64), "index": torch.arange(3)},
    {"margin": 0.1 + 0.2, "norm": 1e-300},
)


class Solver:
    """Counts its calls and takes long enough to be worth keeping."""

    def __init__(self, seconds: float = 2 * disk.MIN_SECONDS) -> None:
        self.calls, self.seconds = 0, seconds

    def __call__(self) -> Oracle:
        self.calls += 1
        time.sleep(self.seconds)
        return ORACLE


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lowlands" / "oracles"


def same(oracle: Oracle) -> bool:
    return (
        oracle.values == ORACLE.values
        and oracle.solutions.keys() == ORACLE.solutions.keys()
        and all(torch.equal(oracle.solutions[name], tensor) for name, tensor in ORACLE.solutions.items())
        and all(oracle.solutions[name].dtype == tensor.dtype for name, tensor in ORACLE.solutions.items())
    )


def test_solved_once_and_returned_exactly(home: Path) -> None:
    solve = Solver()
    assert same(cache.cached_oracle("key", solve))
    assert same(cache.cached_oracle("key", solve))
    assert solve.calls == 1
    assert [path.suffix for path in home.iterdir()] == [".npz"]  # nothing temporary is left
    cache.cached_oracle("another key", solve)
    assert solve.calls == 2


def test_every_damage_is_solved_again_and_repaired(home: Path) -> None:
    solve = Solver()
    cache.cached_oracle("key", solve)
    (path,) = home.iterdir()
    whole = path.read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 0xFF, *whole[at + 1 :]]) for at in range(0, len(whole), 97)]
    for damaged in (b"", b"not a zip", whole[: len(whole) // 2], whole[:-1], *flipped):
        path.write_bytes(damaged)
        solve.seconds = 0
        assert same(cache.cached_oracle("key", solve))
    path.write_bytes(b"")
    solve.calls, solve.seconds = 0, 2 * disk.MIN_SECONDS
    cache.cached_oracle("key", solve)
    cache.cached_oracle("key", solve)
    assert solve.calls == 1


def test_file_of_another_key_is_not_used(home: Path) -> None:
    solve = Solver()
    cache.cached_oracle("key", solve)
    (path,) = home.iterdir()
    whole = path.read_bytes()
    cache.cached_oracle("other", solve)
    for path in home.iterdir():
        path.write_bytes(whole)
    solve.calls = 0
    cache.cached_oracle("key", solve)
    cache.cached_oracle("other", solve)
    assert solve.calls == 1


def test_quick_oracles_are_not_written(home: Path) -> None:
    solve = Solver(seconds=0)
    cache.cached_oracle("key", solve)
    cache.cached_oracle("key", solve)
    assert solve.calls == 2
    assert not home.exists()


def test_cache_that_cannot_be_written_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lowlands").write_text("a file where the directory should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    solve = Solver()
    assert same(cache.cached_oracle("key", solve))
    assert same(cache.cached_oracle("key", solve))
    assert solve.calls == 2


def test_failed_move_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert same(cache.cached_oracle("key", Solver()))
    assert list(home.iterdir()) == []


def test_error_of_the_solver_is_passed_on_and_nothing_kept(home: Path) -> None:
    def solve() -> Oracle:
        time.sleep(2 * disk.MIN_SECONDS)
        raise OracleError("HiGHS did not solve it")

    with pytest.raises(OracleError, match="HiGHS"):
        cache.cached_oracle("key", solve)
    assert not home.exists()


def test_trials_keep_their_oracles(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = find_task("matrix_completion")
    resolved._oracle.cache.clear()
    first = resolved._oracle(task, 0)
    assert len(list(home.iterdir())) == 1
    resolved._oracle.cache.clear()  # as in a new process
    monkeypatch.setattr("suite.tasks.factorised.nuclear_norm_completion", None)
    second = resolved._oracle(task, 0)
    assert first.values == second.values
    assert torch.equal(first.solutions["nuclear"], second.solutions["nuclear"])
    resolved._oracle.cache.clear()


def test_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert disk.directory("oracles") == Path("/var/cache/lowlands/oracles")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert disk.directory("oracles") == Path("/home/someone/.cache/lowlands/oracles")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert disk.directory("oracles") == Path("/home/someone/.cache/lowlands/oracles")
