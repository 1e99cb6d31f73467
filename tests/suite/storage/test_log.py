"""Records: round trip, repair, and damage that is never taken for a record."""

from __future__ import annotations

import errno
import gc
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import InputError
from suite.storage.log import Log, many_records, read
from suite.storage.record import canonical, checksum, identity, seal
from tests.logs import RUN

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=6), json_values, max_size=5)
quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def made(number: int) -> dict[str, Any]:
    return seal(RUN | {"seed": number, "measures": {"a": 0.1 * number, "b": float("nan")}, "curves": {}})


@quiet
@given(st.lists(bodies, max_size=4))
def test_round_trip(tmp_path: Path, parts: list[dict[str, Any]]) -> None:
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    log = Log(path)
    # What the schema leaves open: hyper-parameters, and fields of newer versions.
    sealed = [seal(RUN | {"hyperparameters": body, "newer": body}) for body in parts]
    for record in sealed:
        log.append(record)
    assert read(path).records == sealed
    assert not read(path).damaged
    assert not Log(path).notes


def test_non_finite_numbers_are_null() -> None:
    assert made(1)["measures"]["b"] is None


def test_identity_leaves_out_the_clock() -> None:
    one, two = seal({"schema": 1, "seed": 1, "seconds": 1.0}), seal({"schema": 1, "seed": 1, "seconds": 2.0})
    assert one["checksum"] != two["checksum"]
    assert identity(one) == identity(two)


def test_torn_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path)
    for number in range(2):
        log.append(made(number))
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        Path(f"{path}.torn").unlink(missing_ok=True)
        opened = Log(path)
        kept = read(path)
        assert not kept.damaged
        # Only the line's end is missing at the last cut: the record is whole.
        assert kept.records == [made(0), made(1)][: 2 if cut == len(whole) - 1 else 1]
        assert bool(opened.notes) == (cut > last)
        opened.append(made(2))
        assert read(path).records[-1] == made(2)
        if last < cut < len(whole) - 1:
            assert Path(f"{path}.torn").read_bytes() == whole[last:cut] + b"\n"


