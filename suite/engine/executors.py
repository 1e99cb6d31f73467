"""Where units run: in this process, in worker processes of it, or on a Dask cluster.

Each is a `concurrent.futures.Executor`. Torch is not imported here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from suite.engine.worker import (
    POOL,
    THREADS_VARIABLE,
    Call,
    CallRunner,
    Failure,
    Function,
    Session,
    end_session,
    execute,
    execute_here,
    run_in_worker,
)
from suite.errors import InputError, sentence
from suite.sandbox.child import FORKS

CONNECT_SECONDS = 20
"""How long a Dask scheduler may take to answer."""

CLOSE_SECONDS = 10
"""How long a Dask cluster's workers may take to end a session."""

DASK_MIN_PENDING = 16
"""Units that a cluster gets even before it has a worker: a cluster that grows on demand must see some."""


@dataclass(frozen=True)
class Engine:
    """An executor, whose threads (of this process or of a cluster's workers) call `runner` for one unit each."""

    executor: Executor
    runner: CallRunner
    session: Session
    workers: Callable[[], int]
    """How many units run at a time."""
    max_pending: Callable[[], int]
    """How many units may be submitted and not yet done."""

    @property
    def can_stop(self) -> bool:
        """Whether a unit that takes too long can be stopped."""
        return self.runner is run_in_worker

    @property
    def shared(self) -> str | None:
        """What units share that submissions could change, in a sentence; None where each has processes of its own."""
        if not self.can_stop:
            what = "All submissions train, and are judged and measured, in the command's own process"
        elif not FORKS:
            what = "A submission's runs are trained, judged and measured in one process, as this system cannot fork"
        else:
            return None
        return f"{what}: what one changes there (functions, settings of torch) can change records."

    def submit(
        self,
        function: Function,
        argument: Any,
        seconds: float | None = None,
        owner: str = "",
        prepare: Function | None = None,
    ) -> Future[Any]:
        """Run ``function(argument)``, code of `owner`, for at most `seconds`.

        The result is as `worker.execute` gives it, and plain data: JSON. The call is sent pickled, so that a Dask
        scheduler and a Dask worker need not import torch. See `worker.Call` for `prepare`.
        """
        call = pickle.dumps(Call(function, argument, prepare))
        return self.executor.submit(self.runner, self.session, call, seconds, owner)


def outcome(
    engine: Engine | None, function: Function, argument: Any, owner: str = "", prepare: Function | None = None
) -> Any:
    """What ``function(argument)`` returns on a worker of `engine`, or without one in this process.

    Raises:
        InputError: the call raised it.
        RuntimeError: it raised another error, or its process died; says which.
    """
    if engine is None:
        answer = execute(Call(function, argument))
    else:
        answer = engine.submit(function, argument, owner=owner, prepare=prepare).result()
    if isinstance(answer, InputError):
        raise answer
    if isinstance(answer, Failure):
        raise RuntimeError(answer.reason)
    return answer


def connect(text: str, memory: int | None = None) -> AbstractContextManager[Engine]:
    """The engine that `text` names: ``local``, ``local:N`` (0: this process) or ``dask``, ``dask:SCHEDULER``.

    SCHEDULER is an address or a scheduler file; without one, a Dask cluster of this machine's cores is started.
    memory: bytes that a worker process may allocate.

    Raises:
        InputError: there is no such engine, or it cannot be started or reached.
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and (rest.isdecimal() or text == "local"):
        count = int(rest) if rest else cores()
        return _workers(count, _session(memory)) if count else _this_process(memory)
    if kind == "dask" and (rest or text == "dask"):
        return _dask(rest, _session(memory))
    raise InputError(f"The engine must be local, local:N, dask or dask:SCHEDULER, not {text!r}.")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(memory: int | None) -> Session:
    if memory is not None and sys.platform != "linux":
        raise InputError("A memory limit can be enforced on Linux only.")
    # A cluster's workers have an environment of their own.
    environment = tuple(item for item in os.environ.items() if item[0] == "LOWLANDS_DATA")
    return Session(uuid.uuid4().hex, _warm_up, os.getcwd(), environment, memory)


def _warm_up() -> None:
    """Import what every unit needs."""
    import suite.trials.evaluate  # noqa: F401
    from suite.training.loop import warm_up

    warm_up()


class _Inline(Executor):
    """Runs every call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextlib.contextmanager
def _this_process(memory: int | None) -> Iterator[Engine]:
    if memory is not None:
        raise InputError("A memory limit needs worker processes: local:1 or more.")
    os.environ.setdefault(THREADS_VARIABLE, "1")
    yield Engine(_Inline(), execute_here, _session(None), lambda: 1, lambda: 1)


@contextlib.contextmanager
def _workers(count: int, session: Session) -> Iterator[Engine]:
    os.environ.setdefault(THREADS_VARIABLE, "1")
    executor = ThreadPoolExecutor(count, thread_name_prefix="unit")
    try:
        POOL.start(session, count)
        yield Engine(executor, run_in_worker, session, lambda: count, lambda: 2 * count)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        end_session(session.token)


@contextlib.contextmanager
def _dask(scheduler: str, session: Session) -> Iterator[Engine]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("The engine dask needs the extra `cluster`: pip install '.[cluster]'.") from None
    # The records of a unit say what went wrong on its worker; Dask's own log would repeat it with tracebacks.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    local = partial(LocalCluster, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        try:
            address = _address(scheduler) if scheduler else stack.enter_context(local(n_workers=cores()))
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"The Dask cluster {scheduler!r} cannot be reached ({sentence(error)}).") from error

        def workers() -> int:
            try:
                return sum(client.nthreads().values())
            except OSError:
                raise InputError(
                    "The Dask scheduler is gone; the same command goes on from what is recorded."
                ) from None

        executor = client.get_executor()
        try:
            yield Engine(executor, run_in_worker, session, workers, lambda: max(2 * workers(), DASK_MIN_PENDING))
        finally:
            with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to end
                executor.shutdown(wait=False)
                client.run(end_session, session.token, on_error="ignore", callback_timeout=CLOSE_SECONDS)


class _SchedulerFile(msgspec.Struct):
    """What is read of a scheduler file."""

    address: str


def _address(scheduler: str) -> str:
    """An address for Dask's client, from an address or from a scheduler file."""
    if not scheduler.endswith(".json"):
        return scheduler
    try:
        return msgspec.json.decode(Path(scheduler).read_bytes(), type=_SchedulerFile).address
    except msgspec.MsgspecError as error:
        raise InputError(f"{scheduler} is not a scheduler file of Dask ({error}).") from None
