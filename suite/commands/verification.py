"""Checking records against what they claim: lines, sources, choices, stored solutions, and repeated runs.

A checksum detects damage, not fraud: whoever changes a number can seal the record again. Fraud is detected by measuring
the stored solution once more and by repeating a sample of training runs; an optimizer that remembers the published
seeds, by running seeds that nobody could have known.

Runs that another version of the suite recorded are repeated too, on the source of today, and their numbers compared:
hashes of data and of sources differ there, and a difference may be the suite's doing. So differences are counted and
shown, and not called false.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from suite.boards import BOARD_VERSIONS, board_version
from suite.engine.executors import Engine, outcome
from suite.engine.plan import open_submissions
from suite.entries.entry import accepts
from suite.entries.loading import LoadedSubmission
from suite.errors import InputError
from suite.sandbox.limits import Limits
from suite.seeding import seed_of
from suite.storage.contradictions import contradictions
from suite.storage.log import scan
from suite.storage.record import Record, Status, as_settings, clean, of_newest_source, run_key, search_of
from suite.storage.solutions import load
from suite.task import Weights
from suite.tasks import find_task, own_file
from suite.tasks.twins import has_twins, twin_name
from suite.tracks import SEEDS_OF_A_SEARCH, TUNING_SEEDS_FROM
from suite.trials import (
    Isolation,
    ResolvedUnit,
    Trial,
    Unit,
    declared,
    environment,
    measure_again,
    resolve,
    run_unit,
    select,
    task_hash,
)
from suite.trials.resolved import load_data

SAME_MACHINE = 1e-6
"""Relative tolerance where a record comes from the same versions, threads and kind of device: rounding alone."""

OTHER_MACHINE = 0.05
"""Elsewhere rounding differs, and training amplifies it."""

ABSOLUTE_TOLERANCE = 1e-13
"""For what is zero in exact arithmetic."""

CURVE_TOLERANCE = 1.1e-3
"""Curves are recorded with four significant digits."""

MOST_TRIALS = 10_000
"""No search is as long; a record that says so would have as many settings drawn."""

MEASURED_FIELDS = (
    "train_loss", "validation_loss", "measures", "uncertainties", "undefined", "axes", "data_fingerprint",
)  # fmt: skip
"""What a stored solution decides."""

REPEATED_FIELDS = (
    *MEASURED_FIELDS, "status", "converged", "gradient_evaluations", "target_evaluations", "steps", "placement",
)  # fmt: skip
"""What a repeated training run decides."""

EXACT_FIELDS = ("stepping", "implementations", "precision", "probe", "curves", "reason")
"""What it decides too, and what is compared only where the machine and the versions are the recorded ones."""

UNCHECKED_FIELDS = (
    "track", "isolation", "environment", "time", "seconds", "measure_seconds", "unit_seconds", "cpu_seconds",
    "peak_memory",
)  # fmt: skip
"""What nothing can be held against: a label, and how, where, when and how fast a run was made."""

COMPARED_FIELDS = (
    "train_loss", "validation_loss", "measures", "axes", "status", "converged", "gradient_evaluations",
    "target_evaluations", "steps", "kind",
)  # fmt: skip
"""What is compared with another version of the suite: numbers and outcomes, not hashes and declarations."""


Item = TypeVar("Item")


@dataclass(frozen=True)
class Disagreement:
    """A claim of the line or training run `where` that a check refutes; `text` says what is otherwise than claimed."""

    where: str
    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} ({self.check})"


@dataclass(frozen=True)
class Repetition:
    """A run that another version of the suite recorded, repeated on the source of today.

    Attributes:
        where: which run it is.
        differences: a sentence for every field that differs by more than the tolerance.
        largest: the largest relative difference of a number that both hold; infinite where one of them is missing.
    """

    where: str
    differences: tuple[str, ...]
    largest: float


@dataclass
class Report:
    """What was checked, what disagreed, and what could not be checked (in sentences).

    Attributes:
        lines, measured: how many lines were read, and solutions measured once more.
        rerun, retuned: how many scored runs were repeated, and how many tuning runs.
        repetitions: the repeated runs that another version of the suite had recorded.
        recorded: that version or those versions, with the days of the records; empty where there is none.
        tolerance: relative, of the repetitions.
        checkable: the records that count and whose sources are there.
        fresh: the records of seeds that nobody could have known.
    """

    lines: int = 0
    measured: int = 0
    rerun: int = 0
    retuned: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    repetitions: list[Repetition] = field(default_factory=list)
    recorded: str = ""
    tolerance: float = OTHER_MACHINE
    checkable: list[Record] = field(default_factory=list)
    fresh: list[Record] = field(default_factory=list)

    def add(self, where: str, check: str, texts: Iterable[str]) -> None:
        """Add what a check refuted."""
        self.disagreements += [Disagreement(where, check, text) for text in texts]


@dataclass(frozen=True)
class Request:
    """What to check.

    Attributes:
        submissions: texts that find the sources of the recorded submissions.
        sample, seed: how many scored runs are repeated, and as many tuning runs; and what draws them.
        share: at least this share of either is repeated, in [0, 1].
        per_task: at least so many scored runs of every task are repeated, or all that it has.
        fresh: how many seeds that nobody could have known are run, per submission and task.
        nonce: what those seeds depend on.
        solutions: the directory in which solutions were saved.
        tolerance: relative; None for what the machines allow.
        limits: the code of submissions runs in the sandbox, within these limits; None: in this process.
    """

    submissions: Sequence[str]
    sample: int
    seed: int = 0
    share: float = 0.0
    per_task: int = 0
    fresh: int = 0
    nonce: str = ""
    solutions: Path | None = None
    tolerance: float | None = None
    limits: Limits | None = None


def verify(logs: Sequence[Path], request: Request, engine: Engine | None = None) -> Report:
    """Check the records of `logs`; raises `InputError` if a log or a source cannot be read.

    The code of submissions runs on workers of `engine`, where it can change nothing of what is checked here; without
    one it runs in this process.
    """
    torch.set_num_threads(1)  # as in every worker: the number of threads decides rounding
    report = Report()
    records = _read(logs, report)
    newest = of_newest_source(records, per=("track", "submission", "task"))
    if len(newest) < len(records):
        report.unchecked.append(f"{len(records) - len(newest)} records of older sources, which no table shows")
    opened = open_submissions(request.submissions, 1, request.limits, (), engine)
    sources = {loaded.submission.name: loaded for loaded in opened}
    report.checkable, elsewhere = _check_sources(newest, sources, report)
    checkable = report.checkable
    _check_declarations(checkable, sources, report)
    _check_choices(checkable, report)
    if request.solutions is not None:
        _measure_again(checkable, sources, request, request.solutions, report, engine)
    scored = _scored(checkable)
    repeatable = [(record, True) for record in scored] + [(record, False) for record in _scored(elsewhere)]
    told_twice = {
        (track, run): difference
        for track in {record["track"] for record in newest}
        for run, difference in contradictions([record for record in newest if record["track"] == track]).items()
    }
    for (_, run), difference in told_twice.items():
        report.add(run_name(run._asdict()), "records", [f"two records of this run differ: {difference}"])
    # Which of the two is true is asked whatever the sample is.
    drawn = [item for item in repeatable if (item[0]["track"], run_key(item[0])) in told_twice]
    others = [item for item in repeatable if (item[0]["track"], run_key(item[0])) not in told_twice]
    drawn += _drawn(others, request, lambda item: str(item[0]["task"]), request.per_task)
    first = {(r["submission"], r["task"], search_of(r)): r["trial"] for r in _by_trial(scored)}
    accompanied = _accompanied(checkable)
    for record, same in drawn:
        is_first = first.get((record["submission"], record["task"], search_of(record))) == record["trial"]
        beside = same and accompanied(record)
        _run_again(record, sources[record["submission"]], same, is_first, beside, request, report, engine)
    report.recorded = _origin([record for record, same in drawn if not same])
    # Selection rests on them. What lost a race depends on who else was in it.
    tuned = [r for r in checkable if r["phase"] == "tune" and r["status"] not in (Status.RACED, Status.UNAVAILABLE)]
    for record in _drawn(tuned, request, lambda record: str(record["task"]), 0):
        _run_again(record, sources[record["submission"]], True, False, accompanied(record), request, report, engine)
    for searches in _by_search(scored) if request.fresh else ():
        loaded, task = sources[searches[0][0]["submission"]], searches[0][0]["task"]
        seeds = fresh_seeds(loaded, task, request.fresh, request.nonce)
        for number, trials in enumerate(searches[: len(seeds)]):  # dealt out in turn, as scored seeds are
            for record in trials:
                unit = _unit(record, loaded, seeds[number :: len(searches)], request.limits)
                try:
                    report.fresh += _on_twin(unit, request.nonce, engine)
                except RuntimeError as error:
                    report.unchecked.append(f"{loaded.submission.name} on {task}, fresh seeds: {error}")
    return report


def _drawn(items: Sequence[Item], request: Request, task_of: Callable[[Item], str], per_task: int) -> list[Item]:
    """The items that `request` asks for, and of every task that has fewer than `per_task` of them some more."""
    stream = random.Random(request.seed)
    order = stream.sample(range(len(items)), len(items))
    count = min(len(items), max(request.sample, math.ceil(request.share * len(items))))
    chosen, left = order[:count], order[count:]
    of_task = Counter(task_of(items[index]) for index in chosen)
    for index in left:
        if of_task[task_of(items[index])] < per_task:
            of_task[task_of(items[index])] += 1
            chosen.append(index)
    return [items[index] for index in chosen]


def _accompanied(records: Sequence[Record]) -> Callable[[Record], bool]:
    """Whether `records` hold other runs of a record's unit: on tasks that are trained as one program."""
    batched = {name: find_task(name).batched for name in {record["task"] for record in records}}

    def unit_of(record: Record) -> tuple[Any, ...]:
        trial = record["trial"] if record["phase"] == "score" else None
        return record["submission"], record["track"], record["task"], record["phase"], search_of(record), trial

    units = Counter(map(unit_of, records))
    return lambda record: batched[record["task"]] and units[unit_of(record)] > 1


