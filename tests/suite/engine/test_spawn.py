"""Systems that cannot fork (macOS, Windows): workers answer by themselves, each for one submission."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.engine import executors
from suite.engine import worker as worker_module
from suite.engine.executors import Engine, connect
from suite.engine.worker import Failure
from suite.errors import InputError
from tests.suite.engine import calls
from tests.suite.engine.test_executors import ROOT, records

pytestmark = pytest.mark.slow  # every test starts workers that import torch


@pytest.fixture(autouse=True)
def _without_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process and in all workers."""
    monkeypatch.setattr(worker_module, "FORKS", False)
    monkeypatch.setattr(executors, "FORKS", False)
    monkeypatch.setattr(executors, "_warm_up", calls.without_forks)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with connect("local:1") as one:
        yield one


def test_a_worker_answers_by_itself_and_for_one_submission(engine: Engine) -> None:
    def pid(owner: str) -> int:
        answer: int = engine.submit(calls.pid, None, owner=owner).result(300)
        return answer

    assert engine.submit(calls.parent, None, owner="a").result(300) == os.getpid()
    first = pid("a")
    assert pid("a") == first
    second = pid("b")
    assert second not in (first, os.getpid())
    assert pid("b") == second
    assert engine.shared is not None


def test_errors_deaths_and_limits_are_those_of_the_call(engine: Engine) -> None:
    refused = engine.submit(calls.refuse, "No such thing.").result(300)
    assert isinstance(refused, InputError)
    assert engine.submit(calls.divide, None).result(300) == Failure("ZeroDivisionError: division by zero")
    assert engine.submit(calls.leave, 3).result(300) == Failure("SystemExit: 3")
    lost = engine.submit(calls.kill_itself, None).result(300)
    assert isinstance(lost, Failure)
    assert lost.lost
    assert engine.submit(calls.double, 21).result(300) == 42
    stopped = engine.submit(calls.hang, None, seconds=2).result(300)
    assert stopped == Failure("stopped by the time limit of 2 s")
    assert engine.submit(calls.double, 4).result(300) == 8


def test_records_are_those_of_any_engine(tmp_path: Path) -> None:
    assert records("local:2", tmp_path / "spawned.jsonl") == records("local:0", tmp_path / "here.jsonl")


def test_nothing_needs_the_modules_of_unix() -> None:
    """What a run imports is there without them, and without sockets of Unix."""
    script = """
import sys, socket
import torch, numpy, scipy, psutil, msgspec, pandas, multiprocessing.connection, multiprocessing.resource_tracker
import scipy.optimize, scipy.special, asyncio, concurrent.futures, torch.export, click, rich
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
del socket.AF_UNIX
import leaderboard.cli, suite.engine.driver, suite.trials.evaluate, suite.commands.verification
from suite.sandbox.confinement import LIMITS_ONLY, isolation
print("imported")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("imported\n"), done.stderr