@quiet
@given(st.data())
def test_damage_is_named_and_never_accepted(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    log = Log(path)
    records = [made(number) for number in range(4)]
    for record in records:
        log.append(record)
    raw = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(raw) - 1))
    raw[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    result = read(path)
    assert all(record in records for record in result.records)
    assert len(result.records) >= 2
    if len(result.records) < 4 and result.records:
        assert result.damaged


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"[1]", b"{}", b"score_0", b"{" * 5_000, b'{"schema":1}'])
def test_foreign_lines(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    Log(path).append(made(0))
    with path.open("ab") as file:
        file.write(line + b"\n")
    Log(path).append(made(1))
    result = read(path)
    assert result.records == [made(0), made(1)]
    assert [number for number, _ in result.damaged] == [2]
    log = Log(path)
    assert list(log.records()) == result.records
    assert any("line 2" in note for note in log.notes)


def test_a_compressed_log_reads_alike(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    for number in range(3):
        log.append(made(number))
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(log.path.read_bytes()))
    assert read(packed) == read(log.path)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read(packed)


def test_a_changed_number_is_found(tmp_path: Path) -> None:
    record = made(3)
    record["measures"]["a"] = 0.0
    assert record["checksum"] != checksum(record)


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Log(tmp_path / "file" / "log.jsonl")


def test_several_records_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append(*(made(number) for number in range(3)))
    log.append()
    log.append(made(3))
    assert list(log.records()) == [made(number) for number in range(4)]


def test_a_disk_that_is_full_at_any_byte_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append(made(0))
    before = log.path.read_bytes()
    write = os.write
    for room in range(len(before) * 2):
        left = room

        def full(descriptor: int, data: bytes) -> int:
            nonlocal left
            if not left:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = write(descriptor, data[:left])
            left -= written
            return written

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(InputError, match="No space left on device"):
            log.append(made(1), made(2))
        monkeypatch.undo()
        assert log.path.read_bytes() == before
    log.append(made(1))
    assert not Log(log.path).notes
    assert list(log.records()) == [made(0), made(1)]


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_a_record_that_another_program_wrote_again_is_the_same(tmp_path: Path, separators: tuple[str, str]) -> None:
    path = tmp_path / "log.jsonl"
    reordered = dict(reversed(made(1).items()))
    path.write_text(json.dumps(reordered, separators=separators) + "\r\n" + json.dumps(reordered | {"seed": 2}) + "\n")
    result = read(path)
    assert result.records == [made(1)]
    assert result.damaged == [(2, "its checksum does not match")]


def test_a_checksum_inside_the_record_does_not_stand_for_its_own(tmp_path: Path) -> None:
    inner = seal(RUN | {"hyperparameters": {"checksum": "0123456789abcdef", "lr": 1.0}})
    path = tmp_path / "log.jsonl"
    Log(path).append(inner)
    assert read(path).records == [inner]
    forged = {key: value for key, value in inner.items() if key != "checksum"}
    path.write_text(json.dumps(forged) + "\n")
    assert read(path).damaged == [(1, "its checksum does not match")]


def test_the_garbage_collector_is_as_it_was_after_many_records() -> None:
    assert gc.isenabled()
    with many_records():
        assert not gc.isenabled()
        with many_records():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(InputError), many_records():
        raise InputError("A log cannot be read.")
    assert gc.isenabled()


CHANGES = {
    "extended": lambda lines, line, at: [*lines, line],
    "torn": lambda lines, line, at: [*lines, line[:-1]],
    "inserted": lambda lines, line, at: [*lines[:at], line, *lines[at:]],
    "replaced": lambda lines, line, at: [*lines[:at], line, *lines[at + 1 :]],
    "cut": lambda lines, line, at: lines[:at],
    "reversed": lambda lines, line, at: lines[::-1],
    "doubled": lambda lines, line, at: [*lines, *lines[:at]],
    "untouched": lambda lines, line, at: lines,
}
"""What another process may do to the lines of a log."""


@quiet
@given(
    st.lists(st.tuples(st.sampled_from(list(CHANGES)), st.integers(0, 9), st.integers(0, 3)), max_size=6), st.booleans()
)
def test_only_what_its_writer_writes_is_in_a_log(
    tmp_path: Path, changes: list[tuple[str, int, int]], another_file: bool
) -> None:
    path, beside = tmp_path / "log.jsonl", tmp_path / "log.jsonl.foreign"
    for old in (path, beside):
        old.unlink(missing_ok=True)
    log, own, foreign = Log(path), list[bytes](), list[bytes]()
    for number, (kind, forged, at) in enumerate(changes):
        log.append(made(number))
        own.append(canonical(made(number)).encode() + b"\n")
        changed = CHANGES[kind](own, canonical(made(100 + forged)).encode() + b"\n", at)
        status = path.stat()
        if another_file:
            path.unlink()
        path.write_bytes(b"".join(changed))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        foreign += [line.rstrip(b"\n") + b"\n" for line in changed if line not in own]
        own = [line for line in own if line in changed]
        log.notes.clear()
    log.drop_foreign_lines()
    assert path.read_bytes() == b"".join(own)
    assert (beside.read_bytes() if beside.exists() else b"") == b"".join(foreign)
    last = changes[-1][0] if changes else "untouched"
    if last in ("extended", "torn", "inserted", "replaced"):
        (note,) = log.notes
        assert f"another process while this run held it: foreign lines (1) were moved to {beside}" in note
    if last == "untouched":
        assert not log.notes


def test_a_log_that_is_no_file_any_more(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append(made(0))
    log.path.unlink()
    os.mkfifo(log.path)
    for write in (lambda: log.append(made(1)), log.drop_foreign_lines):
        with pytest.raises(InputError, match="no regular file"):
            write()