def _on_twin(unit: Unit, nonce: str, engine: Engine | None) -> list[Record]:
    """The records of an optimizer's `unit` on the twin that the nonce draws, under the task's own name.

    Of `unit` itself where a task has no twins; an architecture is the network whose shapes a twin changes.
    """
    if unit.loaded().submission.kind != "optimizer" or not has_twins(find_task(unit.task)):
        return _run(unit, engine)
    twin = replace(unit, task=twin_name(unit.task, nonce))
    return [record | {"task": unit.task} for record in _run(twin, engine)]


def _scored(records: Iterable[Record]) -> list[Record]:
    """The scored runs that were trained or tried."""
    return [r for r in records if r["phase"] == "score" and r["status"] != Status.UNAVAILABLE]


def _by_trial(records: Iterable[Record]) -> list[Record]:
    """Those with the lowest number of a trial last."""
    return sorted(records, key=lambda record: -record["trial"])


def _origin(records: Sequence[Record]) -> str:
    """The versions of the suite that made `records`, and from when to when."""
    if not records:
        return ""
    days = sorted({record["time"][:10] for record in records})
    versions = ", ".join(sorted({record["suite_version"] for record in records}))
    return f"suite {versions}, {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def _by_search(scored: Sequence[Record]) -> list[list[list[Record]]]:
    """For every submission and task, a record of each trial of each of its searches, in the order of their numbers."""
    entries: dict[tuple[str, str], dict[int, dict[int, Record]]] = {}
    for record in scored:
        searches = entries.setdefault((record["submission"], record["task"]), {})
        searches.setdefault(search_of(record), {})[record["trial"]] = record
    return [
        [[record for _, record in sorted(trials.items())] for _, trials in sorted(searches.items())]
        for searches in entries.values()
    ]


