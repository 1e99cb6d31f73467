"""An engine that does as it is told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from suite.engine.executors import Engine
from suite.engine.worker import Session, execute_here
from suite.trials.unit import Unit
from tests.suite.engine.calls import session


class Now(Executor):
    """Runs every call at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Scripted:
    """Runs units as `script` says: it gets the unit and how often that unit came before, and returns the outcome.

    Returns None to have the unit run as usual. `seen` lists the units in the order in which they came.
    """

    def __init__(self, script: Callable[[Unit, int], Any] = lambda unit, before: None) -> None:
        self.script = script
        self.seen: list[Unit] = []
        self.seconds: list[float | None] = []

    def __call__(self, of: Session, payload: bytes, seconds: float | None, owner: str) -> Any:
        unit = pickle.loads(payload).argument
        before = self.seen.count(unit)
        self.seen.append(unit)
        self.seconds.append(seconds)
        outcome = self.script(unit, before)
        return execute_here(of, payload, seconds, owner) if outcome is None else outcome

    def engine(self) -> Engine:
        return Engine(Now(), self, session("scripted"), workers=lambda: 1, max_pending=lambda: 1)
