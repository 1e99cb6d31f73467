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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from suite.engine.executors import Engine, outcome
from suite.engine.plan import open_submissions
from suite.entries.loading import LoadedSubmission
from suite.errors import InputError
from suite.sandbox.limits import Limits
from suite.seeding import seed_of
from suite.storage.log import scan
from suite.storage.record import Record, Status, as_settings, clean, of_newest_source, search_of
from suite.storage.solutions import load
from suite.task import Weights
from suite.tasks import find_task
from suite.tasks.twins import has_twins, twin_name
from suite.trials import Isolation, Trial, Unit, environment, measure_again, run_unit, select, task_hash
from suite.trials.resolved import load_data

SAME_MACHINE = 1e-6
"""Relative tolerance where a record comes from the same versions, threads and kind of device: rounding alone."""

OTHER_MACHINE = 0.05
"""Elsewhere rounding differs, and training amplifies it."""

ABSOLUTE_TOLERANCE = 1e-13
"""For what is zero in exact arithmetic."""

MEASURED_FIELDS = ("train_loss", "validation_loss", "measures", "axes", "data_fingerprint")
"""What a stored solution decides."""

REPEATED_FIELDS = (
    *MEASURED_FIELDS, "status", "converged", "gradient_evaluations", "target_evaluations", "steps", "explicit", "kind",
)  # fmt: skip
"""What a repeated training run decides."""

COMPARED_FIELDS = tuple(name for name in REPEATED_FIELDS if name not in ("data_fingerprint", "explicit"))
"""What is compared with another version of the suite: numbers and outcomes, not hashes and declarations."""


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
        lines, measured, rerun: how many lines were read, solutions measured once more, and runs repeated.
        repetitions: the repeated runs that another version of the suite had recorded.
        recorded: that version or those versions, with the days of the records; empty where there is none.
        tolerance: relative, of the repetitions.
        checkable: the records that count and whose sources are there.
        fresh: the records of seeds that nobody could have known.
    """

    lines: int = 0
    measured: int = 0
    rerun: int = 0
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
        sample, seed: how many scored runs are repeated, and what draws them.
        fresh: how many seeds that nobody could have known are run, per submission and task.
        nonce: what those seeds depend on.
        solutions: the directory in which solutions were saved.
        tolerance: relative; None for what the machines allow.
        limits: the code of submissions runs in the sandbox, within these limits; None: in this process.
    """

    submissions: Sequence[str]
    sample: int
    seed: int = 0
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
    _check_choices(checkable, sources, report)
    if request.solutions is not None:
        _measure_again(checkable, sources, request, request.solutions, report, engine)
    scored = _scored(checkable)
    repeatable = [(record, True) for record in scored] + [(record, False) for record in _scored(elsewhere)]
    drawn = random.Random(request.seed).sample(repeatable, min(request.sample, len(repeatable)))
    for record, same in drawn:
        _run_again(record, sources[record["submission"]], same, request, report, engine)
    report.recorded = _origin([record for record, same in drawn if not same])
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


def _on_twin(unit: Unit, nonce: str, engine: Engine | None) -> list[Record]:
    """The records of `unit`; of a linear task, those of the twin that the nonce draws, under the task's own name."""
    if not has_twins(find_task(unit.task)):
        return _run(unit, engine)
    twin = replace(unit, task=twin_name(unit.task, nonce))
    return [record | {"task": unit.task} for record in _run(twin, engine)]


def _scored(records: Iterable[Record]) -> list[Record]:
    """The scored runs that were trained or tried."""
    return [r for r in records if r["phase"] == "score" and r["status"] != Status.UNAVAILABLE]


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
            notes.add(f"{task}: this version of the suite has no such task")
        elif hashes[task] != record["task_hash"]:
            elsewhere.append(record)
            if sources[name].source_hash != record["submission_hash"]:
                notes.add(f"{name}: its source is another one too, so a difference may be its own")
        elif sources[name].source_hash != record["submission_hash"]:
            changed.add(name)
        else:
            checkable.append(record)
    report.unchecked += sorted(notes)
    for name in sorted(changed):
        report.add(name, "source", ["the source is not the one that was recorded"])
    return checkable, elsewhere


