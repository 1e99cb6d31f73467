"""The driver: carries a plan out on an engine, resumes, and alone writes the log.

    read the log; queue the tuning units that it does not hold
    while units are queued or running
        submit units, those with the longest critical path first
        wait for one to end
            it gave records: write them to the log
            its worker was lost: queue it once more, then each of its trials by itself, then record the failure
            it took too long: queue each of its trials by itself, then record the failure
        a submission's last tuning unit on a task ended: select trials, write their records of scored runs that were
            trained ahead, queue the other scoring units

The critical path of a unit is what remains of its submission on its task from its start on (tuning, then scoring), so
the units that end last are short ones. Which engine runs a unit, and when, is no part of any record.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import torch

from suite.engine.costs import Costs
from suite.engine.executors import Engine
from suite.engine.plan import Plan, PlannedEntry, planned_entries
from suite.engine.worker import Failure
from suite.errors import InputError, sentence
from suite.storage import training_paths
from suite.storage.log import Log, many_records
from suite.storage.record import TRACEBACK, Record, RunKey, Status, run_key
from suite.training.retry import parts_to_retry
from suite.trials.evaluate import failed, run_unit
from suite.trials.resolved import load_data
from suite.trials.selection import SELECTION_FIELDS
from suite.trials.unit import Unit


class OutOfTime(Exception):
    """The run's time limit has passed; the log holds all that was done, and another run resumes from there."""


@dataclass(frozen=True)
class Progress:
    """One finished unit, and its records that are new in the log.

    Attributes:
        done: how much of the work is done, in [0, 1].
        left: expected seconds to the end.
        traces: the tracebacks of what was raised in runs that failed, each once.
    """

    done: float
    left: float
    unit: Unit
    records: list[Record]
    traces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outlook:
    """What is done on a task, and what is left.

    Attributes:
        recorded: runs that are in the log, of units that are complete.
        units, runs: those that are left; as recorded elsewhere, since what is scored depends on what is tuned.
        seconds: of CPU, expected.
        memory: the most bytes that a worker is recorded to have held on the task; None if nothing is recorded.
    """

    task: str
    recorded: int
    units: int
    runs: int
    seconds: float
    memory: int | None


PRIOR_SECONDS = 30.0
"""So many seconds of work at the recorded pace count beside what this machine has done (`Driver.seconds_left`)."""


@dataclass(eq=False)
class _Job:
    """A unit that is queued or running."""

    entry: PlannedEntry
    unit: Unit
    retried: bool = False
    """Whether a worker was lost with it before: the next loss is the unit's own fault."""


