"""Logs that are torn, damaged, cut off by a full disk, or written while the clock jumps."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.errors import InputError
from suite.storage.log import Log, parse, read
from suite.storage.record import Record
from tests.faults.conftest import PLAN
from tests.logs import runs_of
from tests.suite.engine.scripted import Scripted

Report = Callable[[str, str], None]
DAMAGES = 1_000


@pytest.fixture
def replay(undisturbed: Path) -> Scripted:
    """An engine whose units take no time: it gives the undisturbed run's records."""
    by_run: dict[tuple[object, ...], Record] = {
        (r["submission"], r["phase"], r["trial"], r["seed"]): r for r in read(undisturbed).records
    }
    return Scripted(
        lambda unit, _: [
            by_run[unit.submission, unit.phase, number, seed] for number, _ in unit.trials for seed in unit.seeds
        ]
    )


def test_torn_at_every_byte(tmp_path: Path, undisturbed: Path, replay: Scripted, report: Report) -> None:
    whole, raw = runs_of(undisturbed), undisturbed.read_bytes()
    last = raw.rindex(b"\n", 0, -1) + 1
    log = tmp_path / "log.jsonl"
    for cut in range(last, len(raw)):
        log.write_bytes(raw[:cut])
        list(Driver(PLAN, Log(log), replay.engine()).steps())
        assert runs_of(log) == whole
        assert not read(log).damaged
    report(
        f"the last line torn at each of its {len(raw) - last} bytes",
        "0 records before it lost; the torn one kept beside the log and its run repeated; all resumed logs equal",
    )


def _damage(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with one to four damages as disks, editors and transfers do them."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        length = rng.choice((1, 8, 100, 4_096))
        kind = rng.randrange(6)
        if kind == 0:  # flipped bits
            data[at] ^= rng.randint(1, 255)
        elif kind == 1:  # a lost piece
            del data[at : at + length]
        elif kind == 2:  # a block of zeros, as after a power cut
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif kind == 3:  # foreign bytes
            data[at:at] = rng.randbytes(length)
        elif kind == 4:  # a piece twice
            data[at:at] = data[at : at + length]
        else:  # a digit that became another: still JSON
            digits = [i for i in range(at, min(at + 400, len(data))) if 48 <= data[i] <= 57]
            for i in digits[:1]:
                data[i] = 48 + (data[i] - 47) % 10
        if not data:
            data = bytearray(b"\n")
    return bytes(data)


def test_random_damage(tmp_path: Path, undisturbed: Path, replay: Scripted, report: Report) -> None:
    rng = random.Random(3)
    whole, raw = runs_of(undisturbed), undisturbed.read_bytes()
    lines = {line: parse(line) for line in raw.splitlines()}
    accepted = named = 0
    log = tmp_path / "log.jsonl"
    for _ in range(DAMAGES):
        damaged = _damage(raw, rng)
        log.write_bytes(damaged)
        opened = Log(log)
        found = list(opened.records())
        present = [line for line in damaged.split(b"\n") if line.strip()]
        # Lines that are as they were are records; each other line is named, unless it still says the same.
        assert all(record in lines.values() for record in found)
        assert len(found) >= sum(line in lines for line in present)
        assert len(found) + len(opened.notes) == len(present)
        accepted, named = accepted + len(found), named + len(opened.notes)
        list(Driver(PLAN, Log(log), replay.engine()).steps())
        after = {tuple(r[f] for f in ("submission", "task", "phase", "trial", "seed")) for r in read(log).records}
        assert after == set(whole)
    report(
        f"{DAMAGES:,} randomly damaged logs (flipped, lost, zeroed, foreign, doubled bytes, changed digits)",
        f"{accepted:,} records read, 0 of them wrong; {named:,} damaged lines, all named; every damaged run repeated",
    )


class Disk:
    """A small file system in memory."""

    def __init__(self, where: Path) -> None:
        self.where = where
        where.mkdir()

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.where)]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode:
            pytest.skip(f"mounting a small tmpfs needs root ({made.stderr.decode().strip()})")

    def renew(self, kilobytes: int) -> None:
        """An empty disk of that size."""
        self.remove()
        self._mount(f"size={kilobytes}k")

    def grow(self, kilobytes: int) -> None:
        """Make it larger."""
        self._mount(f"remount,size={kilobytes}k")

    def remove(self) -> None:
        """Take it away."""
        if self.where.is_mount():
            subprocess.run(["umount", str(self.where)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    made = Disk(tmp_path / "disk")
    yield made
    made.remove()


def _runs_out_of_space(log: Path, replay: Scripted) -> bool:
    try:
        list(Driver(PLAN, Log(log), replay.engine()).steps())
    except InputError as error:
        if "No space left on device" in str(error):
            return True
        raise
    return False


def test_full_disk(disk: Disk, undisturbed: Path, replay: Scripted, report: Report) -> None:
    whole = runs_of(undisturbed)
    needed = len(undisturbed.read_bytes()) // 1024 + 8
    log = disk.where / "log.jsonl"
    ends = 0
    for kilobytes in range(4, needed, 4):
        disk.renew(kilobytes)
        for _ in range(2):  # the disk stays full: a second run says so again, and harms nothing
            ends += _runs_out_of_space(log, replay)
            assert not read(log).damaged
            assert all(whole[run] == record for run, record in runs_of(log).items())
        kept = len(runs_of(log))
        disk.grow(2 * needed)
        list(Driver(PLAN, Log(log), replay.engine()).steps())
        assert len(runs_of(log)) >= kept
        assert runs_of(log) == whole
    assert ends
    report(
        f"disk full: file systems of 4 to {needed} kB, {ends} runs ended by it",
        "one sentence each time, 0 damaged lines, 0 records lost; with more room the same log is completed",
    )


def test_clock_jumps(tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    rng = random.Random(4)
    decade = 10 * 365.25 * 86_400
    now, gmtime = time.time, time.gmtime
    jumps = 0

    def jumping() -> float:
        nonlocal jumps
        jumps += 1
        return now() + rng.uniform(-decade, decade)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "gmtime", lambda seconds=None: gmtime(jumping() if seconds is None else seconds))
    log = tmp_path / "log.jsonl"
    with connect("local:0") as engine:
        steps = Driver(PLAN, Log(log), engine).steps(deadline=time.monotonic() + 3_600)
        for _ in range(3):
            next(steps)
        steps.close()
        list(Driver(PLAN, Log(log), engine).steps(deadline=time.monotonic() + 3_600))
    assert runs_of(log) == runs_of(undisturbed)
    assert all(0 <= record["seconds"] < 3_600 for record in read(log).records)
    assert len({record["time"][:4] for record in read(log).records}) > 3
    report(
        f"the clock jumps by up to ten years, {jumps} times in a run and its resumption",
        "records equal but for their time stamps; durations and limits run on the monotonic clock",
    )
