"""What a record is: one lane's result, one JSON object on one line with a checksum. Append, read, repair.

Logs are append-only and synced record by record. A torn last line (a crash in mid-write) is repaired on the next open;
a damaged line is named and skipped, never silently lost. Neither torch nor pandas is imported here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.errors import InputError

SCHEMA = 1

VOLATILE = frozenset({"seconds", "measure_seconds", "time", "checksum"})
"""What may differ between two runs of the same lane on the same machine."""

Record = dict[str, Any]


def _clean(value: Any) -> Any:
    """`value` with non-finite numbers as None (JSON has none) and tuples as lists, as reading it back gives it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _canonical(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def checksum(record: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON of all fields but the checksum itself."""
    body = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(_canonical(body).encode()).hexdigest()[:16]


def seal(record: Mapping[str, Any]) -> Record:
    """`record` as it is written: non-finite numbers are null, and the checksum is added."""
    body: Record = _clean(record)
    return body | {"checksum": checksum(body)}


def identity(record: Mapping[str, Any]) -> Record:
    """`record` without what may differ between two runs of the same lane: same seed, same identity."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


@dataclass(frozen=True)
class ReadResult:
    """The whole records of a log, and (line number, why) of every line that is damaged."""

    records: list[Record] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)


def parse(line: bytes) -> Record:
    """The record on `line`; ValueError says what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if record.get("schema") != SCHEMA:
        raise ValueError(f"schema {record.get('schema')!r}, not {SCHEMA}")
    try:
        if record.get("checksum") != checksum(record):
            raise ValueError("its checksum does not match")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return record


def read(path: Path) -> ReadResult:
    """Every whole record of the log at `path`, in order; a missing log is an empty one.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return ReadResult()
    except OSError as error:
        raise InputError(f"The log {path} cannot be read ({error.strerror}).") from error
    result = ReadResult()
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            result.records.append(parse(line))
        except ValueError as error:
            result.damaged.append((number, str(error)))
    return result


class Log:
    """An append-only log. Opening it repairs a torn last line; `notes` says what was found."""

    def __init__(self, path: Path) -> None:
        """Raises InputError if the log cannot be written."""
        self.path = Path(path)
        self.notes: list[str] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab"):
                pass
            self._repair()
        except OSError as error:
            raise InputError(f"The log {self.path} cannot be written ({error.strerror}).") from error
        for number, why in read(self.path).damaged:
            self.notes.append(f"{self.path}: line {number} is damaged ({why}); it is skipped and its lane runs again.")

    def _repair(self) -> None:
        data = self.path.read_bytes()
        if not data or data.endswith(b"\n"):
            return
        start = data.rfind(b"\n") + 1
        torn = data[start:]
        try:
            parse(torn)
        except ValueError:
            # Kept beside the log, so that nothing is lost; then cut off, so that the next record starts a line.
            with Path(f"{self.path}.torn").open("ab") as kept:
                kept.write(torn + b"\n")
                kept.flush()
                os.fsync(kept.fileno())
            with self.path.open("r+b") as log:
                log.truncate(start)
                log.flush()
                os.fsync(log.fileno())
            self.notes.append(
                f"{self.path}: the last line was torn; it was moved to {self.path.name}.torn and its lane runs again."
            )
        else:
            self._write(b"\n")
            self.notes.append(f"{self.path}: the last line lacked only its end; it was completed.")

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one sealed record and sync it to the disk before returning.

        Raises:
            InputError: the disk is full or the log cannot be written; what was there before is whole.
        """
        try:
            self._write(_canonical(record).encode() + b"\n")
        except OSError as error:
            raise InputError(f"The log {self.path} cannot be written ({error.strerror}).") from error
