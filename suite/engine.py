"""Runs trials on an executor, in order, and resumes.

For every submission and task: tuning units, then the protocol's selection, then scoring units with fresh seeds.
Workers are processes with one thread each (on a CPU worth 1.46 times one process with two threads); the driver alone
writes the log, record by record, as results come in.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from suite.entrant import accepts, enter
from suite.errors import InputError
from suite.loading import Loaded, load
from suite.record import Log, read
from suite.submission import Submission
from suite.task import Task
from suite.tasks import find_task
from suite.track import TUNING_SEEDS_FROM, Track
from suite.trial import Record, Unit, environment, failed, run_unit, select, task_hash
from suite.workers import Workers

LONE_LANE_WEIGHT = 8
"""How much longer a lane that is trained by itself takes than one of a batch; for the progress estimate only."""


@dataclass(frozen=True)
class Plan:
    """What to run: submissions (by the text that finds them) on tasks, with a track's seeds and tuning budget."""

    submissions: tuple[str, ...]
    tasks: tuple[str, ...]
    track: Track
    device: str = "cpu"


@dataclass(frozen=True)
class Progress:
    """One finished unit: how much of the whole is done (in [0, 1]), what it was, and its new records."""

    done: float
    unit: Unit
    records: list[Record] = field(default_factory=list)


def check(submission: Submission, trials: int) -> None:
    """Build the submission once per setting on toy parameters, so that a mistake in it is found before the run.

    Raises:
        InputError: no setting can be built.
    """
    if submission.optimizer is None:
        return
    failures = []
    for settings in submission.settings(trials):
        try:
            optimizer = submission.optimizer(list(nn.Linear(3, 2).parameters()), **settings)
        except Exception as error:
            failures.append((settings, f"{type(error).__name__}: {' '.join(str(error).split())}"))
            continue
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
            raise InputError(f"Submission {submission.name!r} builds a {type(optimizer).__name__}, not an optimizer.")
        return
    settings, why = failures[0]
    raise InputError(f"Submission {submission.name!r}: the optimizer cannot be built with {settings} ({why}).")


def lane_key(record: Mapping[str, Any]) -> str:
    """What makes a lane that lane: a log that holds it is not given it again."""
    parts = (
        "submission",
        "submission_hash",
        "task",
        "task_hash",
        "phase",
        "trial",
        "seed",
        "hyperparameters",
    )
    return json.dumps([record[part] for part in parts] + [record["environment"]["device"]], sort_keys=True)


class _Pair:
    """One submission on one task: its units in two stages."""

    def __init__(self, loaded: Loaded, task: Task, plan: Plan) -> None:
        self.loaded, self.task, self.plan = loaded, task, plan
        self.settings = enter(loaded.submission, task).settings(plan.track.trials)
        self.records: list[Record] = []
        self.waiting = 0

    def _unit(self, phase: str, trials: Sequence[int], seeds: Sequence[int]) -> Unit:
        chosen = tuple((number, tuple(self.settings[number].items())) for number in trials)
        return Unit(
            self.loaded.text,
            self.task.name,
            self.plan.track.name,
            phase,
            chosen,
            tuple(seeds),
            self.plan.device,
        )

    def tuning(self) -> list[Unit]:
        """One program with all trials where lanes are batched, else a unit per trial; none if there is no choice."""
        if len(self.settings) == 1:
            return []
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.plan.track.tuning_seeds)
        numbers = range(len(self.settings))
        if self.task.batched:
            return [self._unit("tune", numbers, seeds)]
        return [self._unit("tune", [number], seeds) for number in numbers]

    def scoring(self) -> list[Unit]:
        """The selected trial on the scoring seeds."""
        tuned = [r for r in self.records if r["phase"] == "tune"]
        trial = select(self.task.selection, tuned) if tuned else 0
        seeds = range(self.plan.track.seeds)
        if self.task.batched:
            return [self._unit("score", [trial], seeds)]
        return [self._unit("score", [trial], [seed]) for seed in seeds]

    def weight(self) -> float:
        """Estimated work, in lanes of a batch."""
        tuned = len(self.settings) if len(self.settings) > 1 else 0
        lanes = tuned * self.plan.track.tuning_seeds + self.plan.track.seeds
        return lanes * self._lane_weight()

    def _lane_weight(self) -> float:
        return 1.0 if self.task.batched else LONE_LANE_WEIGHT

    def unit_weight(self, unit: Unit) -> float:
        return unit.lanes() * self._lane_weight()

    def keys(self, unit: Unit) -> list[str]:
        """The keys of the records that the unit will give, in lane order."""
        device = environment(unit.device)["device"]
        return [
            lane_key(
                {
                    "submission": self.loaded.submission.name,
                    "submission_hash": self.loaded.source_hash,
                    "task": self.task.name,
                    "task_hash": task_hash(self.task),
                    "phase": unit.phase,
                    "trial": number,
                    "seed": seed,
                    "hyperparameters": dict(settings),
                    "environment": {"device": device},
                }
            )
            for number, settings in unit.trials
            for seed in unit.seeds
        ]


