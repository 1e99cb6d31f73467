"""Logs -> one checked set of records, and the frame that is scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from suite.errors import InputError
from suite.record import Record, read

COLUMNS = (
    "submission", "kind", "explicit", "task", "family", "axis", "seed", "converged", "measure", "value",
    "null", "ideal", "scale", "floor", "gradient_evaluations", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Results:
    """The records that count, and what was noticed while reading (damaged lines, outdated lanes), for the user."""

    records: list[Record]
    notes: list[str] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """One row per scored lane and axis, with the columns of `COLUMNS`."""
        rows = [
            (
                record["submission"], record["kind"], record["explicit"], record["task"], record["family"], name,
                record["seed"], record["converged"], axis["measure"], record["measures"].get(axis["measure"]),
                axis["null"], axis["ideal"], axis["scale"], axis["floor"],
                record["gradient_evaluations"], record["seconds"],
            )
            for record in self.records
            if record["phase"] == "score"
            for name, axis in record["axes"].items()
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        numbers = ["value", "null", "ideal", "floor", "seconds"]
        return frame.astype(dict.fromkeys(numbers, "float64"))


def _current(records: Sequence[Record]) -> tuple[list[Record], int]:
    """The records of each submission's and task's newest source; an edited file's old lanes no longer count."""
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for record in records:
        newest[record["submission"], record["task"]] = (record["submission_hash"], record["task_hash"])
    lanes: dict[tuple[Any, ...], Record] = {}
    for record in records:
        pair = record["submission"], record["task"]
        if newest[pair] == (record["submission_hash"], record["task_hash"]):
            # A lane that was run twice (after damage, or under another tuning budget) counts once, the last time.
            trial = record["trial"] if record["phase"] == "tune" else None
            lanes[*pair, record["phase"], trial, record["seed"]] = record
    return list(lanes.values()), len(records) - len(lanes)


def _available(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Without the lanes whose data or oracle could not be had, which say nothing of a submission; and notes."""
    missing = {(record["task"], record["reason"]) for record in records if record["status"] == "unavailable"}
    notes = [f"Task {task} could not be run and is left out: {reason}" for task, reason in sorted(missing)]
    return [record for record in records if record["status"] != "unavailable"], notes


def check(records: Iterable[Record]) -> None:
    """Refuse what must never share a table.

    Raises:
        InputError: two suite versions, or one task's seed with two data fingerprints.
    """
    version: str | None = None
    prints: dict[tuple[str, int], str] = {}
    for record in records:
        version = version or record["suite_version"]
        if record["suite_version"] != version:
            raise InputError(
                f"The results mix suite versions {version} and {record['suite_version']}; they cannot share a table."
            )
        if record["data_fingerprint"] is None:  # a lane whose worker died before it could say
            continue
        lane = record["task"], record["seed"]
        known = prints.setdefault(lane, record["data_fingerprint"])
        if known != record["data_fingerprint"]:
            raise InputError(
                f"The results mix two data sets for task {lane[0]!r}, seed {lane[1]} (fingerprints {known} and "
                f"{record['data_fingerprint']}); they cannot share a table."
            )


def load(paths: Iterable[Path]) -> Results:
    """Read and check the logs at `paths`; later logs win where two hold the same lane.

    Raises:
        InputError: a log cannot be read, or the records must not share a table.
    """
    records: list[Record] = []
    notes: list[str] = []
    for path in paths:
        result = read(path)
        records += result.records
        notes += [f"{path}: line {number} is damaged ({why}); it is skipped." for number, why in result.damaged]
    records, without = _available(records)
    notes += without
    kept, outdated = _current(records)
    if outdated:
        notes.append(f"{outdated} records of older sources or repeated lanes are left out.")
    check(kept)
    return Results(kept, notes)
