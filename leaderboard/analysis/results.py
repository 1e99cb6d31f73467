"""Logs -> one checked set of records, and the frame that is scored."""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from suite.behavior import explicit
from suite.boards import BOARD_VERSION, BOARD_VERSIONS, age, board_version
from suite.errors import InputError, unknown
from suite.storage.contradictions import contradictions, in_words, rescored
from suite.storage.log import read
from suite.storage.record import Record, Status, of_newest_source, run_key, search_of
from suite.storage.training_paths import attach

RUN_KEYS = (
    "submission", "kind", "explicit", "task", "family", "trial", "seed", "converged", "gradient_evaluations", "seconds",
)  # fmt: skip
"""Fields of a record that every row of the frame repeats."""

AXIS_KEYS = ("measure", "scale", "score_0", "score_1", "floor")
"""What a record states of each of its axes."""

CATEGORICAL_COLUMNS = frozenset({"submission", "kind", "task", "family", "axis", "measure", "scale"})

COLUMN_TYPES = {"seed": int, "trial": int, "search": int, "explicit": bool, "converged": bool}
"""Other columns than categories and these hold floats."""


@dataclass(frozen=True)
class Results:
    """The records that count, one for each training run of tuning and scoring.

    `notes` say what the user should know of them: damaged lines, runs of an older source.
    """

    records: list[Record]
    notes: list[str] = field(default_factory=list)

    @property
    def track(self) -> str:
        """The track that the records are of; empty where they name none or several."""
        tracks = {record.get("track", "") for record in self.records}
        return str(tracks.pop()) if len(tracks) == 1 else ""

    @property
    def board_version(self) -> str:
        """The board that the records are of: that of today where there is no record."""
        return board_version(self.records[0]) if self.records else BOARD_VERSION

    def of_tasks(self, names: Collection[str]) -> Results:
        """The records of the tasks `names` alone.

        Raises:
            InputError: there is no record of one of them.
        """
        tasks = {str(record["task"]) for record in self.records}
        for name in names:
            if name not in tasks:
                raise InputError(f"The results hold no task {name!r}: there are {', '.join(sorted(tasks))}.")
        return Results([record for record in self.records if record["task"] in names], self.notes)

    def implicit(self) -> Results:
        """The records of the submissions that do not regularize on purpose."""
        explicit = {(record["kind"], record["submission"]) for record in self.records if record["explicit"]}
        records = [record for record in self.records if (record["kind"], record["submission"]) not in explicit]
        return Results(records, self.notes)

    def scored(self) -> list[Record]:
        """The records of scored runs, without those of tuning."""
        return [record for record in self.records if record["phase"] == "score"]

    def behaviors(self, kind: str) -> dict[str, tuple[str, ...]]:
        """Submission of `kind` -> what its probes saw it do; those that were never probed are left out."""
        groups: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            if record["kind"] == kind and record.get("probe") is not None:
                groups[record["submission"]].append(record)
        return {name: explicit(False, probes_of(group))[1] for name, group in groups.items()}

    def submissions(self, kind: str) -> set[str]:
        """The submissions of `kind`."""
        return {record["submission"] for record in self.records if record["kind"] == kind}

    def kinds(self) -> list[str]:
        """The kinds of submission that there are: they are ranked separately, optimizers first."""
        return sorted({record["kind"] for record in self.records}, key=lambda kind: (kind != "optimizer", kind))

    def frame(self) -> pd.DataFrame:
        """The frame of the scored runs (see `frame_of`)."""
        return frame_of(self.scored())

    @functools.cached_property
    def tuned(self) -> set[tuple[str, str]]:
        """(submission, task): where settings were searched for."""
        return {(record["submission"], record["task"]) for record in self.records if record["phase"] == "tune"}

    def over_the_space(self) -> list[Record]:
        """As many runs of every setting that was tried, with seeds of their own; the scored ones if nothing was tuned.

        Where every setting that trains is scored, they are the scored runs, and as many that missed the target loss for
        a setting that does not train. Elsewhere they are the tuning runs of the searches that measured all of theirs: a
        submission and task without such a search has none, since a trial that was ended early has no score.
        """
        searches: defaultdict[tuple[str, str], defaultdict[int, list[Record]]]
        searches = defaultdict(lambda: defaultdict(list))
        scored: defaultdict[tuple[str, str, int], list[Record]] = defaultdict(list)
        for record in self.records:
            if record["phase"] == "tune":
                searches[record["submission"], record["task"]][search_of(record)].append(record)
            elif record.get("selection") == "convergence":
                scored[record["submission"], record["task"], search_of(record)].append(record)
        runs = [run for run in self.scored() if (run["submission"], run["task"]) not in searches]
        for (submission, task), trials in searches.items():
            found: list[Record] = []
            for search, group in trials.items():
                if group[0].get("selection") == "convergence":
                    found += _with_untrained(scored[submission, task, search], {trial["trial"] for trial in group})
                elif all(map(measured, group)):
                    found += group
            runs += [run | {"seed": number} for number, run in enumerate(found)]
        return runs

    def measures(self) -> pd.DataFrame:
        """One row per scored run and measure: submission, kind, task, seed, measure, value, reported.

        `reported` says that tables show the measure: it stands for an axis, or its task names it.
        """
        rows = []
        for run in self.scored():
            reported = {axis["measure"] for axis in run["axes"].values()} | set(run.get("reported", ()))
            rows += [
                (run["submission"], run["kind"], run["task"], run["seed"], name, value, name in reported)
                for name, value in run["measures"].items()
            ]
        frame = pd.DataFrame(rows, columns=["submission", "kind", "task", "seed", "measure", "value", "reported"])
        return frame.astype({"value": "float64"})