def run_name(record: Mapping[str, Any]) -> str:
    """A training run as a reader finds it in a log."""
    return "{submission} on {task}, {phase}, trial {trial}, seed {seed}".format_map(record)


def _read(logs: Sequence[Path], report: Report) -> list[Record]:
    records = []
    for path in logs:
        for number, record in scan(path):
            report.lines += 1
            if isinstance(record, str):
                report.add(f"{path}, line {number}", "checksum", [record])
            else:
                records.append(record)
    return records


def _check_sources(
    records: Sequence[Record], sources: Mapping[str, LoadedSubmission], report: Report
) -> tuple[list[Record], list[Record]]:
    """The records whose task and submission are those of today; and those of tasks as they were in another version."""
    checkable: list[Record] = []
    elsewhere: list[Record] = []
    notes, changed = set(), set()
    hashes: dict[str, str] = {}
    for task in {record["task"] for record in records}:
        with contextlib.suppress(InputError):
            hashes[task] = task_hash(find_task(task))
    for record in records:
        name, task = record["submission"], record["task"]
        if name not in sources:
            notes.add(f"{name}: its source was not given")
        elif task not in hashes:
            why = "it was not named (--task)" if own_file(task) else "this version of the suite has no such task"
            notes.add(f"{task}: {why}")
        elif hashes[task] != record["task_hash"] or _is_of_another_board(record):
            elsewhere.append(record)
            if sources[name].source_hash != record["submission_hash"]:
                notes.add(f"{name}: its source is another one too, so a difference may be its own")
        elif sources[name].source_hash != record["submission_hash"]:
            changed.add(name)
        elif not accepts(find_task(task), sources[name].submission):
            report.add(run_name(record), "declared", [f"task is {task!r}, which takes no architectures"])
        else:
            checkable.append(record)
    report.unchecked += sorted(notes)
    for name in sorted(changed):
        report.add(name, "source", ["the source is not the one that was recorded"])
    return checkable, elsewhere


