"""A worker process: what a call does, and whatever it changes, ends with the call.

The executors run units in threads (of this process or of a Dask worker). Each thread borrows a worker process, sends it
one call and waits for the answer:

    thread                                worker process                     its child, forked for this call
    borrow an idle worker or start one    set up, import torch once
    send the pickled call                 load data for it, fork             run it
    wait                                  wait                               write the result, or why there is none
      answer: return it                   pass it on                         leave
      too late: kill the worker                                              (dies with the worker)
    give the worker back; replace it if it died

The worker runs the suite's own code alone; a submission's code runs in children. So no unit can harm or change another
one (its threads, random streams, patched functions and memory are gone with its process), limits mean the same on every
engine, and yet torch is imported and data are loaded once. An answer is JSON: nothing that a submission's process wrote
is unpickled. Where processes cannot be forked (Windows, macOS), a worker answers the calls of one submission.

Nothing here imports torch: workers start while the driver still imports it. No worker has a second thread or touches a
CUDA device before it forks, since neither survives in a child.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any

from suite.errors import InputError, sentence
from suite.kernels.malloc import collapse, disable_trim
from suite.sandbox.child import FORKS, POLL_SECONDS, ChildFailure, death, in_child, wait_or_end
from suite.sandbox.limits import limit_memory

THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Set to 1 in every worker: the number of threads decides rounding."""

