"""Logs -> one checked set of records, and the frame that is scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from suite.errors import InputError
from suite.storage.log import read
from suite.storage.record import Record

LANE_COLUMNS = (
    "submission", "kind", "explicit", "task", "family", "seed", "converged", "gradient_evaluations", "seconds",
)  # fmt: skip


AXIS_COLUMNS = ("measure", "scale", "score_0", "score_1", "floor")


TEXTS = frozenset({"submission", "kind", "task", "family", "axis", "measure", "scale"})


TYPES = {"seed": int, "explicit": bool, "converged": bool}


@dataclass(frozen=True)
class Results:
    """The records that count, and what was noticed while reading (damaged lines, outdated lanes), for the user."""

    records: list[Record]
    notes: list[str] = field(default_factory=list)

    @property
    def track(self) -> str:
        """The track that the records are of; empty where they name none or several."""
        tracks = {record.get("track", "") for record in self.records}
        return str(tracks.pop()) if len(tracks) == 1 else ""

    def of_tasks(self, names: Collection[str]) -> Results:
        """The records of these tasks alone.

        Raises:
            InputError: there are none of one of them.
        """
        held = {str(record["task"]) for record in self.records}
        for name in names:
            if name not in held:
                raise InputError(f"The results hold no task {name!r}: there are {', '.join(sorted(held))}.")
        return Results([record for record in self.records if record["task"] in names], self.notes)

    def scored(self) -> list[Record]:
        """The records of scored lanes, without the tuning ones."""
        return [record for record in self.records if record["phase"] == "score"]

    def kinds(self) -> list[str]:
        """The kinds of submission that there are: they are ranked separately, optimizers first."""
        return sorted({record["kind"] for record in self.records}, key=lambda kind: (kind != "optimizer", kind))

    def frame(self) -> pd.DataFrame:
        """One row per scored lane and axis: `LANE_COLUMNS`, `axis`, `AXIS_COLUMNS` and `value`; texts are categories.

        Made column by column: a million records take seconds that way, and minutes row by row.
        """
        lanes = self.scored()
        counts = np.array([len(record["axes"]) for record in lanes], dtype=int)
        axes = [axis for record in lanes for axis in record["axes"].values()]
        columns = {name: _column(name, [record[name] for record in lanes]).repeat(counts) for name in LANE_COLUMNS}
        columns["axis"] = _column("axis", [name for record in lanes for name in record["axes"]])
        columns |= {name: _column(name, [axis[name] for axis in axes]) for name in AXIS_COLUMNS}
        columns["value"] = _column(
            "value", [record["measures"].get(axis["measure"]) for record in lanes for axis in record["axes"].values()]
        )
        return pd.DataFrame(columns)

    def measures(self) -> pd.DataFrame:
        """One row per scored lane and measure: submission, kind, task, seed, measure, value, shown.

        `shown` says that tables show the measure: it stands for an axis, or its task names it.
        """
        rows = [
            (record["submission"], record["kind"], record["task"], record["seed"], name, value, name in shown)
            for record in self.scored()
            for shown in [{axis["measure"] for axis in record["axes"].values()} | set(record.get("reported", ()))]
            for name, value in record["measures"].items()
        ]
        frame = pd.DataFrame(rows, columns=["submission", "kind", "task", "seed", "measure", "value", "reported"])
        return frame.astype({"value": "float64"})


def _column(name: str, values: list[Any]) -> Any:
    """Texts as categories, numbers as an array of their own type; what is not known is NaN."""
    return pd.Categorical(values) if name in TEXTS else np.array(values, dtype=TYPES.get(name, float))


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
