"""Results in odd places, and logs as editors, transfers and other programs leave them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leaderboard.cli import main
from suite.engine.driver import Driver
from suite.storage.log import Log, read
from suite.storage.record import canonical, identity, seal
from tests.faults.conftest import PLAN
from tests.faults.test_logs import replay  # noqa: F401  (a fixture)
from tests.logs import runs_of
from tests.suite.engine.scripted import Scripted

Report = Callable[[str, str], None]


def _lines(raw: bytes) -> list[bytes]:
    return raw.splitlines(keepends=True)


def _resealed(raw: bytes, **fields: object) -> bytes:
    """The log with these fields in its second record, which was sealed again."""
    lines = _lines(raw)
    record = seal(json.loads(lines[1]) | fields)
    return b"".join([lines[0], canonical(record).encode() + b"\n", *lines[2:]])


LOGS: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "the same lines twice": (lambda raw: raw + raw, 0),
    "lines that end with CR and LF": (lambda raw: raw.replace(b"\n", b"\r\n"), 0),
    "a byte order mark": (lambda raw: b"\xef\xbb\xbf" + raw, 0),
    "blank lines between": (lambda raw: raw.replace(b"\n", b"\n\n  \n"), 0),
    "no line feed at the end": (lambda raw: raw[:-1], 0),
    "nothing": (lambda raw: b"", 0),
    "blank lines alone": (lambda raw: b"\n \n\n", 0),
    "UTF-16": (lambda raw: raw.decode().encode("utf-16"), 1),
    "three damaged lines": (lambda raw: raw.replace(b'"seed":0', b'"seed":8', 3), 3),
    "a line of another schema": (lambda raw: _resealed(raw, schema=7), 1),
    "a line whose status is a list": (lambda raw: _resealed(raw, status=["converged"]), 1),
    "a line whose environment is null": (lambda raw: _resealed(raw, environment=None), 1),
    "a line of 30 MB": (lambda raw: b'"' + 30_000_000 * b"x" + b'"\n' + raw, 1),
    "100,000 brackets": (lambda raw: 100_000 * b"[" + b"\n" + raw, 1),
    "a number that is none": (lambda raw: b'{"schema":2,"seed":NaN}\n' + raw, 1),
    "a number of 5,000 digits": (lambda raw: b'{"schema":2,"seed":' + 5_000 * b"9" + b"}\n" + raw, 1),
}
"""What is done to a log, and how many of its lines are damaged then, at least."""


def test_logs_as_others_leave_them(
    tmp_path: Path,
    undisturbed: Path,
    replay: Scripted,  # noqa: F811
    report: Report,
) -> None:
    whole, raw = runs_of(undisturbed), undisturbed.read_bytes()
    for number, (name, (change, damaged)) in enumerate(LOGS.items()):
        log = tmp_path / f"{number}.jsonl"
        log.write_bytes(change(raw))
        found = read(log).damaged
        assert len(found) >= damaged, name
        assert bool(found) == bool(damaged), (name, found)
        list(Driver(PLAN, Log(log), replay.engine()).steps())
        records = {key: value for key, value in _last(log).items() if key in whole}
        assert records == whole, name
    report(f"{len(LOGS)} kinds of foreign and damaged logs", "read, or named and run again; all resumed logs equal")


def _last(log: Path) -> dict[tuple[object, ...], dict[str, object]]:
    """Run -> the identity of its last record."""
    keys = ("submission", "task", "phase", "trial", "seed")
    return {tuple(record[key] for key in keys): identity(record) for record in read(log).records}


def _command(results: Path | str, *more: str) -> Result:
    options = ["--task", "adaptive_trap", "--track", "smoke", "--trials", "1", "--seeds", "1", "--engine", "local:0"]
    return CliRunner().invoke(main, ["run", "sgd", *options, "--results", str(results), *more])


def test_places_that_cannot_hold_results(tmp_path: Path, report: Report) -> None:
    (tmp_path / "file").write_text("")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    places: dict[str, Path | str] = {
        "below a file": tmp_path / "file" / "results",
        "a file": tmp_path / "file",
        "below a device": "/dev/null/results",
        "where nothing can be made": "/proc/results",
        "a name of 300 letters": tmp_path / (300 * "n"),
        "a link to itself": loop,
        "a name with the character NUL": "a\0b",
    }
    for name, kind in (("smoke.jsonl", "directory"), ("smoke.jsonl", "loop"), (".lock", "directory")):
        folder = tmp_path / f"{name} {kind}"
        folder.mkdir()
        if kind == "loop":
            (folder / name).symlink_to(folder / name)
        else:
            (folder / name).mkdir()
        places[f"{name} is a {kind}"] = folder
    for what, place in places.items():
        told = _command(place)
        assert isinstance(told.exception, SystemExit), (what, told.exception)
        assert (told.exit_code, told.stderr[:7]) == (2, "Error: "), (what, told.stderr)
        assert len(told.stderr.strip().splitlines()) == 1, (what, told.stderr)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "solutions").write_text("")
    told = _command(kept, "--keep-solutions")
    assert told.exit_code == 2, told.stderr
    assert told.stderr.splitlines()[-1].startswith("Error: Solutions cannot be kept "), told.stderr
    assert not read(kept / "smoke.jsonl").records  # the run is not to blame, and is repeated
    report(f"{len(places) + 1} places that cannot hold results, through the command", "one sentence each, status 2")


def test_places_with_odd_names(tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "elsewhere.jsonl"
    dangling = tmp_path / "dangling"
    dangling.mkdir()
    (dangling / "smoke.jsonl").symlink_to(target)
    names = ["with spaces and 'quotes\"", "Größe $(touch owned) `id`", "a;b&c|d", "..", "dangling"]
    plain = _command(tmp_path / "plain")
    assert plain.exit_code == 0, plain.output
    whole = _last(tmp_path / "plain" / "smoke.jsonl")
    assert len(whole) == 1
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    for name in names:
        folder = Path("..") if name == ".." else tmp_path / name
        told = _command(folder)
        assert told.exit_code == 0, (name, told.output, told.exception)
        assert _last(folder / "smoke.jsonl") == whole, name
    assert target.is_file()
    assert not os.path.lexists("owned")
    report(f"{len(names)} odd places, without HOME and TMPDIR, through the command", "all records equal")


@pytest.mark.parametrize(("gigabytes", "status"), [(1.5, 2), (4, 0)])
def test_an_address_space_that_torch_does_not_fit_into(tmp_path: Path, gigabytes: float, status: int) -> None:
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, 2 * ({int(gigabytes * 1e9)},))\n"
        "from leaderboard.__main__ import main; main()"
    )
    options = ["--task", "adaptive_trap", "--track", "smoke", "--trials", "1", "--seeds", "1", "--engine", "local:0"]
    told = subprocess.run(
        [sys.executable, "-c", script, "run", "sgd", *options, "--results", str(tmp_path / "results")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == status, told.stderr
    assert "Traceback" not in told.stderr
    assert ("Torch cannot be loaded within the 1.5 GB" in told.stderr) == bool(status)