def _check_choices(records: Sequence[Record], sources: Mapping[str, LoadedSubmission], report: Report) -> None:
    """Settings must be those of the declared space, and the scored trial must be the one that the protocol selects."""
    tuned: dict[tuple[str, str, int], list[Record]] = {}
    scored: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        report.add(run_name(record), "settings", _settings(record, sources[record["submission"]]))
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


def _settings(record: Record, loaded: LoadedSubmission) -> Iterator[str]:
    submission = loaded.submission
    if submission.optimizer is None or not submission.tuned:
        return
    declared = clean(submission.settings(record["trial"] + 1, search_of(record))[record["trial"]])
    if declared != record["hyperparameters"]:
        yield f"hyperparameters {record['hyperparameters']}, where its space gives {declared}"


def _unit(record: Record, loaded: LoadedSubmission, seeds: Sequence[int], limits: Limits | None) -> Unit:
    """The scoring unit that repeats the trial of `record` on `seeds`."""
    return Unit(
        submission=loaded.text,
        task=record["task"],
        track=record["track"],
        phase="score",
        trials=(Trial(record["trial"], as_settings(record["hyperparameters"])),),
        seeds=tuple(seeds),
        search=search_of(record),
        isolation=None if limits is None else Isolation(limits, loaded),
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
    record: Record, loaded: LoadedSubmission, same: bool, request: Request, report: Report, engine: Engine | None
) -> None:
    """Repeat a run and compare; `same`: it was recorded by the source of today, so a difference refutes the record."""
    # A run of a batch is repeated with another seed beside it, so that the same kernels run.
    seeds = [record["seed"], record["seed"] + 1] if record["stepping"] not in ("alone", None) else [record["seed"]]
    try:
        repeated = _run(_unit(record, loaded, seeds, request.limits), engine)[0]
    except RuntimeError as error:
        report.add(run_name(record), "re-run", [f"it cannot be repeated ({error})"])
        return
    if repeated["status"] == Status.UNAVAILABLE:
        report.unchecked.append(f"{run_name(record)}: {repeated['reason']}")
        return
    report.rerun += 1
    if same:
        report.add(run_name(record), "re-run", _differences(record, repeated, REPEATED_FIELDS, request.tolerance))
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
    """What can be compared between two versions of the suite: a measure that only one of them takes is left out."""
    for name in COMPARED_FIELDS:
        for path, one, other in _leaves(name, record[name], repeated[name]):
            if "." not in path or not (one is None or other is None):
                yield path, one, other


def _differences(claimed: Record, measured: Record, fields: Sequence[str], tolerance: float | None) -> Iterator[str]:
    """A sentence for every field in which the two differ by more than the tolerance."""
    if tolerance is None:
        tolerance = SAME_MACHINE if claimed["environment"] == environment("cpu") else OTHER_MACHINE
    for name in (name for name in fields if name in measured):  # above the target loss nothing else is measured
        for path, one, other in _leaves(name, claimed[name], measured[name]):
            if not _alike(one, other, tolerance):
                yield _difference(path, one, other)


def _difference(path: str, claimed: Any, measured: Any) -> str:
    return f"{path} is {_format(claimed)} in the record and {_format(measured)} here"


def _leaves(path: str, claimed: Any, measured: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values below a field of two records, side by side, with their dotted paths."""
    if isinstance(claimed, dict) and isinstance(measured, dict):
        for name in sorted({*claimed, *measured}):
            yield from _leaves(f"{path}.{name}", claimed.get(name), measured.get(name))
    else:
        yield path, claimed, measured


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _relative(one: Any, other: Any) -> float:
    """The relative difference of two numbers, 0 below the absolute tolerance; of other values 0 or infinite."""
    if not _numbers(one, other):
        return 0.0 if one == other else math.inf
    return 0.0 if _alike(one, other, 0.0) else abs(one - other) / max(abs(one), abs(other))


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if _numbers(one, other):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(one == other)


def _format(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def fresh_seeds(loaded: LoadedSubmission, task: str, count: int, nonce: str) -> list[int]:
    """Seeds that depend on the submission's source, the task and a nonce: nobody could have prepared for them."""
    return [seed_of("verification", loaded.source_hash, task, nonce, number) for number in range(count)]
