"""Engines: the same records whichever ran them, and a clear end when one is not to be had or goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suite.engine.driver import Driver
from suite.engine.executors import Engine, connect
from suite.engine.plan import make_plan
from suite.errors import InputError
from suite.storage.log import Log
from suite.tracks import Track
from tests.logs import runs_of
from tests.suite.engine import calls

ROOT = Path(__file__).resolve().parents[3]
# Runs that are stepped together, and one by one.
PLAN = make_plan(("adam", "normalized"), ("min_norm_regression",), Track("test", (), 2, 2, 1, ""))


@pytest.mark.parametrize("text", ["", "locl", "local:", "local:x", "local:-1", "dask:", "daskx", "local:2:3"])
def test_unknown_engines(text: str) -> None:
    with pytest.raises(InputError, match="must be local, local:N, dask or dask:SCHEDULER"):
        connect(text)


def test_limits_need_processes() -> None:
    with pytest.raises(InputError, match="memory limit needs worker processes"), connect("local:0", memory=10**9):
        pass


def test_this_process_runs_at_once() -> None:
    with connect("local:0") as engine:
        assert engine.submit(calls.pid, None).result() == os.getpid()
        assert not engine.can_stop
        assert engine.shared is not None
        assert "in the command's own process" in engine.shared


def test_workers_run_with_one_thread_each_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with connect("local:2") as engine:
        assert engine.shared is None
        with monkeypatch.context() as patch:
            patch.setattr("suite.engine.executors.FORKS", False)
            assert engine.shared is not None
            assert "this system cannot fork" in engine.shared
        futures = [engine.submit(calls.parent, None) for _ in range(8)]
        workers = {future.result() for future in futures}
        assert os.getpid() not in workers
        assert 1 <= len(workers) <= 2
        assert engine.submit(calls.torch_threads, None).result() == 1
        endless = engine.submit(calls.hang, None)
    assert endless.cancelled() or endless.result().lost
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_dask_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="needs the extra `cluster`"), connect("dask"):
        pass


@pytest.mark.parametrize("scheduler", ["no/such/file.json", "no-such-scheme://x", "127.0.0.1:1"])
def test_a_cluster_that_cannot_be_reached(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("suite.engine.executors.CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match="cannot be reached"), connect(f"dask:{scheduler}"):
        pass


@pytest.mark.parametrize("content", ['{"nothing": 1}', '{"address": 3}', "[]", "", '{"address": "tcp'])
def test_a_file_that_is_no_scheduler_file(content: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(InputError, match="is not a scheduler file"), connect(f"dask:{tmp_path / 'file.json'}"):
        pass


@contextmanager
def cluster(directory: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A Dask scheduler and two workers as a user starts them; gives the scheduler file and the scheduler."""
    file = directory / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--scheduler-file", str(file), "--no-dashboard"]
        return subprocess.Popen([*command, *options], cwd=directory, env=environment, stderr=subprocess.DEVNULL)

    scheduler = start("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
    worker = start("dask_worker", "--nthreads", "1", "--nworkers", "2")
    try:
        deadline = time.monotonic() + 60
        while not _is_written(file) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield file, scheduler
    finally:
        for process in (worker, scheduler):
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()


def _is_written(file: Path) -> bool:
    try:
        return "address" in json.loads(file.read_text())
    except (OSError, ValueError):
        return False


def records(engine_name: str, path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    with connect(engine_name) as engine:
        list(Driver(PLAN, Log(path), engine).steps())
    return runs_of(path)


def test_identical_records_whichever_engine_ran_them(tmp_path: Path) -> None:
    here = records("local:0", tmp_path / "here.jsonl")
    assert len(here) == 2 * (2 + 2)
    assert records("local:2", tmp_path / "processes.jsonl") == here
    pytest.importorskip("distributed")
    with cluster(tmp_path) as (file, _):
        assert records(f"dask:{file}", tmp_path / "cluster.jsonl") == here


def wait_for_workers(engine: Engine, count: int) -> None:
    deadline = time.monotonic() + 60
    while engine.workers() < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow  # a cluster is started, and half a minute is spent on looking for its scheduler
def test_a_cluster_whose_scheduler_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("suite.engine.executors.CONNECT_SECONDS", 10)
    with cluster(tmp_path) as (file, scheduler), connect(f"dask:{file}") as engine:
        # A Dask worker that never met its scheduler does not end on SIGTERM: wait for both.
        assert engine.submit(calls.double, 21).result(timeout=60) == 42
        wait_for_workers(engine, 2)
        endless = engine.submit(calls.hang, None)
        scheduler.kill()
        with pytest.raises(CancelledError):
            endless.result(timeout=60)
        with pytest.raises(InputError, match="is gone; the same command goes on"):
            engine.workers()