def _is_of_another_board(record: Record) -> bool:
    return board_version(record) in BOARD_VERSIONS[:-1]


def _check_declarations(records: Sequence[Record], sources: Mapping[str, LoadedSubmission], report: Report) -> None:
    """What suite, submission, task and protocol settle must be as they settle it, in every record."""
    settled: dict[tuple[str, str], tuple[ResolvedUnit, Record]] = {}
    for record in records:
        name, key = run_name(record), (record["submission"], record["task"])
        if key not in settled:
            work = resolve(_unit(record, sources[key[0]], [record["seed"]], None))
            settled[key] = work, clean(declared(work))
        work, stated = settled[key]
        record = record | {"board_version": board_version(record)}
        differ = [_difference(field, record.get(field), value) for field, value in stated.items()]
        report.add(
            name,
            "declared",
            [text for text, field in zip(differ, stated, strict=True) if record.get(field) != stated[field]],
        )
        report.add(name, "seeds", _seeds(record))
        report.add(name, "settings", _settings(record, work))


def _seeds(record: Record) -> Iterator[str]:
    """Tuning seeds and scored seeds are apart, and so are those of every search."""
    search = (record["seed"] - TUNING_SEEDS_FROM) // SEEDS_OF_A_SEARCH
    if record["phase"] == "score" and search >= 0:
        yield f"seed {record['seed']} is a tuning seed, and phase is 'score'"
    if record["phase"] == "tune" and search != search_of(record):
        yield f"seed {record['seed']} is none of the tuning seeds of search {search_of(record)}, and phase is 'tune'"


def _settings(record: Record, work: ResolvedUnit) -> Iterator[str]:
    trial, search = record["trial"], search_of(record)
    if trial >= (MOST_TRIALS if work.entry.optimizer.tuned else 1):
        yield f"trial is {trial}, and its space has fewer"
        return
    drawn = clean(work.entry.settings(trial + 1, search)[trial])
    if drawn != record["hyperparameters"]:
        text = f"hyperparameters {record['hyperparameters']}, where its space gives {drawn}"
        yield f"{text} (trial {trial}, search {search})"


def _check_choices(records: Sequence[Record], report: Report) -> None:
    """The scored trial must be the one that the protocol selects."""
    tuned: dict[tuple[str, str, int], list[Record]] = {}
    scored: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        phase = tuned if record["phase"] == "tune" else scored
        phase.setdefault((record["submission"], record["task"], search_of(record)), []).append(record)
    for search, runs in scored.items():
        if search not in tuned:
            continue
        selected = select(find_task(search[1]).selection, tuned[search])
        chosen = f"trial{'s' if len(selected) > 1 else ''} {', '.join(map(str, selected))}"
        text = f"the protocol selects {chosen} from its tuning records"
        for record in runs:
            if record["trial"] not in selected:
                report.add(run_name(record), "selection", [text])
        for trial in sorted(set(selected) - {record["trial"] for record in runs}):
            report.add(run_name(runs[0]), "selection", [f"{text}, and trial {trial} has no scored run"])


