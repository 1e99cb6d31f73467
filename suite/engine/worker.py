"""A process that runs one call at a time, and whose death, hanging and memory are its own.

Whatever carries units (a thread of this process, a thread of a Dask worker) hands each one to such a child and waits.
So a unit that crashes, hangs or eats memory is told from every other unit by construction, and limits mean the same
thing on every engine. A child is kept for the next unit: torch is imported and data are loaded once per worker.

No torch is imported here, so that children can start while the driver is still importing it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from suite.errors import InputError, sentence
from suite.kernels.malloc import disable_trim

ONE_THREAD = "OMP_NUM_THREADS"


STARTS = 3
"""Times that a child may die while starting (before it has a unit to be blamed for) until the run is given up."""


START_SECONDS = 300.0
"""How long a child may take to be ready: it imports torch, perhaps from a slow file system."""


IDLE_SECONDS = 600.0
"""A child that hears nothing for so long ends itself: a cluster's workers outlive drivers that were killed."""


LOOK_SECONDS = 1.0
"""How often a waiting carrier looks whether the child lives, beside waiting for its answer."""


WEAR = 0.25
"""A child that has kept this share of the memory it may allocate is replaced: the rest could be too little for the next
unit, which is not to blame."""


@dataclass(frozen=True)
class Session:
    """What all children of one run share. Another run, another session: its sources may have changed.

    prepare: what a child calls before it is ready, for imports that all calls need. directory: where relative paths
    start. environment: variables to set. memory: bytes that a child may allocate.
    """

    token: str
    prepare: Callable[[], None]
    directory: str
    environment: tuple[tuple[str, str], ...] = ()
    memory: int | None = None


@dataclass(frozen=True)
class Failure:
    """Why a call has no result. `lost` if the process died for a reason of its own: trying again may help."""

    reason: str
    lost: bool = False


def execute(call: bytes) -> Any:
    """The result of a pickled ``(function, argument)``; an error becomes a `Failure`, or the `InputError` itself."""
    function, argument = pickle.loads(call)
    try:
        return function(argument)
    except InputError as error:
        return error
    except (Exception, SystemExit) as error:
        return Failure(sentence(error))


