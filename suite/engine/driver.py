"""The driver: runs a plan on an engine, resumes, and alone writes the log, as results come in.

Units start in the order of the longest chain of work that hangs on them (tuning, then scoring), so that the last
to end are short ones. Which engine runs a unit, and when, is no part of any record.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import torch

from suite.engine.costs import Costs
from suite.engine.executors import Engine
from suite.engine.plan import Pair, Plan, pairs
from suite.engine.worker import Failure
from suite.errors import InputError, sentence
from suite.storage.log import Log, many_records
from suite.storage.record import lane_key
from suite.trials.evaluate import Record, failed, run_unit
from suite.trials.selection import SELECTION_FIELDS
from suite.trials.unit import Unit, by_trial


class OutOfTime(Exception):
    """The run's time limit has passed; the log holds all that was done, and another run goes on from there."""


@dataclass(frozen=True)
class Progress:
    """One finished unit.

    done: how much of the work is done, in [0, 1]. left: expected seconds to the end. records: the unit's new ones.
    """

    done: float
    left: float
    unit: Unit
    records: list[Record]


@dataclass(eq=False)
class _Job:
    """A unit on its way to records."""

    pair: Pair
    unit: Unit
    tried: bool = False
    """Whether a worker was lost with it: the next loss is its own fault."""


@dataclass
class _Work:
    """How much there is to do, in expected seconds of one worker."""

    total: float = 0.0
    left: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def add(self, cost: float) -> None:
        self.total += cost
        self.left += cost

    def done(self) -> float:
        """The share that is done, in [0, 1]."""
        return min(1.0, max(0.0, 1.0 - self.left / self.total)) if self.total > 0 else 1.0