def frame_of(runs: Sequence[Record]) -> pd.DataFrame:
    """One row per run and axis: `RUN_KEYS`, `search`, `axis`, `AXIS_KEYS` and `value`; texts are categories.

    Built column by column: a million records take seconds that way, and minutes row by row.
    """
    counts = np.array([len(run["axes"]) for run in runs], dtype=int)
    axes = [axis for run in runs for axis in run["axes"].values()]
    columns = {name: _column(name, [run[name] for run in runs]).repeat(counts) for name in RUN_KEYS}
    columns["search"] = _column("search", [search_of(run) for run in runs]).repeat(counts)
    columns["axis"] = _column("axis", [name for run in runs for name in run["axes"]])
    columns |= {name: _column(name, [axis[name] for axis in axes]) for name in AXIS_KEYS}
    columns["value"] = _column(
        "value", [run["measures"].get(axis["measure"]) for run in runs for axis in run["axes"].values()]
    )
    return pd.DataFrame(columns)


def measured(run: Record) -> bool:
    """Whether a record says what its run scores, or would score if it is one of tuning."""
    axes = run["axes"].values()
    if run["status"] == Status.RACED or not axes:
        return False
    return not run["converged"] or all(axis["measure"] in run["measures"] for axis in axes)


def _with_untrained(scored: Sequence[Record], trials: Collection[int]) -> list[Record]:
    """The scored runs of a search, and runs that missed the target loss for each of its `trials` that has none."""
    seeds = {run["seed"]: run for run in scored}
    untrained = set(trials) - {run["trial"] for run in scored}
    missed = {"converged": False, "status": Status.BUDGET, "measures": {}}
    return [*scored, *(run | missed | {"trial": trial} for trial in sorted(untrained) for run in seeds.values())]


def _column(name: str, values: list[Any]) -> Any:
    """Texts as categories, numbers as an array of the column's type; a missing number is NaN."""
    if name in CATEGORICAL_COLUMNS:
        return pd.Categorical(values)
    return np.array(values, dtype=COLUMN_TYPES.get(name, float))


def _newest(records: Sequence[Record]) -> list[Record]:
    """The records of each submission's and task's newest source, every run once."""
    runs: dict[tuple[Any, ...], Record] = {}
    for record in of_newest_source(records):
        # A run that was repeated (after damage, or under another tuning budget) counts once, the last time; but a seed
        # has a run for every setting that trains, where all of these are scored.
        every = record["phase"] == "tune" or record.get("selection") == "convergence"
        trial = (search_of(record), record["trial"]) if every else None
        runs[record["submission"], record["task"], record["phase"], trial, record["seed"]] = record
    return list(runs.values())


def _measured_explicit(records: Sequence[Record]) -> list[Record]:
    """The records, with what was measured in place of what a submission declares of itself (`suite.behavior`)."""
    seen: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        seen[record["kind"], record["submission"]].append(record)
    for group in seen.values():
        measured, _ = explicit(any(record["explicit"] for record in group), probes_of(group))
        for record in group:
            record["explicit"] = measured
    return list(records)


def probes_of(records: Iterable[Record]) -> list[list[str] | None]:
    """The behaviors of each probed run; None for a run that was not probed, or before there were probes."""
    probes = (record.get("probe") for record in records)
    return [None if probe is None else probe["behaviors"] for probe in probes]


def check(records: Sequence[Record]) -> None:
    """Refuse what must never share a table.

    Raises:
        InputError: there are records of two boards or suite versions, or two data fingerprints of one seed of a task,
            or runs of one seed of a task that are scored by two measures or between two pairs of references.
    """
    boards = sorted({board_version(record) for record in records}, key=age)
    if len(boards) > 1:
        raise InputError(f"The results mix boards {' and '.join(boards)}; they cannot share a table (docs/boards.md).")
    versions = list(dict.fromkeys(record["suite_version"] for record in records))
    if len(versions) > 1:
        raise InputError(f"The results mix suite versions {' and '.join(versions)}; they cannot share a table.")
    fingerprints: dict[tuple[str, int], str] = {}
    for record in records:
        task, seed, fingerprint = record["task"], record["seed"], record["data_fingerprint"]
        if fingerprint is None:  # the worker died before the data were ready
            continue
        if (first := fingerprints.setdefault((task, seed), fingerprint)) != fingerprint:
            raise InputError(
                f"The results mix two data sets for task {task!r}, seed {seed} (fingerprints {first} and "
                f"{fingerprint}); they cannot share a table: records of an older version, or other files."
            )
    _check_axes(records)


