"""What a big plan costs and how it spreads over workers: ``python -m benchmarks.scale [LOG]...``.

Costs are those that the shipped results record, and `COSTS` for tasks of which none are shipped, and any LOG. A task
that is known from some submissions only costs the others what it costs these, times what they cost more elsewhere.
`docs/scale.md` shows the output.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from benchmarks.schedule import Chain, bounds, chain_of, makespan
from leaderboard.analysis.baselines import shipped_logs
from suite.engine.costs import Costs
from suite.engine.plan import PlannedEntry, make_plan, planned_entries
from suite.storage.log import read
from suite.storage.record import Record
from suite.tracks import find_track

COSTS = Path(__file__).with_name("costs.jsonl.gz")
"""Lanes of sgd on tasks of `full` that no shipped result covers; docs/scale.md has the command."""

COSTS_STRETCH = 3.66
"""Seconds of the clock per second of CPU of the commands that recorded `COSTS`: the machine had other work to do."""

SUBMISSIONS = 200
WORKERS = (1, 10, 100, 1_000)
DRIVER_SECONDS = 0.01
"""What the driver spends on a unit: records synced to the disk, the next unit sent (docs/scale.md has the figures)."""


def shipped() -> list[Record]:
    """All shipped records."""
    return [record for path in shipped_logs() for record in read(path).records]


def otherwise_known() -> list[Record]:
    """The records of `COSTS`, in seconds of CPU."""
    return [
        record | {name: record[name] / COSTS_STRETCH for name in ("seconds", "measure_seconds")}
        for record in read(COSTS).records
    ]


def lane_seconds(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """Submission -> task -> mean seconds of a run, training and measuring."""
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record["status"] not in ("failed", "unavailable"):
            seconds[record["submission"]][record["task"]].append(record["seconds"] + record["measure_seconds"])
    return {name: {task: statistics.fmean(own) for task, own in tasks.items()} for name, tasks in seconds.items()}


def completed(records: list[Record], reference: str = "sgd") -> list[Record]:
    """`records`, and those of `reference` under every name that lacks their task, times its geometric mean cost."""
    known = lane_seconds(records)
    added = []
    for name, own in known.items():
        shared = own.keys() & known[reference].keys()
        ratio = math.exp(statistics.fmean(math.log(own[task] / known[reference][task]) for task in shared))
        added += [
            record | {"submission": name, "seconds": ratio * known[reference][record["task"]], "measure_seconds": 0.0}
            for record in records
            if record["submission"] == reference and record["task"] not in own
        ]
    return records + added


def recorded_entries(records: list[Record]) -> list[PlannedEntry]:
    """The track `full` with every optimizer of which the results know the cost."""
    names = sorted({record["submission"] for record in records})
    track = find_track("full")
    return planned_entries(make_plan(names, track.tasks, track), Costs(completed(records)))


def duration(seconds: float) -> str:
    """Seconds as hours and minutes, or as minutes and seconds."""
    if seconds >= 7_200:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 60:.1f} min"


def main() -> None:
    """Print both tables."""
    own = [record for path in sys.argv[1:] for record in read(Path(path)).records]
    records = [*shipped(), *otherwise_known(), *own]
    records = [record for record in records if record["kind"] == "optimizer"]
    found = recorded_entries(records)
    names = {entry.loaded.submission.name for entry in found}
    known = lane_seconds(records)
    copies = SUBMISSIONS / len(names)
    by_task: dict[str, list[Chain]] = defaultdict(list)
    for entry in found:
        by_task[entry.task.name].append(chain_of(entry))
    print(f"`full`, {SUBMISSIONS} submissions that cost what the recorded ones do: {', '.join(sorted(names))}.")
    print("\n| task | units | CPU hours | longest chain | recorded of |\n| --- | --- | --- | --- | --- |")
    for task, chains in sorted(by_task.items(), key=lambda item: -sum(chain.work() for chain in item[1])):
        units = copies * sum(chain.units() for chain in chains)
        hours = copies * sum(chain.work() for chain in chains) / 3_600
        longest = max(chain.length() for chain in chains)
        measured = [name for name in sorted(known) if task in known[name]]
        basis = "estimated" if not measured else ", ".join(measured) if len(measured) < len(names) else "all"
        print(f"| `{task}` | {units:,.0f} | {hours:.1f} | {duration(longest)} | {basis} |")
    everything = [chain for chains in by_task.values() for chain in chains]
    plan = [everything[i % len(everything)] for i in range(round(len(everything) * copies))]
    units, work = sum(chain.units() for chain in plan), sum(chain.work() for chain in plan)
    print(f"\n{units:,} units, {work / 3_600:.1f} CPU hours.")
    print("\n| workers | takes | workers busy | no schedule can beat | driver busy |\n| --- | --- | --- | --- | --- |")
    for workers in WORKERS:
        takes = makespan(plan, workers, DRIVER_SECONDS)
        least, _ = bounds(plan, workers)
        busy, driver = work / workers / takes, units * DRIVER_SECONDS / takes
        print(f"| {workers:,} | {duration(takes)} | {busy:.0%} | {duration(least)} | {driver:.0%} |")


if __name__ == "__main__":
    main()
