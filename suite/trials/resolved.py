"""A unit with the objects that its names stand for: looked up once, then passed down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from suite.boards import BOARD_VERSION
from suite.entries.entry import Entry, bind
from suite.entries.loading import LoadedSubmission, load
from suite.errors import InputError
from suite.oracles.oracle_cache import cached_oracle
from suite.sandbox.process import prepare_to_fork
from suite.storage.cache import cached_in_memory
from suite.storage.record import Record, RunKey, canonical, clean
from suite.task import Oracle, Problem, Task
from suite.tasks import open_task
from suite.trials.provenance import suite_hash, task_hash
from suite.trials.selection import select
from suite.trials.unit import Unit

PROBLEM_BYTES = 300_000_000
"""What a worker spends on the data of recent runs: 20 data sets of 5,000 digits, or one of all of MNIST."""

ORACLES = 256
"""How many oracles a worker keeps."""


def _name_and_seed(task: Task, seed: int) -> tuple[str, str, int]:
    return task.name, task.source, seed


def _size(result: tuple[Problem, str]) -> int:
    return result[0].size()


# A worker meets the same seeds for every submission: it builds the data and solves the oracle once.
@cached_in_memory(PROBLEM_BYTES, _size, _name_and_seed)
def _problem(task: Task, seed: int) -> tuple[Problem, str]:
    """The problem and its fingerprint."""
    problem = task.problem(seed)
    return problem, problem.fingerprint()


@cached_in_memory(ORACLES, lambda _: 1, _name_and_seed)
def _oracle(task: Task, seed: int) -> Oracle:
    """The exact solution; empty where the task has none."""
    if task.oracle is None:
        return Oracle()
    problem, fingerprint = _problem(task, seed)
    return cached_oracle(f"{task.name} {fingerprint} {task_hash(task)}", partial(task.oracle, problem, seed))


@dataclass(frozen=True)
class ResolvedUnit:
    """A unit, its submission, and the submission bound to the task."""

    unit: Unit
    loaded: LoadedSubmission
    entry: Entry

    @property
    def task(self) -> Task:
        """The task as the submission meets it."""
        return self.entry.task

    @property
    def scored(self) -> bool:
        return self.unit.phase == "score"

    @property
    def measured(self) -> bool:
        """Whether solutions are measured: those of scored runs, and those of trials where the unit says so."""
        return self.scored or self.unit.measured

    def problem(self, seed: int) -> Problem:
        """The data of a seed; raises what the task raises where they cannot be had."""
        return _problem(self.task, seed)[0]

    def fingerprint(self, seed: int) -> str:
        return _problem(self.task, seed)[1]

    def oracle(self, seed: int) -> Oracle:
        """The exact solution for a seed; raises what the solver raises."""
        return _oracle(self.task, seed)

    def ahead(self, records: Sequence[Record]) -> ResolvedUnit:
        """What was trained ahead, for the trials that `records` of the runs on the unit's own seeds select."""
        selected = select(self.task.selection, records) if self.unit.scored_ahead else ()
        return replace(self, unit=self.unit.ahead(selected))

    def with_code(self) -> ResolvedUnit:
        """The unit with the code of its submission, which is loaded in this process where that was not done yet.

        Not where it runs in the sandbox: there the description stays.

        Raises:
            InputError: the code cannot be loaded, or is not the code that was described.
        """
        if self.unit.isolation is not None or self.unit.described is None:
            return self
        loaded = load(self.unit.submission)
        if loaded.source_hash != self.loaded.source_hash:
            raise InputError(
                f"A worker's {self.loaded.submission.name!r} is not the one of the command; nothing of this run of it "
                f"was recorded. Was its file edited, or do the machines not see the same files?"
            )
        return replace(self, loaded=loaded, entry=bind(loaded.submission, open_task(self.unit.task)))

    def run_keys(self) -> list[RunKey]:
        """The keys of the unit's training runs on its `seeds`, in the order of its records."""
        return [
            RunKey(
                board_version=BOARD_VERSION,
                submission=self.loaded.submission.name,
                submission_hash=self.loaded.source_hash,
                task=self.task.name,
                task_hash=task_hash(self.task),
                phase=self.unit.phase,
                search=self.unit.search,
                trial=trial.number,
                seed=seed,
                settings=canonical(clean(trial.settings)),
                on_cpu=self.unit.device.partition(":")[0] == "cpu",
            )
            for trial in self.unit.trials
            for seed in self.unit.seeds
        ]


def resolve(unit: Unit) -> ResolvedUnit:
    """`unit` with its submission and its task; raises `InputError` if there are none, or they do not fit together."""
    loaded = unit.loaded()
    return ResolvedUnit(unit, loaded, bind(loaded.submission, open_task(unit.task)))


def load_data(unit: Unit) -> None:
    """Build the unit's data, which this process keeps for other units; raises what the task raises.

    No code of the submission runs. What its guests are forked from is started too.
    """
    suite_hash()
    if unit.isolation is not None and unit.device == "cpu":
        prepare_to_fork(unit.isolation.loaded.submission.kind == "optimizer")
    for seed in unit.all_seeds:
        _problem(open_task(unit.task), seed)


def load_ground(unit: Unit) -> None:
    """Build and solve what the unit needs of its task and writes to caches; raises what the task raises.

    It is called before the submission is loaded: afterwards nothing that this process computes may reach another one.
    """
    load_data(unit)
    task = open_task(unit.task)
    for seed in unit.all_seeds:
        task.model(_problem(task, seed)[0], seed)
        if unit.phase == "score" or unit.measured or seed in unit.scored_ahead:
            _oracle(task, seed)
