"""Where units run: this process, worker processes of it, or a Dask cluster. All are `concurrent.futures.Executor`s."""

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
from pathlib import Path
from typing import Any

from suite.engine.worker import CHILDREN, ONE_THREAD, Carrier, Session, end_session, execute, in_child
from suite.errors import InputError, sentence

CONNECT_SECONDS = 20


CLOSE_SECONDS = 10


DASK_AHEAD = 16
"""Units that a cluster gets even before it has a worker: a cluster that grows on demand must see some."""


@dataclass(frozen=True)
class Engine:
    """An executor and what carries a unit on it.

    workers: how many units run at a time. room: how many may be submitted and not yet done.
    """

    executor: Executor
    carrier: Carrier
    session: Session
    workers: Callable[[], int]
    room: Callable[[], int]

    @property
    def can_stop(self) -> bool:
        """Whether a unit that takes too long can be stopped."""
        return self.carrier is in_child

    def submit(self, function: Callable[[Any], Any], argument: Any, seconds: float | None = None) -> Future[Any]:
        """Run ``function(argument)`` on a worker, for at most `seconds`; the result is as `child.execute` gives it.

        The call travels pickled: what carries it (a Dask scheduler, a Dask worker) imports no torch.
        """
        return self.executor.submit(self.carrier, self.session, pickle.dumps((function, argument)), seconds)


def connect(text: str, memory: int | None = None) -> AbstractContextManager[Engine]:
    """The engine that `text` names: ``local``, ``local:N`` (0: this process) or ``dask``, ``dask:SCHEDULER``.

    SCHEDULER is an address or a scheduler file; without one, a Dask cluster of this machine's cores is started.
    memory: bytes that a worker process may allocate.

    Raises:
        InputError: no such engine, or it cannot be had.
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
    environment = {name: os.environ[name] for name in ("LOWLANDS_DATA",) if name in os.environ}
    return Session(uuid.uuid4().hex, _warm_up, os.getcwd(), tuple(environment.items()), memory)


def _warm_up() -> None:
    """Import what every unit needs; building the first optimizer of a process takes another second and a half."""
    import torch

    import suite.trials.evaluate  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


class _Inline(Executor):
    """Runs every call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _in_process(session: Session, call: bytes, seconds: float | None) -> Any:
    return execute(call)


@contextlib.contextmanager
def _this_process(memory: int | None) -> Iterator[Engine]:
    if memory is not None:
        raise InputError("A memory limit needs worker processes: local:1 or more.")
    os.environ.setdefault(ONE_THREAD, "1")
    yield Engine(_Inline(), _in_process, _session(None), workers=lambda: 1, room=lambda: 1)


@contextlib.contextmanager
def _workers(count: int, session: Session) -> Iterator[Engine]:
    os.environ.setdefault(ONE_THREAD, "1")
    executor = ThreadPoolExecutor(count, thread_name_prefix="carrier")
    try:
        CHILDREN.start(session, count)
        yield Engine(executor, in_child, session, workers=lambda: count, room=lambda: 2 * count)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        end_session(session.token)


@contextlib.contextmanager
def _dask(scheduler: str, session: Session) -> Iterator[Engine]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("The engine dask needs the extra `cluster`: pip install '.[cluster]'.") from None
    # What goes wrong on a worker is told by its unit's records; Dask's own log repeats it with tracebacks.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        try:
            if not scheduler:
                address = stack.enter_context(
                    LocalCluster(
                        n_workers=cores(), threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
                    )
                )
            else:
                address = _address(scheduler)
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
            yield Engine(executor, in_child, session, workers, room=lambda: max(2 * workers(), DASK_AHEAD))
        finally:
            with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to end
                executor.shutdown(wait=False)
                client.run(end_session, session.token, on_error="ignore", callback_timeout=CLOSE_SECONDS)


def _address(scheduler: str) -> str:
    """An address for Dask's client, from an address or from a scheduler file."""
    if not scheduler.endswith(".json"):
        return scheduler
    import json

    return str(json.loads(Path(scheduler).read_text())["address"])