class Driver:
    """A plan that is being carried out."""

    def __init__(
        self, plan: Plan, log: Log, engine: Engine, costs: Costs | None = None, trial_seconds: float | None = None
    ) -> None:
        """Read the log and queue what it does not hold.

        Args:
            costs: what training runs are expected to take; it learns from the log.
            trial_seconds: time limit of one trial on all its seeds; a unit of several trials has that much for each.

        Raises:
            InputError: the log cannot be read, or the engine cannot stop what takes too long.
        """
        if trial_seconds is not None and plan.limits is None and not engine.can_stop:
            raise InputError("A time limit per trial needs worker processes: local:1 or more.")
        # Fixed, since the number of threads decides rounding: a record must not depend on the engine.
        torch.set_num_threads(1)
        self._log, self._engine, self._trial_seconds = log, engine, trial_seconds
        self._traces = plan.traced is not None
        costs = costs or Costs()
        self._recorded: dict[RunKey, Record] = {}
        self._unavailable: dict[RunKey, str] = {}
        with many_records():
            for record in log.records():
                costs.add(record)
                if record["status"] == Status.UNAVAILABLE:  # run again: perhaps data and oracle are available now
                    self._unavailable[run_key(record)] = record["reason"]
                else:
                    # Selection reads few fields, and a log of 100,000 records need not lie in memory twice.
                    self._recorded[run_key(record)] = {name: record[name] for name in SELECTION_FIELDS}
        self._work = self._work_left = 0.0  # expected seconds of one worker
        self._begun: float | None = None
        self._expected = self._spent = 0.0  # seconds of the units that have ended: as recorded before, and here
        self._queue: list[tuple[float, int, _Job]] = []
        self._numbers = itertools.count()
        self._running = 0
        self._ended: queue.SimpleQueue[tuple[_Job, Future[Any]]] = queue.SimpleQueue()
        self._entries = planned_entries(plan, costs)
        for entry in self._entries:
            self._add_work(entry.scoring_cost())
            self._open(entry, "tune", entry.tuning())

    def seconds_left(self) -> float:
        """Expected wall-clock seconds to the end: at first as recorded, then at the pace that this machine shows.

        What has ended and what is left, at that pace, shared out among the workers, less the time since the start: so
        units that are running count as far as they have come.
        """
        left = max(0.0, self._work_left)
        if not left:
            return 0.0
        pace = (self._spent + PRIOR_SECONDS) / (self._expected + PRIOR_SECONDS)
        elapsed = 0.0 if self._begun is None else time.monotonic() - self._begun
        return max(0.0, (self._spent + left * pace) / max(self._engine.workers(), 1) - elapsed)

    def outlook(self) -> list[Outlook]:
        """What is done and what is left on each task of the plan that has entries, in the plan's order."""
        tasks: dict[str, list[PlannedEntry]] = {}
        for entry in self._entries:
            tasks.setdefault(entry.task.name, []).append(entry)
        jobs = [job for *_, job in self._queue]
        return [self._outlook(task, entries, jobs) for task, entries in tasks.items()]

    def _outlook(self, task: str, entries: list[PlannedEntry], jobs: list[_Job]) -> Outlook:
        units = [(job.entry, job.unit) for job in jobs if job.entry.task.name == task]
        tuned = {id(entry): entry for entry, unit in units if unit.phase == "tune"}.values()
        scoring = [entry.scoring_runs() for entry in tuned]
        return Outlook(
            task,
            recorded=sum(len(entry.records) for entry in entries),
            units=len(units) + sum(bool(runs) if entries[0].task.batched else runs for runs in scoring),
            runs=sum(unit.size for _, unit in units) + sum(scoring),
            seconds=sum(entry.cost(unit) for entry, unit in units) + sum(entry.scoring_cost() for entry in tuned),
            memory=entries[0].memory,
        )

    def _add_work(self, seconds: float) -> None:
        self._work += seconds
        self._work_left += seconds

    def _open(self, entry: PlannedEntry, stage: str, units: list[Unit]) -> list[Record]:
        """Queue the units of a stage that are not done; open the next stage if all are.

        A unit is done if the log has all its runs, or those that it does not have were trained ahead: returns these.
        """
        found = []
        for unit in units:
            keys = entry.resolved(unit).run_keys()
            known = entry.ahead | self._recorded
            if all(key in known for key in keys):
                entry.records += [known[key] for key in keys]
                found += [entry.ahead[key] for key in keys if key not in self._recorded]
            else:
                entry.units_left += 1
                self._add_work(entry.cost(unit))
                self._push(_Job(entry, unit))
        return found + (self._score(entry) if not entry.units_left and stage == "tune" else [])

    def _score(self, entry: PlannedEntry) -> list[Record]:
        """Open the scoring stage; returns the records of it that there are, of runs that were trained ahead."""
        self._add_work(-entry.scoring_cost())  # from here on its units are counted
        return self._open(entry, "score", entry.scoring())

    def _push(self, job: _Job) -> None:
        heapq.heappush(self._queue, (-job.entry.critical_path(job.unit), next(self._numbers), job))

    def _submit(self, job: _Job) -> None:
        limit = self._trial_limit(job)
        seconds = None if limit is None else limit * len(job.unit.trials)
        future = self._engine.submit(run_unit, job.unit, seconds, owner=job.unit.submission, prepare=load_data)
        self._running += 1
        future.add_done_callback(lambda future: self._ended.put((job, future)))

    def _trial_limit(self, job: _Job) -> float | None:
        """The engine's time limit of a trial; None for a sandboxed optimizer, which its worker stops and reports."""
        if job.unit.isolation is None:
            return self._trial_seconds
        if job.entry.loaded.submission.kind == "optimizer" or not self._engine.can_stop:
            return None
        return job.unit.isolation.limits.seconds

    def steps(self, deadline: float | None = None) -> Iterator[Progress]:
        """Run everything until `deadline` (of `time.monotonic`); yields after each unit, when its records are logged.

        Raises:
            OutOfTime: the deadline has passed.
            InputError: the engine is gone, its workers have other sources, or the log cannot be written.
        """
        self._begun = time.monotonic()
        if self._queue and self._traces:
            training_paths.check_writable(self._log.path)
        while self._queue or self._running:
            while self._queue and self._running < self._engine.max_pending():
                self._submit(heapq.heappop(self._queue)[2])
            try:
                job, future = self._ended.get(timeout=None if deadline is None else max(0, deadline - time.monotonic()))
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
        if outcome.lost and not job.retried:
            job.retried = True
            self._push(job)
            return None
        parts = parts_to_retry(job.unit, Unit.by_trial)
        if not parts:
            return failed(job.entry.resolved(job.unit), outcome.reason)
        job.entry.units_left += len(parts) - 1
        for part in parts:
            self._push(_Job(job.entry, part, retried=True))
        return None

    def _finish(self, job: _Job, records: list[Record]) -> Progress:
        """Write the records that are new; open the scoring stage after the last tuning unit."""
        entry, unit = job.entry, job.unit
        keys = entry.resolved(unit).run_keys()
        traces = dict.fromkeys(record.pop(TRACEBACK) for record in records if TRACEBACK in record)
        records, ahead = records[: len(keys)], records[len(keys) :]
        keys_ahead = entry.resolved(unit).ahead(records).run_keys()
        if [run_key(record) for record in records] != keys or [run_key(record) for record in ahead] != keys_ahead:
            raise InputError(
                f"A worker's {entry.loaded.submission.name!r} or its Lowlands is not the one of this process; nothing "
                f"of it was recorded. Do both machines see the same files?"
            )
        entry.records += records
        entry.ahead |= zip(keys_ahead, ahead, strict=True)
        entry.units_left -= 1
        cost = entry.cost(unit)
        self._work_left -= cost
        self._expected += cost
        self._spent += unit.size * records[0].get("unit_seconds", 0.0) or cost
        if not entry.units_left and unit.phase == "tune":
            records = records + self._score(entry)
        new = [
            record
            for record, key in zip(records, map(run_key, records), strict=True)
            if key not in self._recorded and record["reason"] != self._unavailable.get(key, "")
        ]
        self._log.append(*training_paths.detached(self._log.path, new))
        done = min(1.0, max(0.0, 1.0 - self._work_left / self._work)) if self._work > 0 else 1.0
        return Progress(done, self.seconds_left(), unit, new, tuple(traces) if new else ())


def _outcome(future: Future[Any]) -> list[Record] | Failure:
    """What a unit gave: its records, or why there are none; `InputError` if the engine itself cannot run units."""
    try:
        outcome = future.result()
    except CancelledError:
        raise InputError("The engine is gone; the same command goes on from what is recorded.") from None
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
