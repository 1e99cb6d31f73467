"""What to run, and the units of work that it consists of.

For every search of every submission on every task: tuning units, then the protocol's selection, then scoring units with
other seeds. Where every setting that trains is scored, and a program of more runs costs hardly more, scored runs are
trained ahead, beside the tuning runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from suite.engine.costs import Costs
from suite.engine.executors import Engine, outcome
from suite.entries.checks import Unsuited, check_names, unsuited_tasks
from suite.entries.description import Described, describe, described
from suite.entries.entry import accepts, bind
from suite.entries.loading import LoadedSubmission, load
from suite.errors import InputError
from suite.predictions.methods import STEP_SIZES
from suite.sandbox.host import describe as describe_in_sandbox
from suite.sandbox.limits import Limits
from suite.storage.record import Record, RunKey
from suite.submission import FIXED, Submission
from suite.task import Task
from suite.tasks import open_task, own_file
from suite.tracks import Track
from suite.trials.resolved import ResolvedUnit
from suite.trials.selection import select
from suite.trials.unit import Isolation, Trial, Unit


@dataclass(frozen=True)
class Plan:
    """What to run: submissions on tasks, with a track's seeds and tuning budget. `make_plan` builds and checks one.

    Attributes:
        submissions, tasks: a submission runs on those tasks that accept it and that it does not skip.
        track: seeds and tuning budget. Its own list of tasks is not read here.
        limits: what a submission may use if its code is to run in the sandbox only; None: it runs in the workers.
        solutions: directory in which scored solutions are saved, the same path on every machine; None: nowhere.
        traced: scored runs are measured along the way, whenever their steps have grown by this factor; None: not.
        traced_all: by the costly measures too.
    """

    submissions: tuple[LoadedSubmission, ...]
    tasks: tuple[Task, ...]
    track: Track
    device: str = "cpu"
    limits: Limits | None = None
    solutions: str | None = None
    traced: float | None = None
    traced_all: bool = False

    @property
    def notes(self) -> list[str]:
        """What the user should know of the submissions, a sentence each."""
        return [note for loaded in self.submissions for note in loaded.notes]


def make_plan(
    submissions: Sequence[str],
    tasks: Sequence[str],
    track: Track,
    device: str = "cpu",
    limits: Limits | None = None,
    solutions: str | None = None,
    engine: Engine | None = None,
    traced: float | None = None,
    traced_all: bool = False,
) -> Plan:
    """The plan for the names of tasks, and for submissions as built-in names, files or import paths.

    Args:
        engine: whose workers run the code of submissions to see what they are; None: this process.
        traced, traced_all: as in `Plan`.

    Raises:
        InputError: there is no such submission or task, two submissions have one name, a submission cannot be built,
            its settings cannot be recorded, or an architecture fits none of the tasks.
    """
    if traced is not None and not 1 < traced < math.inf:
        raise InputError(f"The steps between measures along training grow by a finite factor above 1, not {traced}.")
    opened = tuple(map(open_task, tasks))
    own = [task.name for task in opened if own_file(task.name)]
    if limits is not None and own:
        raise InputError(f"{own[0]} cannot be run with --isolate: the sandbox sees no task of your own.")
    if limits is not None and traced is not None:
        raise InputError("--trace cannot be used with --isolate: the sandbox gives weights at the end alone.")
    if track.free_of_step_size:
        _check_free_of_step_size(open_submissions(submissions, track.trials, limits, (), engine), track)
    texts = [f"{text}[{FIXED}]" for text in submissions] if track.fixed else submissions
    loaded = open_submissions(texts, track.trials, limits, tasks, engine)
    if track.fixed and (networks := [each.text for each in loaded if each.submission.kind == "architecture"]):
        raise InputError(f"The track {track.name} is of optimizers: {networks[0]} is an architecture.")
    check_names([each.submission for each in loaded])
    return Plan(loaded, opened, track, device, limits, solutions, traced, traced_all)


def _check_free_of_step_size(loaded: Sequence[LoadedSubmission], track: Track) -> None:
    for each in loaded:
        if names := STEP_SIZES.intersection(each.submission.tuned):
            raise InputError(
                f"The track {track.name} is of optimizers without a step size to choose, and {each.submission.name} "
                f"has {' and '.join(sorted(names))}: the track default gives it the middle of its space."
            )


def open_submissions(
    texts: Sequence[str], trials: int, limits: Limits | None, tasks: Sequence[str], engine: Engine | None
) -> tuple[LoadedSubmission, ...]:
    """The submissions that `texts` name; of the names `tasks`, architectures skip those whose inputs they do not take.

    Their code runs in the sandbox with `limits`, else in a worker of `engine`, or without one here. What comes out is a
    description: a file that is imported could change this process, and the runs of all others with it.

    Raises:
        InputError: as `make_plan`.
    """
    if limits is not None:
        loaded = [describe_in_sandbox(text, limits, trials) for text in texts]
        return tuple(_skipping(each, _unsuited(each.submission, tasks)) for each in loaded)
    return tuple(_opened(text, trials, tuple(tasks), engine) for text in texts)


def _unsuited(submission: Submission, tasks: Sequence[str]) -> list[Unsuited]:
    """See `unsuited_tasks`; none where no tasks are named."""
    return unsuited_tasks(submission, list(map(open_task, tasks))) if tasks else []


def _skipping(loaded: LoadedSubmission, unsuited: Sequence[Unsuited]) -> LoadedSubmission:
    """The submission that skips tasks, and says so."""
    notes = tuple(
        f"Submission {loaded.submission.name!r} skips {_listed(tasks)}, whose inputs it does not take: {reason}"
        for tasks, reason in unsuited
    )
    skipped = tuple(task for tasks, _ in unsuited for task in tasks)
    return replace(loaded, notes=loaded.notes + notes, skipped=skipped)


SKIPPED_TASKS_NAMED = 4
"""More tasks that a submission skips than these are counted: the plan shows those that it enters."""


def _listed(tasks: Sequence[str]) -> str:
    """So many of the names, and how many others there are."""
    named, others = tasks[:SKIPPED_TASKS_NAMED], len(tasks[SKIPPED_TASKS_NAMED:])
    return ", ".join(named) + (f" and {others} others" if others else "")


def _describe(request: tuple[str, int, tuple[str, ...]]) -> Any:
    """What a submission is, and the tasks that do not suit it, as plain data; an `InputError` if it cannot be used.

    Its code runs.
    """
    text, trials, tasks = request
    answer = describe(text, trials)
    return msgspec.to_builtins((answer, _unsuited(load(text).submission, tasks)))


def _opened(text: str, trials: int, tasks: tuple[str, ...], engine: Engine | None) -> LoadedSubmission:
    """The submission `text`, as its code describes itself in another process."""
    try:
        answer = outcome(engine, _describe, (text, trials, tasks), owner=text)
        description, unsuited = msgspec.convert(answer, tuple[Described, list[Unsuited]])
        return _skipping(described(description, text, trials), unsuited)
    except (RuntimeError, msgspec.ValidationError, TypeError, ValueError) as error:
        raise InputError(f"{text}: it cannot be opened ({error}).") from error


class PlannedEntry:
    """One search of one submission on one task: its units in two stages, tuning and scoring."""

    def __init__(
        self, plan: Plan, loaded: LoadedSubmission, task: Task, costs: Costs, search: int = 0, searches: int = 1
    ) -> None:
        """The search of the number `search`, of so many; the scored seeds are dealt out to them in turn."""
        self.plan, self.loaded, self.task, self.search = plan, loaded, task, search
        self.entry = bind(loaded.submission, task)
        size = self.entry.optimizer.size_of_search(plan.track.trials)
        self.trials = [Trial(*item) for item in enumerate(self.entry.settings(size, search))]
        self.seeds = plan.track.scored_seeds_of(task.name, search, searches)
        self.records: list[Record] = []
        self.ahead: dict[RunKey, Record] = {}
        """Records of scored runs that were trained ahead, until it is known which trials are selected."""
        self.units_left = 0
        name, kind = loaded.submission.name, loaded.submission.kind
        self.memory = costs.memory(task.name)
        self._run_seconds = {phase: costs.run_seconds(task, phase, name, kind) for phase in ("tune", "score")}
        self._share_scored = costs.share_at_target(task, name, kind)

    @property
    def in_one(self) -> bool:
        """Whether tuning and scored runs are trained as one program.

        Not where every run has an optimizer of its own: each costs the same, and those of settings with which the
        tuning runs miss the target loss, a quarter of SAM's on `quick`, would be trained for nothing.
        """
        shared = self.loaded.entrywise or self.loaded.submission.kind == "architecture"
        return shared and self.task.batched and self.task.selection == "convergence" and len(self.trials) > 1

    def _unit(self, phase: str, trials: Sequence[Trial], seeds: Sequence[int], ahead: Sequence[int] = ()) -> Unit:
        plan = self.plan
        return Unit(
            submission=self.loaded.text,
            task=self.task.name,
            track=plan.track.name,
            phase=phase,
            trials=tuple(trials),
            seeds=tuple(seeds),
            scored_ahead=tuple(ahead),
            search=self.search,
            device=plan.device,
            isolation=None if plan.limits is None else Isolation(plan.limits, self.loaded),
            solutions=plan.solutions,
            measured=self.search < plan.track.measured_searches and self.task.selection != "convergence",
            traced=plan.traced,
            traced_all=plan.traced_all,
            described=self.loaded,
        )

    def resolved(self, unit: Unit) -> ResolvedUnit:
        """One of its units with the objects that it stands for."""
        return ResolvedUnit(unit, self.loaded, self.entry)

    def tuning(self) -> list[Unit]:
        """One program with all trials where runs are batched, else a unit per trial; none if there is no choice."""
        if len(self.trials) == 1:
            return []
        ahead = self.seeds if self.in_one else ()
        together = self._unit("tune", self.trials, self.plan.track.tuning_seeds_of(self.search), ahead)
        return [together] if self.task.batched else together.by_trial()

    def scoring(self) -> list[Unit]:
        """The selected trials on the search's scoring seeds; all its tuning records must be there."""
        tuned = [record for record in self.records if record["phase"] == "tune"]
        trials = [self.trials[number] for number in (select(self.task.selection, tuned) if tuned else [0])]
        if self.task.batched:
            return [self._unit("score", trials, self.seeds)]
        return [self._unit("score", [trial], [seed]) for trial in trials for seed in self.seeds]

    def cost(self, unit: Unit) -> float:
        """Expected seconds of `unit`."""
        ahead = unit.ahead([trial.number for trial in unit.trials])
        return unit.without_ahead().size * self._run_seconds[unit.phase] + ahead.size * self._run_seconds["score"]

    def scoring_runs(self) -> int:
        """How many runs the scoring units after tuning have: as recorded, where every trial that trains is scored."""
        if self.in_one:
            return 0
        trials = round(self._share_scored * len(self.trials)) if self.task.selection == "convergence" else 1
        return len(self.seeds) * max(1, trials)

    def scoring_cost(self) -> float:
        """Expected seconds of the scoring units after tuning."""
        return self.scoring_runs() * self._run_seconds["score"]

    def critical_path(self, unit: Unit) -> float:
        """Expected seconds from the start of `unit` to the last record, if there were a worker for every unit."""
        if unit.phase == "score":
            return self.cost(unit)
        return self.cost(unit) + (self.scoring_cost() if self.task.batched else self._run_seconds["score"])


def planned_entries(plan: Plan, costs: Costs) -> list[PlannedEntry]:
    """Every search of every submission of `plan` on every task that accepts it, and that it does not skip."""
    return [
        entry
        for loaded in plan.submissions
        for task in plan.tasks
        if accepts(task, loaded.submission) and task.name not in loaded.skipped
        for entry in _searches(plan, loaded, task, costs)
    ]


def _searches(plan: Plan, loaded: LoadedSubmission, task: Task, costs: Costs) -> list[PlannedEntry]:
    """The searches of a submission on a task: one where nothing is tuned, and none without a seed to be scored on."""
    searches = plan.track.searches_of(task.name) if bind(loaded.submission, task).optimizer.tuned else 1
    return [PlannedEntry(plan, loaded, task, costs, search, searches) for search in range(searches)]