CUDA_CHECK = ("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
"""Has `torch.cuda.is_available()` ask the driver's management library: a process that has asked CUDA itself, as an
import may do, has no child that can use it."""

MAX_STARTS = 3
"""A worker that dies while it starts has no unit that could be blamed: after so many the run is given up."""

START_SECONDS = 300.0
"""How long a worker may take to be ready: it imports torch, perhaps from a slow file system."""

IDLE_SECONDS = 600.0
"""A worker without a call for so long ends itself: a cluster's workers outlive drivers that were killed."""


COLLAPSE_AT = 4
"""The call before which a worker moves its memory into huge pages: it takes a third of a second, as ten forks gain."""


@dataclass(frozen=True)
class Session:
    """What the workers of one run share. Another run has another session, since its source files may have changed.

    Attributes:
        token: its name.
        prepare: called by a worker before it is ready, for imports that all calls need.
        memory: bytes that a worker may allocate; None for no limit.
    """

    token: str
    prepare: Callable[[], None]
    directory: str
    environment: tuple[tuple[str, str], ...] = ()
    memory: int | None = None


@dataclass(frozen=True)
class Failure:
    """Why a call has no result."""

    reason: str
    lost: bool = False
    """Whether the process died, perhaps for a reason of its own: trying again may help."""


Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Call:
    """What a worker is asked for: ``function(argument)``, which JSON can hold.

    Attributes:
        prepare: called with the argument beforehand, in the worker itself: what it loads is there for later calls too.
            It runs no code of a submission.
    """

    function: Function
    argument: Any
    prepare: Function | None = None


CallRunner = Callable[[Session, bytes, float | None, str], Any]
"""Runs a pickled `Call` within a number of seconds, such as `run_in_worker`; the text says whose code it runs: where no
child can be forked, a worker serves one owner only."""


def execute(call: Call) -> Any:
    """The result of `call`; an error becomes a `Failure`, an `InputError` is returned."""
    try:
        return call.function(call.argument)
    except InputError as error:
        return error
    except ChildFailure as error:
        return Failure(error.reason, error.lost)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # SIGINT is blocked in workers: the call raised it
        return Failure(sentence(error))


def execute_here(session: Session, call: bytes, seconds: float | None, owner: str) -> Any:
    """What `execute` gives for a pickled call, in this process: without limits, and nothing is undone after it."""
    return execute(pickle.loads(call))


def _encode(answer: Any) -> bytes:
    """What `execute` gave, as JSON."""
    if isinstance(answer, InputError):
        return json.dumps({"input error": str(answer)}).encode()
    if isinstance(answer, Failure):
        return json.dumps({"failure": [answer.reason, answer.lost]}).encode()
    return json.dumps({"value": answer}).encode()


def _decode(data: bytes) -> Any:
    """What `_encode` was given; a `Failure` if it was not that which wrote `data`."""
    try:
        ((kind, content),) = json.loads(data).items()
        if kind == "failure":
            reason, lost = content
            return Failure(str(reason), bool(lost))
        return {"input error": InputError, "value": lambda value: value}[kind](content)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return Failure("its process gave no answer that can be read")


def _memory_hint(session: Session) -> str:
    return "" if session.memory is None else "; torch alone needs about 1 GB: is the memory limit large enough?"


def _set_up(session: Session) -> InputError | None:
    """Prepare this process for calls; returns why it cannot work."""
    os.dup2(2, 1)  # what a submission prints is no part of the command's table
    sys.stdout = sys.stderr  # unbuffered: buffered output is lost when a process is killed
    os.environ.update(session.environment)
    os.environ[THREADS_VARIABLE] = "1"
    os.environ.setdefault(*CUDA_CHECK)
    try:
        os.chdir(session.directory)
    except OSError:
        return InputError(
            f"A worker cannot enter {session.directory}: every machine of a cluster needs the folder that the run was "
            f"started in, under the same path."
        )
    if session.memory is not None:
        limit_memory(session.memory)
    else:  # under a limit, freed memory that is not returned would count
        disable_trim()
    try:
        session.prepare()
    except Exception as error:
        return InputError(f"A worker process cannot start ({sentence(error)}{_memory_hint(session)}).")
    return None


def _serve(connection: Connection, session: Session) -> None:
    """Answer calls until there are none for `IDLE_SECONDS`."""
    try:
        connection.send(_set_up(session))
        for number in itertools.count(1):
            if not wait_or_end([connection], IDLE_SECONDS):
                break
            call: Call = pickle.loads(connection.recv_bytes())
            if FORKS and number == COLLAPSE_AT:
                collapse()
            connection.send_bytes(_answer(call, connection))
    except (EOFError, OSError, MemoryError):
        os._exit(1)  # the parent has closed the pipe, or no memory is left for an answer: it sees the death


def _answer(call: Call, connection: Connection) -> bytes:
    """The encoded answer to `call`."""
    if call.prepare is not None:
        with contextlib.suppress(Exception):  # the call itself meets the error, and says what it means
            call.prepare(call.argument)
    if not FORKS:
        return _encode(execute(call))
    gc.freeze()  # collecting garbage in a child would copy what it shares with this process
    try:
        return in_child(lambda: _encode(execute(call)), connection)
    except ChildFailure as error:
        return _encode(Failure(error.reason, error.lost))


class Worker:
    """A worker process, seen from its parent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.owner: str | None = None
        """Whose calls it serves; None: anybody's."""
        self._ready = False
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, session), daemon=False)
        with _interrupts_blocked(), _without_main():
            self._process.start()
        theirs.close()
        # A process waits for its children before it ends, so it must kill them first. A Dask worker is itself a child
        # of multiprocessing, which runs no `atexit` handlers.
        Finalize(self, self._process.kill, exitpriority=0)

    def alive(self) -> bool:
        return self._process.is_alive()

    def usable(self) -> bool:
        """Whether the next call may go to this worker."""
        return self._ready and self.alive()

    def kill(self) -> None:
        """End the process, whatever it does; the thread that waits for it sees it die."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process, wait for its end and close the pipe."""
        self.kill()
        self._process.join()
        self._connection.close()

    def wait_until_ready(self) -> bool:
        """Wait until the process is set up; False if it died. Raises the `InputError` of one that cannot work."""
        if self._ready:
            return True
        try:
            if not self._has_answer(START_SECONDS):
                return False
            problem = self._connection.recv()
        except (EOFError, OSError):
            return False
        if problem is not None:
            raise problem
        self._ready = True
        return True

    def call(self, call: bytes, seconds: float | None, owner: str) -> Any:
        """What `execute` gives for a pickled call of `owner`.

        A `Failure` if the process dies or takes more than `seconds`.
        """
        try:
            self._connection.send_bytes(call)
            self.owner = None if FORKS else owner
            if not self._has_answer(seconds):
                self.kill()
                self._process.join()  # until then it would count as alive, and get the next call
                return Failure(f"stopped by the time limit of {seconds:g} s")
            return _decode(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._process.join()
            return Failure(death(self._process.exitcode or 0), lost=True)

    def _has_answer(self, seconds: float | None) -> bool:
        """Wait for an answer; False if there is none within `seconds`, EOFError if the process is dead."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
            # Asked before polling: an answer that was sent before the death counts.
            alive = self.alive()
            if self._connection.poll(max(0.0, min(left, POLL_SECONDS)) if alive else 0.0):
                return True
            if not alive:  # its end of the pipe may still be open in a process that it started
                raise EOFError
            if left <= 0:
                return False


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started here inherits a blocked SIGINT: Ctrl-C is for the driver, which ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # The first process that multiprocessing spawns starts this one before it, which unblocks SIGINT (CPython 3.11).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STARTING = threading.Lock()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """A process that is started here does not import the program that is running: workers need the suite alone.

    It would run a script again, from its first line, that calls the suite without asking for its own name.
    """
    with _STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class WorkerPool:
    """All workers of this process: idle ones by session, and busy ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[Worker]] = {}
        self._busy: set[Worker] = set()
        self._ended_sessions: set[str] = set()

    def start(self, session: Session, count: int) -> None:
        """Start `count` workers before there is anything to do."""
        with self._lock:
            self._idle.setdefault(session.token, []).extend(Worker(session) for _ in range(count))

    def take(self, session: Session, owner: str) -> Worker | None:
        """A worker of the session for one call of `owner`; None once the session has ended."""
        with self._lock:
            if session.token in self._ended_sessions:
                return None
            idle = self._idle.setdefault(session.token, [])
            while idle and not idle[0].alive():
                idle.pop(0).close()
            worker = next((worker for worker in idle if worker.owner in (None, owner)), None)
            if worker is not None:
                idle.remove(worker)
            elif idle:
                idle.pop().close()
            worker = worker or Worker(session)
            self._busy.add(worker)
            return worker

    def give_back(self, worker: Worker) -> None:
        """Keep the worker for the next call, or end it."""
        with self._lock:
            self._busy.discard(worker)
            if worker.usable() and worker.session.token not in self._ended_sessions:
                # Last in, first out: the data that it has just loaded are the likeliest to be needed next.
                self._idle[worker.session.token].insert(0, worker)
                return
        worker.close()

    def end(self, token: str) -> None:
        """End the workers of a session, busy ones too: the threads that wait for them see them die."""
        with self._lock:
            self._ended_sessions.add(token)
            idle = self._idle.pop(token, [])
            for worker in self._busy:
                if worker.session.token == token:
                    worker.kill()
        for worker in idle:
            worker.close()


POOL = WorkerPool()


def run_in_worker(session: Session, call: bytes, seconds: float | None, owner: str) -> Any:
    """What `execute` gives for a pickled call, run by a worker process of this process: the work of executors' threads.

    Raises:
        InputError: no worker can be started.
    """
    # Dask's workers are daemons, which multiprocessing allows no children; ours end with their parent by themselves.
    multiprocessing.current_process().daemon = False
    for _ in range(MAX_STARTS):
        worker = POOL.take(session, owner)
        if worker is None:
            return Failure("the run has ended", lost=True)
        try:
            if worker.wait_until_ready():
                return worker.call(call, seconds, owner)
        finally:
            POOL.give_back(worker)
    raise InputError(f"A worker process died {MAX_STARTS} times while it started{_memory_hint(session)}.")


def end_session(token: str) -> None:
    """End this process's workers of a session."""
    POOL.end(token)