def _end_with_parent() -> None:
    # A driver that is killed cannot stop its children: they end themselves.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit_memory(limit: int) -> None:
    import resource

    # The data segment: what a process allocates. A limit on its address space would break torch's import.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _allocated() -> int:
    """Bytes that this process has allocated, as its memory limit counts them (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGESIZE")


def _hint(session: Session) -> str:
    return "" if session.memory is None else "; torch alone needs about 1 GB: is the memory limit large enough?"


def _begin(session: Session) -> InputError | None:
    os.dup2(2, 1)  # what a submission prints is no part of the command's table
    sys.stdout = sys.stderr  # line by line: what is buffered dies with a process that is killed
    os.environ.update(session.environment)
    os.environ[ONE_THREAD] = "1"
    try:
        os.chdir(session.directory)
    except OSError:
        return InputError(
            f"A worker cannot enter {session.directory}: every machine of a cluster needs the folder that the run was "
            f"started in, under the same path."
        )
    if session.memory is not None:
        _limit_memory(session.memory)
    else:  # under a limit, what a child keeps wears it
        disable_trim()
    try:
        session.prepare()
    except Exception as error:
        return InputError(f"A worker process cannot start ({sentence(error)}{_hint(session)}).")
    return None


def _answer(call: bytes) -> Any:
    try:
        return execute(call)
    except BaseException as error:  # SIGINT is blocked here: a KeyboardInterrupt is the call's own
        return Failure(sentence(error))


def _serve(connection: Connection, session: Session) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(_begin(session))
        enough = None
        if session.memory is not None:
            fresh = _allocated()
            enough = fresh + (session.memory - fresh) * WEAR
        while connection.poll(IDLE_SECONDS):
            answer = _answer(connection.recv_bytes())
            worn = enough is not None and _allocated() > enough
            connection.send((answer, worn))
    except (EOFError, OSError, MemoryError):
        os._exit(1)  # the carrier is gone, or there is no memory to say anything with: it sees the death


class Child:
    """A child process, seen from its parent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._ready = self._worn = False
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, session), daemon=False)
        with _deaf_to_interrupts():
            self._process.start()
        theirs.close()
        # A process waits for its children before it ends, and this one for its parent: whoever ends kills it first. A
        # Dask worker is itself a child of multiprocessing, which runs no `atexit` handlers.
        Finalize(self, self._process.kill, exitpriority=0)

    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    def usable(self) -> bool:
        """Whether the next call may go to this child."""
        return self._ready and not self._worn and self.alive()

    def kill(self) -> None:
        """End the process, whatever it does; the carrier that waits for it sees it die."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, wait for its end and free what it held here."""
        self.kill()
        self._process.join()
        self._connection.close()

    def wait_until_ready(self) -> bool:
        """Wait for the end of its start; False if it died.

        Raises:
            InputError: it says why it cannot work at all.
        """
        if self._ready:
            return True
        try:
            if not self._answers(START_SECONDS):
                return False
            problem = self._connection.recv()
        except (EOFError, OSError):
            return False
        if problem is not None:
            raise problem
        self._ready = True
        return True

    def call(self, call: bytes, seconds: float | None) -> Any:
        """What `execute` gives for `call`; a `Failure` if the process dies or takes more than `seconds`."""
        try:
            self._connection.send_bytes(call)
            if not self._answers(seconds):
                self.kill()
                self._process.join()  # else it may seem alive, and get the next call
                return Failure(f"stopped by the time limit of {seconds:g} s")
            answer, self._worn = self._connection.recv()
            return answer
        except (EOFError, OSError, pickle.UnpicklingError):
            self._process.join()
            return Failure(self._death(), lost=True)

    def _answers(self, seconds: float | None) -> bool:
        """Wait for an answer; False if there is none within `seconds`, EOFError if the process is dead."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            # Read before polling: an answer that was given before the death counts.
            alive = self.alive()
            if self._connection.poll(max(0.0, min(left, LOOK_SECONDS)) if alive else 0.0):
                return True
            if not alive:  # its end of the pipe may live on in a process that it started
                raise EOFError
            if left <= 0:
                return False

    def _death(self) -> str:
        code = self._process.exitcode or 0
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"the worker process was killed by {signal.Signals(-code).name}"
        return f"the worker process ended with exit status {code}"


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that is started here inherits a blocked SIGINT: Ctrl-C is for the driver, which ends its children."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Children:
    """All children of this process: idle ones by session, and those that work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[Child]] = {}
        self._busy: set[Child] = set()
        self._ended: set[str] = set()

    def start(self, session: Session, count: int) -> None:
        """Start `count` children before there is anything to do."""
        with self._lock:
            self._idle.setdefault(session.token, []).extend(Child(session) for _ in range(count))

    @contextlib.contextmanager
    def borrow(self, session: Session) -> Iterator[Child | None]:
        """A child of the session for one call; None once the session has ended."""
        child = self._take(session)
        try:
            yield child
        finally:
            if child is not None:
                self._give_back(child)

    def _take(self, session: Session) -> Child | None:
        with self._lock:
            if session.token in self._ended:
                return None
            idle = self._idle.setdefault(session.token, [])
            while idle and not idle[0].alive():
                idle.pop(0).end()
            child = idle.pop(0) if idle else Child(session)
            self._busy.add(child)
            return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if child.usable() and child.session.token not in self._ended:
                # Last in, first out: the data that were just loaded are the likeliest to be needed.
                self._idle[child.session.token].insert(0, child)
                return
        child.end()

    def end(self, token: str) -> None:
        """End the children of a session, also those that work: their carriers see them die."""
        with self._lock:
            self._ended.add(token)
            idle = self._idle.pop(token, [])
            for child in self._busy:
                if child.session.token == token:
                    child.kill()
        for child in idle:
            child.end()


CHILDREN = Children()


def in_child(session: Session, call: bytes, seconds: float | None) -> Any:
    """What `execute` gives for `call`, run in a child of this process: the function that executors carry.

    Raises:
        InputError: children cannot be started.
    """
    # Dask's workers are daemons, which multiprocessing denies children; ours end with their parent by themselves.
    multiprocessing.current_process().daemon = False
    for _ in range(STARTS):
        with CHILDREN.borrow(session) as child:
            if child is None:
                return Failure("the run has ended", lost=True)
            if child.wait_until_ready():
                return child.call(call, seconds)
    raise InputError(f"A worker process died {STARTS} times while it started{_hint(session)}.")


def end_session(token: str) -> None:
    """End this process's children of a session."""
    CHILDREN.end(token)


Carrier = Callable[[Session, bytes, float | None], Any]
