"""How a log of 100,000 records is written, scanned and shown: ``python -m benchmarks.load`` (about ten minutes).

Prints the table that docs/scale.md shows. All times are of CPU, which other work on the machine moves least, but for
what a record takes by the clock to be on the disk: in the long log, and in an empty one, in turns.
"""

from __future__ import annotations

import itertools
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.scale import shipped
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import Plan
from suite.storage.log import Log
from suite.storage.record import Record, seal
from suite.tracks import Track, find_track

SIZES = (12_500, 25_000, 50_000, 100_000)
TURNS = 1_000
NOISE = 0.05
"""Copies of a record differ by this share in what they measure: a table of equal numbers would be a special case."""


def many() -> Iterator[Record]:
    """Records without end: the shipped submissions under many names, each with all runs that `full` asks for."""
    track = find_track("full")
    tuning = list(itertools.product(range(track.trials), range(track.tuning_seeds)))
    rng = random.Random(0)
    pairs: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in shipped():
        if record["track"] == "quick":
            pairs[record["submission"], record["task"]][record["phase"]].append(record)
    for copy in itertools.count():
        for (submission, _), own in pairs.items():
            name = {"submission": f"{submission}-{copy}"}
            for record, (trial, seed) in zip(itertools.cycle(own["tune"]), tuning, strict=False):
                yield _changed(record, name | {"trial": trial, "seed": 10_000 + seed})
            for record, seed in zip(itertools.cycle(own["score"]), range(track.seeds), strict=False):
                noisy = {
                    key: value and value * rng.lognormvariate(0, NOISE) for key, value in record["measures"].items()
                }
                yield _changed(record, name | {"seed": seed, "measures": noisy})


def _changed(record: Record, changes: Record) -> Record:
    return seal(record | changes | {"data_fingerprint": f"{changes['seed']:016}"})


def _append(log: Log, records: Iterable[Record]) -> float:
    """Seconds of CPU that it takes to write `records`, each synced to the disk before the next."""
    seconds = 0.0
    for record in records:
        begin = time.process_time()
        log.append(record)
        seconds += time.process_time() - begin
    return seconds


def _synced(logs: Sequence[Log], records: Iterable[Record]) -> list[float]:
    """Median seconds of the clock until a record is on the disk, for each of `logs`, which take turns."""
    seconds: list[list[float]] = [[] for _ in logs]
    for record, (log, own) in zip(records, itertools.cycle(zip(logs, seconds, strict=True)), strict=False):
        begin = time.perf_counter()
        log.append(record)
        own.append(time.perf_counter() - begin)
    return [statistics.median(own) for own in seconds]


def _resume(path: Path) -> float:
    """Seconds of CPU that a run spends on the log before its first unit starts."""
    begin = time.process_time()
    with connect("local:0") as engine:
        Driver(Plan((), (), Track("quick", (), 1, 1, 1, "")), Log(path), engine)
    return time.process_time() - begin


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def table_seconds(path: Path) -> float:
    """Seconds of CPU of the command that prints the table, from its start to its end."""
    before = _children()
    command = [sys.executable, "-m", "leaderboard", "table", "--results", str(path), "--format", "csv"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = _children()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _growth(seconds: Sequence[float]) -> float:
    """The exponent e of ``seconds ~ records ** e``, by least squares."""
    return float(np.polyfit(np.log(SIZES), np.log(seconds), 1)[0])


def main() -> None:
    """Append, resume and table, at each of the sizes to which one log grows."""
    print("| records | MB | append | resume scan | table | on the disk | in an empty log |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    records, held, appending, times = many(), 0, 0.0, []
    with tempfile.TemporaryDirectory() as directory:
        log = Log(Path(directory) / "quick.jsonl")
        for size in SIZES:
            appending += _append(log, itertools.islice(records, size - held))
            held = size
            times.append((appending, _resume(log.path), table_seconds(log.path)))
            cells = [f"{seconds:.1f} s ({seconds / size * 1e6:,.0f} µs each)" for seconds in times[-1]]
            megabytes = f"{log.path.stat().st_size / 1e6:.0f}"
            empty = Log(Path(directory) / f"{size}.jsonl")
            cells += [f"{seconds * 1e3:.1f} ms" for seconds in _synced((log, empty), itertools.islice(records, TURNS))]
            held += TURNS // 2
            print(f"| {size:,} | {megabytes} | {' | '.join(cells)} |", flush=True)
    exponents = " | ".join(f"{_growth(column):.2f}" for column in zip(*times, strict=True))
    print(f"| grows with the power | | {exponents} | | |")
    print(f"\nThe largest table took {_children().ru_maxrss / 2**20:.2f} GB of memory.")


if __name__ == "__main__":
    main()