def run(plan: Plan, log: Log, pool: Workers) -> Iterator[Progress]:
    """Run `plan`, append every new record to `log`, and yield after each unit. Lanes that the log holds are not run."""
    held = {lane_key(record): record for record in read(log.path).records}
    pairs = [
        _Pair(loaded, task, plan)
        for loaded in map(load, plan.submissions)
        for task in map(find_task, plan.tasks)
        if accepts(task, loaded.submission)
    ]
    # Longest first: with few workers the last unit to end should be a short one.
    pairs.sort(key=_Pair.weight, reverse=True)
    total = sum(pair.weight() for pair in pairs) or 1.0
    done = 0.0
    owners: dict[Unit, _Pair] = {}
    retried: set[Unit] = set()
    pending: dict[Future[list[Record]], Unit] = {}

    def start(pair: _Pair, units: list[Unit]) -> list[Unit]:
        """Submit the units that the log does not hold whole; returns those that it does."""
        finished = []
        pair.waiting = len(units)
        for unit in units:
            owners[unit] = pair
            known = [held[key] for key in pair.keys(unit) if key in held]
            if len(known) == unit.lanes():
                pair.records += known
                finished.append(unit)
            else:
                pending[pool.submit(run_unit, unit)] = unit
        return finished

    # (unit, new records) of everything that has ended and is not yet reported
    ended: list[tuple[Unit, list[Record]]] = []
    for pair in pairs:
        ended += [(unit, []) for unit in start(pair, pair.tuning() or pair.scoring())]
    while ended or pending:
        while ended:
            unit, new = ended.pop(0)
            pair = owners[unit]
            done += pair.unit_weight(unit)
            pair.waiting -= 1
            if not pair.waiting and unit.phase == "tune":
                ended += [(other, []) for other in start(pair, pair.scoring())]
            yield Progress(min(1.0, done / total), unit, new)
        if not pending:
            continue
        finished, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in finished:
            unit = pending.pop(future)
            try:
                records = future.result()
            except BrokenProcessPool:
                # Which of the running units brought the worker down cannot be told: each is tried once more in
                # a process of its own, so that a poison unit condemns no neighbour.
                if unit not in retried:
                    retried.add(unit)
                    pending[pool.submit_alone(run_unit, unit)] = unit
                    continue
                records = failed(unit, "the worker process died")
            new = [record for record in records if lane_key(record) not in held]
            for record in new:
                log.append(record)
            owners[unit].records += records
            ended.append((unit, new))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the results directory for one run; the lock of a dead process holds nobody up.

    Raises:
        InputError: another run holds it, or it cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / ".lock").open("w")
    except OSError as error:
        raise InputError(f"The results directory {directory} cannot be written ({error.strerror}).") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"Another run is writing to {directory}; give this one --results elsewhere.") from None
        yield
