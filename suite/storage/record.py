"""What a record is: one training run's result, one JSON object with a checksum.

Neither torch nor pandas is imported here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from suite.boards import board_version

SCHEMA = 2
"""Version of the fields' names; records of version 1 are read with the names of today (`upgraded`)."""

TRACEBACK = "traceback"
"""What a worker adds to a sealed record of a run that failed, for the driver, which takes it off: no log has it."""

PATH = "path"
"""What a worker adds to the record of a run that was traced: measures along training, which are stored beside the log
(`suite.storage.training_paths`). The records that are read from it have them again."""

VOLATILE = frozenset(
    {"seconds", "measure_seconds", "unit_seconds", "cpu_seconds", "peak_memory", "time", "checksum", TRACEBACK, PATH}
)
"""Fields that may differ between two repetitions of the same run on the same machine."""

Record = dict[str, Any]


class Status(StrEnum):
    """How a training run ended."""

    CONVERGED = "converged"
    """It reached the target loss."""
    DIVERGED = "diverged"
    """Its loss is not finite, or far above where it began."""
    STALLED = "stalled"
    """It was too far from the target loss, for its share of the budget, to reach it."""
    BUDGET = "budget"
    """The budget was spent before the target loss was reached."""
    RACED = "raced"
    """Tuning only: its trial could not be selected any more."""
    FAILED = "failed"
    """The submission raised, hung or died."""
    UNAVAILABLE = "unavailable"
    """The data or the oracle could not be had; a later run tries again."""

    @property
    def trained(self) -> bool:
        """Whether training itself came to an end, so that the record says what it cost."""
        return self not in (Status.FAILED, Status.UNAVAILABLE)


def clean(value: Any) -> Any:
    """`value` with non-finite numbers as None (JSON has none) and tuples as lists, as reading it back gives it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def as_settings(value: Any) -> Any:
    """Hyper-parameters as they were before `clean` and JSON: lists, however deep, are tuples again."""
    if isinstance(value, Mapping):
        return {name: as_settings(item) for name, item in value.items()}
    return tuple(map(as_settings, value)) if isinstance(value, list) else value


def canonical(record: Mapping[str, Any]) -> str:
    """The only JSON text in which a record is written, so that equal records are equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def checksum(record: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON of all fields but the checksum itself."""
    body = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(canonical(body).encode()).hexdigest()[:16]


def seal(record: Mapping[str, Any]) -> Record:
    """`record` as it is written: non-finite numbers are null, and the checksum is added."""
    body: Record = clean(record)
    return body | {"checksum": checksum(body)}


def identity(record: Mapping[str, Any]) -> Record:
    """`record` without the fields that may differ between two repetitions of the same training run."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


class RunKey(NamedTuple):
    """What makes a training run that run: a log that holds it is not given it again."""

    board_version: str
    submission: str
    submission_hash: str
    task: str
    task_hash: str
    phase: str
    search: int
    trial: int
    seed: int
    settings: str
    """The hyper-parameters as canonical JSON."""
    on_cpu: bool
    """Numbers of other devices differ by more than rounding."""


def search_of(record: Mapping[str, Any]) -> int:
    """The number of the search that a record's trial belongs to: records from before there were several have none."""
    return int(record.get("search", 0))


def run_key(record: Mapping[str, Any]) -> RunKey:
    """The key of the training run that `record` tells of."""
    stated = set(RunKey._fields) - {"board_version", "search", "settings", "on_cpu"}
    return RunKey(
        **{field: record[field] for field in stated},
        board_version=board_version(record),
        search=search_of(record),
        settings=canonical(record["hyperparameters"]),
        on_cpu=record["environment"]["device"] == "cpu",
    )


def of_newest_source(records: Sequence[Record], per: Sequence[str] = ("submission", "task")) -> list[Record]:
    """Those of `records` (oldest first) that come from the newest source; an edited file's old runs do not count.

    A source is the submission's and the task's. For each combination of the fields `per`, that of the last record is
    the newest.
    """
    group, source = itemgetter(*per), itemgetter("submission_hash", "task_hash")
    newest = {group(record): source(record) for record in records}
    return [record for record in records if newest[group(record)] == source(record)]


RENAMED = {"answers": "uncertainties", "shown": "reported", "stop_evaluations": "target_evaluations"}
"""Fields of version 1 and their names today."""

RENAMED_IN_AXES = {"null": "score_0", "ideal": "score_1"}


def upgraded(record: Record) -> Record:
    """A complete record of version 1 in the names of today. It has no checksum until it is sealed again.

    Raises KeyError, TypeError or AttributeError where fields of version 1 are missing or of another type.
    """
    renamed = {RENAMED.get(field, field): value for field, value in record.items() if field != "checksum"}
    axes = {
        axis: {RENAMED_IN_AXES.get(field, field): value for field, value in stated.items()}
        for axis, stated in record["axes"].items()
    }
    kinds = {
        name: stated | {"kind": "bound"} if stated["kind"] == "bounded" else stated
        for name, stated in record["answers"].items()
    }
    return renamed | {"schema": SCHEMA, "axes": axes, "uncertainties": kinds}