def _check_axes(records: Sequence[Record]) -> None:
    """Refuse a task that records score by two measures, or on one seed between two pairs of references."""
    first: dict[tuple[Any, ...], Record] = {}
    for record in records:
        for axis, stated in record["axes"].items():
            of_task = first.setdefault((record["task"], axis), stated)
            of_seed = of_task
            if stated["score_0"] is not None and stated["score_1"] is not None:  # else the oracle did not solve
                of_seed = first.setdefault((record["task"], axis, record["seed"]), stated)
            if of_task["measure"] != stated["measure"] or not _alike(of_seed, stated):
                other = of_task if of_task["measure"] != stated["measure"] else of_seed
                words = " and ".join(f"{s['measure']} from {s['score_0']} to {s['score_1']}" for s in (other, stated))
                raise InputError(
                    f"The results score the {axis} of task {record['task']!r} in two ways ({words}); they cannot share "
                    "a table: records of an older version."
                )


def _alike(one: Record, other: Record) -> bool:
    """Whether two records state the same references: an oracle's may differ by rounding between machines."""
    return one is other or all(
        other[key] is None or one[key] is None or math.isclose(one[key], other[key], rel_tol=1e-6, abs_tol=1e-12)
        for key in ("score_0", "score_1")
    )


PREVIOUS = " (before)"
"""Follows the name of a submission whose records are of the source before the newest."""


def _previous(records: Sequence[Record]) -> list[Record]:
    """The records of each submission's source before its newest, on the newest source of the task, renamed."""
    newest = {(record["submission"], record["task"]): record for record in records}
    older = [
        record
        for record in records
        for last in [newest[record["submission"], record["task"]]]
        if record["task_hash"] == last["task_hash"] and record["submission_hash"] != last["submission_hash"]
    ]
    return [record | {"submission": record["submission"] + PREVIOUS} for record in _newest(older)]


def load(paths: Iterable[Path], previous: bool = False, board: str | None = None) -> Results:
    """Read and check the logs at `paths`; later logs win where two hold the same run.

    A run of which one log has two records that differ beyond rounding does not count, and a note names it.

    Args:
        paths: the logs.
        previous: the source of a submission before the newest is there too, as a submission of its own (`PREVIOUS`).
        board: the version of the board whose records count, by default the newest that there is; a note says how many
            are of others.

    Raises:
        InputError: a log cannot be read, it has no record of `board`, or the records must not share a table.
    """
    records: list[Record] = []
    notes: list[str] = []
    for path in paths:
        result = read(path)
        notes += attach(path, result.records)
        told = contradictions(result.records)
        records += [record for record in result.records if run_key(record) not in told] if told else result.records
        notes += [f"{path}: line {number} is damaged ({why}); it is skipped." for number, why in result.damaged]
        notes += [f"{path}: {sentence}" for sentence in in_words(told)]
    records, others = _of_board(records, board)
    notes += others
    # Where data or an oracle were unavailable, a record says nothing of a submission.
    available = [record for record in records if record["status"] != Status.UNAVAILABLE]
    missing = {(record["task"], record["reason"]) for record in records if record["status"] == Status.UNAVAILABLE}
    notes += [f"Task {task} could not be run and is left out: {reason}" for task, reason in sorted(missing)]
    counted = _measured_explicit([*_newest(available), *(_previous(available) if previous else [])])
    notes += rescored(of_newest_source(available))
    if len(counted) < len(available):
        notes.append(f"{len(available) - len(counted)} records of older sources or repeated runs are left out.")
    check(counted)
    return Results(counted, notes)


def _of_board(records: list[Record], board: str | None) -> tuple[list[Record], list[str]]:
    """The records of a board, and a note on the others; if None, of the newest that there is.

    A version that nobody has published counts only where no other is there: one line that states it, as code which
    runs beside the log could append, would hide all other records.
    """
    counts = Counter(map(board_version, records))
    boards = sorted(counts, key=lambda version: (version in BOARD_VERSIONS, age(version)))
    if board is not None and board not in counts and records:
        raise unknown("board", board, boards, where="in the results")
    if len(boards) < 2:
        return records, []
    chosen = board or boards[-1]
    others = ", ".join(f"{counts[each]} of board {each}" for each in boards if each != chosen)
    note = f"The records of board {chosen} are shown; {others} cannot share a table with them (--board shows those)."
    return [record for record in records if board_version(record) == chosen], [note]


def two_sources(path: Path, submission: str) -> tuple[Results, Results]:
    """The records of the source before the newest of `submission`, and those of the newest, in the log at `path`.

    Raises:
        InputError: the log cannot be read, or holds no two sources of it.
    """
    records = load([path], previous=True).records
    sides = [[r for r in records if r["submission"] == name] for name in (submission + PREVIOUS, submission)]
    if not sides[1]:
        raise unknown("submission", submission, {record["submission"] for record in records}, where=f"in {path}")
    if not sides[0]:
        raise InputError(f"{path} holds one source of {submission!r} only: run it again after your edit.")
    return Results([record | {"submission": submission} for record in sides[0]]), Results(sides[1])
