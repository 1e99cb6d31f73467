"""Logs of records: append, read, repair.

A log is append-only, and each append is synced to the disk before it returns. A torn last line (a crash while it was
written) is repaired when the log is next opened; a damaged line is reported and skipped, never silently lost. Neither
torch nor pandas is imported here.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import hashlib
import itertools
import json
import mmap
import operator
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from suite.errors import InputError
from suite.storage.record import SCHEMA, Record, canonical, checksum, seal, upgraded
from suite.storage.schema import check


class ReadResult(NamedTuple):
    """What a log holds: the complete records in order, and (line number, reason) of every line that is none."""

    records: list[Record]
    damaged: list[tuple[int, str]]


def parse(line: bytes) -> Record:
    """The record on `line`, in the field names of today; a ValueError says what is wrong with the line."""
    record, plain = _decoded(line)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    schema = record.get("schema")
    if schema not in (1, SCHEMA):
        raise ValueError(f"schema {schema!r}, not {SCHEMA}")
    stated = record.get("checksum")
    try:
        if not (plain and _is_canonical(line, stated)) and stated != checksum(record):
            raise ValueError("its checksum does not match")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if schema != SCHEMA:
        try:
            record = upgraded(record)
        except (KeyError, TypeError, AttributeError):
            raise ValueError("fields of version 1 are missing") from None
    check(record)
    return record


def _decoded(line: bytes) -> tuple[Any, bool]:
    """The JSON value on `line`, and whether it holds nothing that only Python takes for JSON, such as NaN."""
    try:
        # Three times as fast as Python's own.
        return msgspec.json.decode(line), True
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(line), False  # texts with half a surrogate pair, logs with a byte order mark
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None


def _is_canonical(line: bytes, stated: Any) -> bool:
    """Whether `line` is a canonical record with the right checksum: twice as fast as writing the record out again."""
    if not isinstance(stated, str) or not stated.isascii():
        return False
    before, separator, after = line.strip().partition(b'"checksum":"%s",' % stated.encode())
    return bool(separator) and hashlib.sha256(before + after).hexdigest()[:16] == stated


def scan(path: Path) -> Iterator[tuple[int, Record | str]]:
    """The lines of the log at `path`: line number, and the record or what is wrong with it. A missing log is empty.

    A log whose name ends with ``.gz`` is read through gzip: large results are shipped so.

    Raises:
        InputError: the file cannot be read.
    """
    open_log = gzip.open if Path(path).suffix == ".gz" else open
    try:
        with open_log(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield number, parse(line)
                    except ValueError as error:
                        yield number, str(error)
    except FileNotFoundError:
        return
    except (OSError, EOFError) as error:
        raise InputError(f"The log {path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error


@contextlib.contextmanager
def many_records() -> Iterator[None]:
    """Switch the cyclic garbage collector off while many records are read.

    Records are trees, so it finds nothing in them; yet it visits all of them each time that their number has grown by a
    quarter, which takes as long as reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read(path: Path) -> ReadResult:
    """Every complete record of the log at `path`, in order; a missing log is empty. Errors as of `scan`."""
    result = ReadResult([], [])
    with many_records():
        for number, record in scan(path):
            if isinstance(record, str):
                result.damaged.append((number, record))
            else:
                result.records.append(record)
    return result


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _append(path: Path, data: bytes) -> None:
    """Append `data` to a file and sync it."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Log:
    """An append-only log.

    Whoever opens it to write is its only writer, under the lock of its folder (`suite.engine.lock`). What any other
    process writes into it meanwhile, such as a submission's code that runs unconfined, does not count: before its own
    next line the log puts its lines back as they were, and moves the foreign ones to a file beside it.

    Attributes:
        path: its file.
        notes: what the user should know: a last line that was repaired, the damaged lines that `records` met, and lines
            that somebody else has written.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        """Open the log and repair a torn last line; raises `InputError` if it cannot be written.

        A log that need not be `writable` is left as it is, and may be missing.
        """
        self.path = Path(path)
        self.notes: list[str] = []
        self._lines: list[bytes] = []
        self._state: tuple[int, ...] | None = None
        if not writable:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()
            self._repair()
            self._state = self._status()
            with self.path.open("rb") as file:
                self._lines = list(map(_digest, file))
        except OSError as error:
            raise self._unwritable(error) from error

    def _status(self) -> tuple[int, ...]:
        """The size of the file, and what changes with whatever is done to it."""
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def drop_foreign_lines(self) -> None:
        """Put the log back as this object has read and written it, if another process has changed it.

        Raises:
            InputError: it cannot be read or written, or is no file any more.
        """
        try:
            self._state = self._status()
            with self.path.open("rb") as file:
                if all(itertools.starmap(operator.eq, itertools.zip_longest(map(_digest, file), self._lines))):
                    return
                file.seek(0)
                found = {_digest(line): line for line in file}
            self._put_back(found)
            self._state = self._status()
        except OSError as error:
            raise self._unwritable(error) from error

    def _put_back(self, found: Mapping[bytes, bytes]) -> None:
        """Keep the own lines of those that were `found`, by digest; append the others to a file beside the log."""
        beside, target = Path(f"{self.path}.foreign"), self.path.resolve()
        own = [digest for digest in self._lines if digest in found]
        kept = set(own)
        foreign = [line.rstrip(b"\n") + b"\n" for digest, line in found.items() if digest not in kept]
        if foreign:
            _append(beside, b"".join(foreign))
        whole = Path(f"{target}.whole")
        whole.unlink(missing_ok=True)
        _append(whole, b"".join(found[digest] for digest in own))
        shutil.copymode(target, whole)
        whole.replace(target)
        happened = [f"foreign lines ({len(foreign)}) were moved to {beside}"] * bool(foreign)
        if lost := len(self._lines) - len(own):
            happened.append(f"own lines ({lost}) are gone, whose training runs the next run repeats")
        self.notes.append(
            f"{self.path} was changed by another process while this run held it: "
            f"{', and '.join(happened) or 'its lines were put back'}."
        )
        self._lines = own

    def records(self) -> Iterator[Record]:
        """Every complete record, in order, one at a time; damaged lines are noted. Errors as of `scan`."""
        if self._state is not None:
            self.drop_foreign_lines()
        for number, record in scan(self.path):
            if isinstance(record, str):
                self.notes.append(f"{self.path}: line {number} is damaged ({record}); its training run is repeated.")
            else:
                yield record

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"The log {self.path} cannot be written ({error.strerror}).")

    def _repair(self) -> None:
        """Complete or cut off a torn last line; only the file's last pages are read, however long it is."""
        if not self.path.stat().st_size:
            return
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.rfind(b"\n") + 1
            torn = data[start:]
        if not torn:
            return
        try:
            parse(torn)
        except ValueError:
            # Saved to another file, so that nothing is lost; then cut off, so that the next record starts a line.
            _append(Path(f"{self.path}.torn"), torn + b"\n")
            with self.path.open("r+b") as log:
                log.truncate(start)
                os.fsync(log.fileno())
            self.notes.append(
                f"{self.path}: the last line was torn; {self.path.name}.torn has it, and its training run is repeated."
            )
        else:
            self._write(b"\n")
            self.notes.append(f"{self.path}: the last line lacked only its end; it was completed.")

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            before = os.fstat(descriptor).st_size
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def append(self, *records: Mapping[str, Any]) -> None:
        """Seal and write records and sync them to the disk before returning: one write and one sync for all of them.

        If the disk is full or the log cannot be written, it stays as it was, and `InputError` is raised.
        """
        sealed = (record if "checksum" in record else seal(record) for record in records)
        lines = [canonical(record).encode() + b"\n" for record in sealed]
        try:
            if self._status() != self._state:
                self.drop_foreign_lines()
            assert self._state is not None
            size = self._state[0] + sum(map(len, lines))
            self._write(b"".join(lines))
            self._lines += map(_digest, lines)
            state = self._status()
            self._state = state if state[0] == size else None
        except OSError as error:
            raise self._unwritable(error) from error
