"""What a record is: one run's result, one JSON object with a checksum. Neither torch nor pandas is imported here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

SCHEMA = 1


VOLATILE = frozenset({"seconds", "measure_seconds", "time", "checksum"})
"""What may differ between two runs of the same lane on the same machine."""


Record = dict[str, Any]


def clean(value: Any) -> Any:
    """`value` with non-finite numbers as None (JSON has none) and tuples as lists, as reading it back gives it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def canonical(record: Mapping[str, Any]) -> str:
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
    """`record` without what may differ between two runs of the same lane: same seed, same identity."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


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
    on_cpu = record["environment"]["device"] == "cpu"
    return json.dumps([*(record[part] for part in parts), on_cpu], sort_keys=True)