class Driver:
    """A plan being carried out."""

    def __init__(
        self, plan: Plan, log: Log, engine: Engine, costs: Costs | None = None, trial_seconds: float | None = None
    ) -> None:
        """Reads the log and finds out what is left to do; lanes that the log holds are not run again.

        trial_seconds: time limit of one trial on all its seeds; a unit of several trials has that much for each.

        Raises:
            InputError: the log cannot be read, or the engine cannot stop what takes too long.
        """
        if trial_seconds is not None and plan.limits is None and not engine.can_stop:
            raise InputError("A time limit per trial needs worker processes: local:1 or more.")
        # Fixed, since the number of threads decides rounding: a record must not depend on the engine.
        torch.set_num_threads(1)
        self._log, self._engine, self._trial_seconds = log, engine, trial_seconds
        costs = costs or Costs()
        self._held: dict[str, Record] = {}
        self._missing: dict[str, str] = {}
        self._read(costs)
        self._work = _Work()
        self._ready: list[tuple[float, int, _Job]] = []
        self._numbers = itertools.count()
        self._running = 0
        self._done: queue.SimpleQueue[tuple[_Job, Future[Any]]] = queue.SimpleQueue()
        for pair in pairs(plan, costs):
            self._work.add(pair.scoring_cost())
            self._open(pair, "tune", pair.tuning())

    def _read(self, costs: Costs) -> None:
        """What the log holds, by lane. StackedModels without data or oracle run again: perhaps they can be had now."""
        with many_records():
            for record in self._log.records():
                costs.add(record)
                if record["status"] == "unavailable":
                    self._missing[lane_key(record)] = record["reason"]
                else:
                    # Selection reads few fields, and a log of 100,000 records need not lie in memory twice.
                    self._held[lane_key(record)] = {name: record[name] for name in SELECTION_FIELDS}

    def seconds_left(self) -> float:
        """Expected wall-clock seconds to the end: at first as recorded, then at the pace that this machine shows."""
        done = self._work.total - self._work.left
        if done <= 0:
            return self._work.left / max(self._engine.workers(), 1)
        return max(0.0, self._work.left) * (time.monotonic() - self._work.begun) / done

    # -- units ------------------------------------------------------------------------------------------------

    def _open(self, pair: Pair, stage: str, units: list[Unit]) -> None:
        """Make the units that the log does not hold whole ready to run; go on to the next stage if it holds all."""
        for unit in units:
            known = [self._held[key] for key in pair.keys(unit) if key in self._held]
            if len(known) == unit.lanes():
                pair.records += known
            else:
                pair.waiting += 1
                self._work.add(pair.cost(unit))
                self._queue(_Job(pair, unit))
        if not pair.waiting and stage == "tune":
            self._score(pair)

    def _score(self, pair: Pair) -> None:
        self._work.add(-pair.scoring_cost())  # now counted by its units
        self._open(pair, "score", pair.scoring())

    def _queue(self, job: _Job) -> None:
        heapq.heappush(self._ready, (-job.pair.chain(job.unit), next(self._numbers), job))

    def _submit(self, job: _Job) -> None:
        limit = self._limit(job)
        seconds = None if limit is None else limit * len(job.unit.trials)
        future = self._engine.submit(run_unit, job.unit, seconds)
        self._running += 1
        future.add_done_callback(lambda future: self._done.put((job, future)))

    def _limit(self, job: _Job) -> float | None:
        """The engine's time limit of a trial. A jailed optimizer keeps its own: its worker must live to say so."""
        if job.unit.jail is None:
            return self._trial_seconds
        if job.pair.loaded.submission.kind == "optimizer" or not self._engine.can_stop:
            return None
        return job.unit.jail.limits.seconds

    # -- the loop ---------------------------------------------------------------------------------------------

    def steps(self, deadline: float | None = None) -> Iterator[Progress]:
        """Run everything; yields after each unit, when its records lie in the log.

        deadline: when the run must end, on the clock of `time.monotonic`.

        Raises:
            OutOfTime: the deadline has passed.
            InputError: the engine is gone, its workers have other sources, or the log cannot be written.
        """
        self._work.begun = time.monotonic()
        while self._ready or self._running:
            while self._ready and self._running < self._engine.room():
                self._submit(heapq.heappop(self._ready)[2])
            try:
                job, future = self._done.get(timeout=None if deadline is None else max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise OutOfTime from None
            self._running -= 1
            records = self._records(job, _outcome(future))
            if records is not None:
                yield self._finish(job, records)

    def _records(self, job: _Job, outcome: list[Record] | Failure) -> list[Record] | None:
        """The records of a unit that has ended; None if it is tried again, whole or in parts."""
        if not isinstance(outcome, Failure):
            return outcome
        if outcome.lost and not job.tried:
            job.tried = True
            self._queue(job)
            return None
        if len(job.unit.trials) > 1:
            # One setting is to blame, and condemns no other.
            parts = [_Job(job.pair, part, tried=True) for part in by_trial(job.unit)]
            job.pair.waiting += len(parts) - 1
            for part in parts:
                self._queue(part)
            return None
        return failed(job.unit, outcome.reason)

    def _finish(self, job: _Job, records: list[Record]) -> Progress:
        pair, keys = job.pair, job.pair.keys(job.unit)
        if [lane_key(record) for record in records] != keys:
            raise InputError(
                f"A worker's {pair.loaded.submission.name!r} or its Lowlands is not the one of this process; nothing "
                f"of it was recorded. Do both machines see the same files?"
            )
        new = [
            record
            for record, key in zip(records, keys, strict=True)
            if key not in self._held and record["reason"] != self._missing.get(key, "")
        ]
        self._log.append(*new)
        pair.records += records
        pair.waiting -= 1
        self._work.left -= pair.cost(job.unit)
        if not pair.waiting and job.unit.phase == "tune":
            self._score(pair)
        return Progress(self._work.done(), self.seconds_left(), job.unit, new)


def _outcome(future: Future[Any]) -> list[Record] | Failure:
    """What came of a unit.

    Raises:
        InputError: what the engine itself cannot do.
    """
    try:
        outcome = future.result()
    except CancelledError:
        raise InputError("The engine is gone; the same command goes on from what is there.") from None
    except InputError:
        raise
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # Dask gives up a unit after several of its workers have died
            return Failure(sentence(error), lost=True)
        raise InputError(f"The engine cannot run units ({sentence(error)}).") from error
    if isinstance(outcome, InputError):
        raise outcome
    assert isinstance(outcome, list | Failure)
    return outcome
