"""Workers: what they answer, how they die, and that neither fails or harms another call."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.engine import worker as worker_module
from suite.engine.worker import Failure, Session, end_session, run_in_worker
from suite.errors import InputError
from tests.suite.engine import calls
from tests.suite.engine.calls import call, session

ROOT = Path(__file__).resolve().parents[3]
GB = 10**9


@pytest.fixture
def one(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session with nothing to prepare."""
    made = session(request.node.name)
    yield made
    end_session(made.token)


def ask(of: Session, function: Callable[[Any], Any], argument: Any = None, seconds: float | None = 60) -> Any:
    return run_in_worker(of, call(function, argument), seconds, "")


def test_every_answer_comes_from_a_child_of_one_other_process(one: Session) -> None:
    worker = ask(one, calls.parent)
    assert worker != os.getpid()
    assert ask(one, calls.parent) == worker
    assert len({os.getpid(), worker, ask(one, calls.pid), ask(one, calls.pid)}) == 4
    assert ask(one, calls.double, 21) == 42


def test_errors_leave_the_worker_alive(one: Session) -> None:
    first = ask(one, calls.parent)
    refused = ask(one, calls.refuse, "No such thing.")
    assert isinstance(refused, InputError)
    assert str(refused) == "No such thing."
    assert ask(one, calls.divide) == Failure("ZeroDivisionError: division by zero")
    assert ask(one, calls.leave, 3) == Failure("SystemExit: 3")
    assert ask(one, calls.interrupt) == Failure("KeyboardInterrupt")
    assert ask(one, calls.parent) == first


@pytest.mark.parametrize(
    ("function", "argument", "reason"),
    [
        (calls.exit_hard, 3, "the worker process ended with exit status 3"),
        (calls.exit_hard, 0, "the worker process ended with exit status 0"),
        (calls.kill_itself, None, "the worker process was killed by SIGKILL"),
        (calls.segfault, None, "the worker process was killed by SIGSEGV"),
        (calls.die_and_leave_a_process, None, "the worker process ended with exit status 7"),
    ],
)
def test_a_death_is_reported_and_the_next_call_has_a_new_worker(
    one: Session, function: Callable[[Any], Any], argument: Any, reason: str
) -> None:
    assert ask(one, function, argument) == Failure(reason, lost=True)
    assert ask(one, calls.double, 1) == 2


@pytest.mark.parametrize("function", [calls.hang, calls.hang_holding_everything])
def test_a_hanging_call_is_stopped(one: Session, function: Callable[[Any], Any]) -> None:
    assert ask(one, function, seconds=0.5) == Failure("stopped by the time limit of 0.5 s")
    assert ask(one, calls.double, 1) == 2


def test_an_idle_worker_that_died_fails_no_call(one: Session) -> None:
    first = ask(one, calls.parent)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert ask(one, calls.parent) != first


def test_the_start_is_not_on_the_calls_time() -> None:
    slow = session("slow", _prepare_slowly)
    try:
        assert run_in_worker(slow, call(calls.double, 2), 0.9, "") == 4
    finally:
        end_session(slow.token)


def _prepare_slowly() -> None:
    time.sleep(1.5)


def _die_while_starting() -> None:
    os._exit(1)


def _cannot_start() -> None:
    raise ImportError("no such library")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (_die_while_starting, "A worker process died 3 times while it started."),
        (_cannot_start, "A worker process cannot start (ImportError: no such library)."),
    ],
)
def test_workers_that_cannot_start_fail_no_unit(prepare: Callable[[], None], sentence: str) -> None:
    bad = session("bad " + sentence, prepare)
    with pytest.raises(InputError) as caught:
        run_in_worker(bad, call(calls.double, 2), None, "")
    assert str(caught.value) == sentence
    end_session(bad.token)


def test_a_folder_that_a_machine_lacks_is_named() -> None:
    elsewhere = Session("elsewhere", calls.nothing, "/no/such/folder")
    with pytest.raises(InputError, match="cannot enter /no/such/folder"):
        run_in_worker(elsewhere, call(calls.double, 2), None, "")
    end_session(elsewhere.token)


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are enforced on Linux only")
def test_memory_is_limited_and_what_a_call_keeps_is_gone_with_it() -> None:
    limited = session("limited", memory=GB)
    try:
        assert ask(limited, calls.allocate, 3 * GB) == Failure("MemoryError")
        for _ in range(3):
            assert ask(limited, calls.leak, GB // 2) == GB // 2
    finally:
        end_session(limited.token)


def test_an_ended_session_starts_nothing(one: Session) -> None:
    ask(one, calls.pid)
    end_session(one.token)
    assert ask(one, calls.pid) == Failure("the run has ended", lost=True)


def test_what_a_submission_prints_is_not_on_standard_output(
    one: Session, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    ask(one, calls.print_much, "hello")
    end_session(one.token)
    out, err = capfd.readouterr()
    assert "hello" not in out
    assert "hello" in err


ORPHAN = """
import sys
from suite.engine.worker import run_in_worker
from tests.suite.engine.calls import call, hang_and_tell, session
run_in_worker(session("orphan"), call(hang_and_tell, sys.argv[1]), None, "")
"""


def test_workers_of_a_killed_process_and_their_children_end_themselves(tmp_path: Path) -> None:
    told = tmp_path / "processes"
    command, environment = [sys.executable, "-c", ORPHAN, str(told)], os.environ | {"PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command, env=environment)
    _wait_for(told.exists)
    worker, child = map(int, told.read_text().split())
    assert _runs(worker)
    assert _runs(child)
    driver.kill()
    driver.wait()
    _wait_for(lambda: not _runs(worker) and not _runs(child))


def test_the_child_of_a_worker_that_is_stopped_ends(one: Session, tmp_path: Path) -> None:
    told = tmp_path / "processes"
    assert ask(one, calls.hang_and_tell, str(told), seconds=2) == Failure("stopped by the time limit of 2 s")
    worker, child = map(int, told.read_text().split())
    _wait_for(lambda: not _runs(worker) and not _runs(child))


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(process: int) -> bool:
    """Whether the process is there and no zombie (nobody may have waited for an orphan in a container)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_of_multiprocessing_ends_though_its_worker_hangs() -> None:
    parent = multiprocessing.get_context("spawn").Process(target=calls.leave_a_hanging_worker)  # as a Dask worker is
    parent.start()
    parent.join(60)
    ended = parent.exitcode
    parent.kill()
    assert ended == 0


def test_an_interrupt_of_the_whole_group_is_left_to_the_driver(one: Session) -> None:
    first = ask(one, calls.parent)
    os.kill(first, signal.SIGINT)
    assert ask(one, calls.double, 5) == 10
    assert ask(one, calls.parent) == first


def test_an_idle_worker_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # Served by this process, so that the wait can be made short.
    monkeypatch.setattr(worker_module, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(worker_module, "_set_up", lambda _: None)
    ours, theirs = multiprocessing.Pipe()
    ours.send_bytes(call(calls.double, 4))
    worker_module._serve(theirs, session("idle"))
    assert ours.recv() is None
    assert ours.recv_bytes() == b'{"value": 8}'