def _unit(record: Record, loaded: LoadedSubmission, seeds: Sequence[int], limits: Limits | None) -> Unit:
    """The unit that repeats the trial of `record` on `seeds`."""
    return Unit(
        submission=loaded.text,
        task=record["task"],
        track=record["track"],
        phase=record["phase"],
        trials=(Trial(record["trial"], as_settings(record["hyperparameters"])),),
        seeds=tuple(seeds),
        search=search_of(record),
        isolation=None if limits is None else Isolation(limits, loaded),
        measured=record["phase"] == "tune" and bool(record["axes"] or record["measures"]),
        described=loaded,
    )


def _run(unit: Unit, engine: Engine | None) -> list[Record]:
    """The records of `unit`, run on `engine`; a `RuntimeError` if its process died."""
    records: list[Record] = outcome(engine, run_unit, unit, owner=unit.submission, prepare=load_data)
    return records


def _measure(request: tuple[Unit, Weights]) -> Record:
    return measure_again(*request)


def _measure_again(
    records: Sequence[Record],
    sources: Mapping[str, LoadedSubmission],
    request: Request,
    folder: Path,
    report: Report,
    engine: Engine | None,
) -> None:
    missing = 0
    for record in records:
        if record["phase"] != "score" or not record["converged"]:
            continue
        name = run_name(record)
        try:
            weights = load(folder, str(record["solution_hash"]))
        except InputError as error:
            report.add(name, "solution", [str(error)])
            continue
        if weights is None:
            missing += 1
            continue
        try:
            unit = _unit(record, sources[record["submission"]], [record["seed"]], request.limits)
            fields = outcome(engine, _measure, (unit, weights), owner=unit.submission)
        except Exception as error:  # weights of another network, or measures that fail on them
            report.add(name, "re-measured", [f"the stored solution cannot be measured ({error})"])
            continue
        report.measured += 1
        report.add(name, "re-measured", _differences(record, fields, MEASURED_FIELDS, request.tolerance))
        loss = fields["train_loss"]
        if loss is None or not find_task(record["task"]).target.admits(loss):
            stated = "not finite" if loss is None else f"{loss:g}"
            report.add(name, "re-measured", [f"the stored solution's training loss is {stated}"])
    if missing:
        report.unchecked.append(f"{missing} solutions were not kept (run with --keep-solutions)")


def _run_again(
    record: Record,
    loaded: LoadedSubmission,
    same: bool,
    is_first: bool,
    accompanied: bool,
    request: Request,
    report: Report,
    engine: Engine | None,
) -> None:
    """Repeat a run and compare.

    `same`: it was recorded by the source of today, so a difference refutes the record. `is_first`: its trial is the
    first scored one of its search, so that it shows the optimizer's probe where it has the seed for it. `accompanied`:
    there are records of other runs of its unit.
    """
    alone, beside = [record["seed"]], [record["seed"], record["seed"] + 1]
    try:
        # A run of a batch is repeated with another seed beside it, so that the same kernels run.
        seeds = beside if accompanied or record["stepping"] not in ("alone", None) else alone
        repeated = _run(_unit(record, loaded, seeds, request.limits), engine)[0]
        if record["stepping"] == "alone" != repeated["stepping"] and repeated["stepping"] is not None:
            # That of a run whose unit was lost and tried again in parts is true; its numbers decide.
            where, stepping = run_name(record), repeated["stepping"]
            report.unchecked.append(f"{where}: it says that it was stepped alone; beside another it is {stepping} here")
            repeated = _run(_unit(record, loaded, alone, request.limits), engine)[0]
    except RuntimeError as error:
        report.add(run_name(record), "re-run", [f"it cannot be repeated ({error})"])
        return
    if repeated["status"] == Status.UNAVAILABLE:
        report.unchecked.append(f"{run_name(record)}: {repeated['reason']}")
        return
    if record["phase"] == "tune":
        report.retuned += 1
    else:
        report.rerun += 1
    if same:
        if record.get("probe") is None and not is_first:
            repeated["probe"] = None
        fields = (*REPEATED_FIELDS, *EXACT_FIELDS) if _is_here(record) else REPEATED_FIELDS
        differences = list(_differences(record, repeated, fields, request.tolerance))
        report.add(run_name(record), "re-run", differences or _other_hash(record, repeated))
        return
    report.tolerance = OTHER_MACHINE if request.tolerance is None else request.tolerance
    both = list(_both_hold(record, repeated))
    report.repetitions.append(
        Repetition(
            run_name(record),
            tuple(_difference(*leaf) for leaf in both if not _alike(*leaf[1:], report.tolerance)),
            max((_relative(one, other) for _, one, other in both), default=0.0),
        )
    )


