"""Checking records against what they claim: lines, sources, choices, stored solutions, and lanes run again.

A checksum tells damage, not fraud: whoever changes a number can seal it again. What tells fraud is to measure the
stored solution once more, and to run a sample of lanes again; and what tells an optimizer that remembers the published
seeds is to run seeds that nobody could have known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from suite.engine.plan import open_submission
from suite.entries.loading import LoadedSubmission
from suite.errors import InputError, sentence
from suite.sandbox.limits import Limits
from suite.seeding import seed_of
from suite.storage.log import scan
from suite.storage.record import Record, clean
from suite.storage.solutions import find
from suite.submission import Distribution
from suite.tasks.registry import find_task
from suite.trials.evaluate import measure_again, run_unit
from suite.trials.provenance import environment, task_hash
from suite.trials.selection import select
from suite.trials.unit import Isolation, Unit

SAME_MACHINE = 1e-6
"""Relative tolerance where a record comes from the same versions, threads and kind of device: rounding alone."""


OTHER_MACHINE = 0.05
"""Elsewhere rounding differs, and training amplifies it."""


NOTHING = 1e-13
"""Absolute tolerance: what is zero in exact arithmetic."""


RERUN_FIELDS = (
    *("status", "converged", "train_loss", "validation_loss", "gradient_evaluations", "target_evaluations", "steps"),
    *("data_fingerprint", "measures", "axes", "explicit", "kind"),
)


MEASURED_FIELDS = ("train_loss", "validation_loss", "measures", "axes", "data_fingerprint")


@dataclass(frozen=True)
class Disagreement:
    """What was found to be otherwise than claimed, where (a line, or a lane), by which check."""

    where: str
    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} ({self.check})"


@dataclass
class Report:
    """What was checked, what disagreed, and what could not be checked.

    known: the records that count and whose sources are at hand. fresh: those of seeds that nobody could have known.
    """

    lines: int = 0
    measured: int = 0
    rerun: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    known: list[Record] = field(default_factory=list)
    fresh: list[Record] = field(default_factory=list)

    def add(self, where: str, check: str, texts: Iterable[str]) -> None:
        """Note what a check found."""
        self.disagreements += [Disagreement(where, check, text) for text in texts]


@dataclass(frozen=True)
class Request:
    """What to check.

    submissions: texts that find the sources of the recorded submissions. sample: scored lanes to run again, drawn by
    `seed`. fresh: seeds per submission and task that nobody could have known: they hang on `nonce`. solutions: where
    solutions were kept. tolerance: relative, None for what the machines allow. limits: run sources isolated.
    """

    submissions: Sequence[str]
    sample: int
    seed: int = 0
    fresh: int = 0
    nonce: str = ""
    solutions: Path | None = None
    tolerance: float | None = None
    limits: Limits | None = None


def verify(logs: Sequence[Path], request: Request) -> Report:
    """Check the records of `logs`.

    Raises:
        InputError: a log or a source cannot be read.
    """
    torch.set_num_threads(1)  # as in every worker: the number of threads decides rounding
    report = Report()
    records = _read(logs, report)
    sources = {}
    for text in request.submissions:
        loaded = open_submission(text, 1, request.limits)
        sources[loaded.submission.name] = loaded
    known = report.known = _check_sources(_newest(records, report), sources, report)
    _check_choices(known, sources, report)
    if request.solutions is not None:
        _measure_again(known, sources, request, report)
    scored = [record for record in known if record["phase"] == "score" and record["status"] != "unavailable"]
    chosen = random.Random(request.seed).sample(scored, min(request.sample, len(scored)))
    for record in chosen:
        _run_again(record, sources[record["submission"]], request, report)
    if request.fresh:
        _run_fresh(scored, sources, request, report)
    return report


def lane(record: Mapping[str, Any]) -> str:
    """A lane as a reader finds it in a log."""
    return (
        f"{record['submission']} on {record['task']}, {record['phase']}, trial {record['trial']}, seed {record['seed']}"
    )


def _read(logs: Sequence[Path], report: Report) -> list[Record]:
    records = []
    for path in logs:
        for number, found in scan(path):
            report.lines += 1
            if isinstance(found, str):
                report.add(f"{path}, line {number}", "checksum", [found])
            else:
                records.append(found)
    return records


def _newest(records: Sequence[Record], report: Report) -> list[Record]:
    """The records of each submission's and task's newest source on its track: those that tables show."""
    newest = {_place(record): _source(record) for record in records}
    kept = [record for record in records if newest[_place(record)] == _source(record)]
    if len(kept) < len(records):
        report.unchecked.append(f"{len(records) - len(kept)} records of older sources, which no table shows")
    return kept


def _place(record: Record) -> tuple[str, str, str]:
    return record["track"], record["submission"], record["task"]


def _source(record: Record) -> tuple[str, str]:
    return record["submission_hash"], record["task_hash"]


def _check_sources(records: Sequence[Record], sources: Mapping[str, LoadedSubmission], report: Report) -> list[Record]:
    """The records whose task and source are at hand, as they were when the records were made."""
    known, missing, older, changed = [], set(), set(), set()
    hashes: dict[str, str | None] = {}
    for record in records:
        name, task = record["submission"], record["task"]
        if task not in hashes:
            try:
                hashes[task] = task_hash(find_task(task))
            except InputError:
                hashes[task] = None
        if name not in sources:
            missing.add(f"{name}: its source was not given")
        elif hashes[task] != record["task_hash"]:
            older.add(f"{task}: recorded by another version of the suite, which this one cannot repeat")
        elif sources[name].source_hash != record["submission_hash"]:
            changed.add(name)
        else:
            known.append(record)
    report.unchecked += sorted(missing | older)
    for name in sorted(changed):
        report.add(name, "source", ["the source is not the one that was recorded"])
    return known


def _check_choices(records: Sequence[Record], sources: Mapping[str, LoadedSubmission], report: Report) -> None:
    """Settings must be those of the declared space, and what is scored must be what the protocol selects."""
    tuned: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        report.add(lane(record), "settings", _settings(record, sources[record["submission"]]))
        if record["phase"] == "tune":
            tuned.setdefault((record["submission"], record["task"]), []).append(record)
    for record in records:
        own = tuned.get((record["submission"], record["task"]))
        if record["phase"] == "score" and own:
            chosen = select(find_task(record["task"]).selection, own)
            if chosen != record["trial"]:
                report.add(lane(record), "selection", [f"the protocol selects trial {chosen} from its tuning records"])


def _settings(record: Record, loaded: LoadedSubmission) -> Iterator[str]:
    submission = loaded.submission
    if submission.optimizer is None or not any(isinstance(v, Distribution) for v in submission.space.values()):
        return
    declared = clean(submission.settings(record["trial"] + 1)[record["trial"]])
    if declared != record["hyperparameters"]:
        yield f"hyperparameters {record['hyperparameters']}, where its space gives {declared}"


def _unit(record: Record, loaded: LoadedSubmission, seeds: Sequence[int], limits: Limits | None) -> Unit:
    settings = tuple((name, _tuples(value)) for name, value in record["hyperparameters"].items())
    jail = None if limits is None else Isolation(limits, loaded)
    return Unit(
        loaded.text, record["task"], record["track"], "score", ((record["trial"], settings),), tuple(seeds), jail=jail
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _measure_again(
    records: Sequence[Record], sources: Mapping[str, LoadedSubmission], request: Request, report: Report
) -> None:
    assert request.solutions is not None
    absent = 0
    for record in records:
        if record["phase"] != "score" or not record["converged"]:
            continue
        try:
            weights = find(request.solutions, str(record["solution_hash"]))
        except InputError as error:
            report.add(lane(record), "solution", [str(error)])
            continue
        if weights is None:
            absent += 1
            continue
        unit = _unit(record, sources[record["submission"]], [record["seed"]], request.limits)
        try:
            found = measure_again(unit, weights)
        except Exception as error:  # weights of another network, or measures that fail on them
            report.add(lane(record), "re-measured", [f"the stored solution cannot be measured ({sentence(error)})"])
            continue
        report.measured += 1
        report.add(lane(record), "re-measured", _differences(record, found, MEASURED_FIELDS, request.tolerance))
        stop = find_task(record["task"]).target.loss
        if not found["train_loss"] <= stop + SAME_MACHINE * abs(stop):
            report.add(lane(record), "re-measured", [f"the stored solution's training loss is {found['train_loss']:g}"])
    if absent:
        report.unchecked.append(f"{absent} solutions were not kept (run with --keep-solutions)")


def _run_again(record: Record, loaded: LoadedSubmission, request: Request, report: Report) -> None:
    # StackedModels of a batch: one beside it, so that the same kernels run.
    seeds = [record["seed"], record["seed"] + 1] if record["stepping"] not in ("alone", None) else [record["seed"]]
    found = run_unit(_unit(record, loaded, seeds, request.limits))[0]
    report.rerun += 1
    report.add(lane(record), "re-run", _differences(record, found, RERUN_FIELDS, request.tolerance))


def _differences(claimed: Record, found: Record, fields: Sequence[str], tolerance: float | None) -> Iterator[str]:
    """A sentence for every field in which the two differ by more than the tolerance."""
    here = environment("cpu")
    if tolerance is None:
        tolerance = SAME_MACHINE if claimed["environment"] == here else OTHER_MACHINE
    for name in fields:
        for path, one, other in _leaves(name, claimed[name], found[name]):
            if not _alike(one, other, tolerance):
                yield f"{path} is {_shown(one)} in the record and {_shown(other)} here"


def _leaves(path: str, claimed: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(claimed, dict) and isinstance(found, dict):
        for name in sorted({*claimed, *found}):
            yield from _leaves(f"{path}.{name}", claimed.get(name), found.get(name))
    else:
        yield path, claimed, found


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other)]
    if all(numbers):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=NOTHING)
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def fresh_seeds(loaded: LoadedSubmission, task: str, count: int, nonce: str) -> list[int]:
    """Seeds that hang on the submission's source, the task and a nonce: nobody could have prepared for them."""
    return [seed_of("verification", loaded.source_hash, task, nonce, number) for number in range(count)]


def _run_fresh(
    scored: Sequence[Record], sources: Mapping[str, LoadedSubmission], request: Request, report: Report
) -> None:
    for record in {(record["submission"], record["task"]): record for record in scored}.values():
        loaded = sources[record["submission"]]
        seeds = fresh_seeds(loaded, record["task"], request.fresh, request.nonce)
        report.fresh += run_unit(_unit(record, loaded, seeds, request.limits))
