"""Measures along training, in a file beside a log: ``paths/TRACK.jsonl``, a line for each run that was traced.

They would make records many times as long, and no score needs them. A line belongs to the record of the same run that
ended at the same solution. Neither torch nor pandas is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from suite.errors import InputError
from suite.storage.record import PATH, Record, canonical, clean
from suite.storage.schema import Count, Name, Number, Seconds

KEYS = ("submission", "submission_hash", "task", "task_hash", "search", "trial", "seed", "solution_hash")
"""Fields of a record that say which run a path belongs to."""


class _Line(Struct, forbid_unknown_fields=True):
    """A path as its file has it: `measures` hold a value for each step, null where it is not defined."""

    submission: Name
    submission_hash: str
    task: Name
    task_hash: str
    search: Count
    trial: Count
    seed: Count
    solution_hash: str | None
    steps: list[Count]
    gradient_evaluations: list[Count]
    measures: dict[Name, list[Number | None]]
    seconds: Seconds

    def __post_init__(self) -> None:
        lengths = {len(self.steps), len(self.gradient_evaluations), *map(len, self.measures.values())}
        if len(lengths) > 1:
            raise ValueError("The columns of a path differ in length")


def file_of(log: Path) -> Path:
    """Where the paths of the runs in `log` lie."""
    return log.parent / "paths" / log.name


def detached(log: Path, records: Sequence[Record]) -> list[Record]:
    """Write the paths of those of `records` that have one beside their `log`; returns the records without them.

    Raises:
        InputError: they cannot be written.
    """
    lines = [
        canonical(clean(dict(zip(KEYS, key_of(record), strict=True)) | record[PATH]))
        for record in records
        if PATH in record
    ]
    if lines:
        _append(log, lines)
    return [{name: value for name, value in record.items() if name != PATH} for record in records]


def check_writable(log: Path) -> None:
    """Make the file beside `log`, before anything is trained.

    Raises:
        InputError: it cannot be written.
    """
    _append(log, [])


def _append(log: Path, lines: Sequence[str]) -> None:
    """Write `lines` to the file beside `log`, which is made if need be."""
    path = file_of(log)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        with path.open("ab") as file:
            file.write(("\n" * torn + "".join(f"{line}\n" for line in lines)).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"The measures along training cannot be written to {path} ({error.strerror}).") from error


def attach(log: Path, records: Iterable[Record]) -> list[str]:
    """Give each record of a log its path, where it is known, as the field `PATH`; returns what is wrong with the file.

    What a line of the log itself has in that field is dropped.

    Raises:
        InputError: the file cannot be read.
    """
    notes: list[str] = []
    paths = {tuple(line.pop(name) for name in KEYS): line for line in _lines(file_of(log), notes)}
    for record in records:
        record.pop(PATH, None)
        if known := paths.get(key_of(record)):
            record[PATH] = known
    return notes


def key_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names the path of the run that `record` tells of."""
    return tuple(record.get(name, 0) for name in KEYS)


def _lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"The measures along training in {path} cannot be read ({error.strerror}).") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield msgspec.to_builtins(msgspec.json.decode(line, type=_Line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if line.strip():
                notes.append(f"{path}: line {number} is damaged ({error}); it is skipped.")