def _both_hold(record: Record, repeated: Record) -> Iterator[tuple[str, Any, Any]]:
    """What can be compared between two versions of the suite: a measure that only one of them takes is left out.

    So is the loss of runs that both reached the target: rounding decides how far below it the last step lands.
    """
    both_reached = record["converged"] and repeated["converged"]
    for name in (name for name in COMPARED_FIELDS if name != "train_loss" or not both_reached):
        for path, one, other in _leaves(name, record[name], repeated[name]):
            if "." not in path or not (one is None or other is None):
                yield path, one, other


def _differences(claimed: Record, measured: Record, fields: Sequence[str], tolerance: float | None) -> Iterator[str]:
    """A sentence for every field in which the two differ by more than the tolerance."""
    if tolerance is None:
        tolerance = SAME_MACHINE if _is_here(claimed) else OTHER_MACHINE
    for name in (name for name in fields if name in measured):  # above the target loss nothing else is measured
        for path, one, other in _leaves(name, claimed.get(name), measured[name]):
            allowed = max(tolerance, CURVE_TOLERANCE) if name == "curves" else tolerance
            if name == "reason":
                alike = _words(one) == _words(other)
            else:
                alike = _alike(one, other, allowed, _scale(path, measured))
            if not alike:
                yield _difference(path, one, other)


def _is_here(record: Record) -> bool:
    """Whether a record was made with the versions, threads and kind of device of this process."""
    return bool(record["environment"] == environment("cpu"))


def _words(reason: str | None) -> str | None:
    """A reason without its numbers: addresses, times and sizes need not be the same again."""
    return None if reason is None else re.sub(r"0x[0-9a-f]+|\d+", "", reason)


def _scale(path: str, record: Record) -> float:
    """What the tolerance of a value is relative to, beside itself: an error is known to parts of its measure only."""
    field, _, rest = path.partition(".")
    name, _, part = rest.rpartition(".")
    value = record["measures"].get(name) if field == "uncertainties" and part == "error" else None
    return abs(value or 0.0)


def _other_hash(record: Record, repeated: Record) -> list[str]:
    """That the weights are others, where all that was measured of them is the same to the last digit.

    Where it is not, rounding explains other weights.
    """
    here = _is_here(record) and record["converged"]
    if not here or any(record[name] != repeated[name] for name in ("train_loss", "measures")):
        return []
    claimed, found = record["solution_hash"], repeated["solution_hash"]
    return [_difference("solution_hash", claimed, found)] if claimed != found else []


def _difference(path: str, claimed: Any, measured: Any) -> str:
    return f"{path} is {_format(claimed)} in the record and {_format(measured)} here"


def _leaves(path: str, claimed: Any, measured: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values below a field of two records, side by side, with their dotted paths."""
    if isinstance(claimed, dict) and isinstance(measured, dict):
        for name in sorted({*claimed, *measured}):
            yield from _leaves(f"{path}.{name}", claimed.get(name), measured.get(name))
    elif isinstance(claimed, list) and isinstance(measured, list) and len(claimed) == len(measured):
        for number, values in enumerate(zip(claimed, measured, strict=True)):
            yield from _leaves(f"{path}.{number}", *values)
    else:
        yield path, claimed, measured


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _relative(one: Any, other: Any) -> float:
    """The relative difference of two numbers, 0 below the absolute tolerance; of other values 0 or infinite."""
    if not _numbers(one, other):
        return 0.0 if one == other else math.inf
    return 0.0 if _alike(one, other, 0.0) else abs(one - other) / max(abs(one), abs(other))


def _alike(one: Any, other: Any, tolerance: float, scale: float = 0.0) -> bool:
    if _numbers(one, other):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=max(ABSOLUTE_TOLERANCE, tolerance * scale))
    return bool(one == other)


def _format(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def fresh_seeds(loaded: LoadedSubmission, task: str, count: int, nonce: str) -> list[int]:
    """Seeds that depend on the submission's source, the task and a nonce: nobody could have prepared for them."""
    return [seed_of("verification", loaded.source_hash, task, nonce, number) for number in range(count)]
