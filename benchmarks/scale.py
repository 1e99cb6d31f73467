"""What a big plan costs and how it spreads over workers: ``python -m benchmarks.scale``.

Costs are those that the shipped results record; `docs/scale.md` shows the output.
"""

from __future__ import annotations

from collections import defaultdict

from benchmarks.schedule import Chain, bounds, chain_of, makespan
from leaderboard.shipped import logs
from suite.engine.costs import Costs
from suite.engine.plan import Pair, Plan, pairs
from suite.record import Record, read
from suite.track import find_track

SUBMISSIONS = 200
WORKERS = (1, 10, 100, 1_000)
DRIVER_SECONDS = 0.01
"""What the driver spends on a unit: records synced to the disk, the next unit sent (docs/scale.md has the figures)."""


def shipped() -> list[Record]:
    """All shipped records."""
    return [record for path in logs() for record in read(path).records]


def recorded_pairs(records: list[Record]) -> list[Pair]:
    """The track `full` with every optimizer of which the results know the cost."""
    names = sorted({record["submission"] for record in records if record["kind"] == "optimizer"})
    track = find_track("full")
    return pairs(Plan(tuple(names), track.tasks, track), Costs(records))


def duration(seconds: float) -> str:
    """Seconds as hours and minutes, or as minutes and seconds."""
    if seconds >= 7_200:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 60:.1f} min"


def main() -> None:
    """Print both tables."""
    records = shipped()
    found = recorded_pairs(records)
    names = {pair.loaded.submission.name for pair in found}
    known = {record["task"] for record in records}
    copies = SUBMISSIONS / len(names)
    by_task: dict[str, list[Chain]] = defaultdict(list)
    for pair in found:
        by_task[pair.task.name].append(chain_of(pair))
    print(f"`full`, {SUBMISSIONS} submissions that cost what the recorded ones do: {', '.join(sorted(names))}.")
    print("\n| task | units | CPU hours | longest chain | |\n| --- | --- | --- | --- | --- |")
    for task, chains in sorted(by_task.items(), key=lambda item: -sum(chain.work() for chain in item[1])):
        units = copies * sum(chain.units() for chain in chains)
        hours = copies * sum(chain.work() for chain in chains) / 3_600
        longest = max(chain.length() for chain in chains)
        guess = "" if task in known else "nothing recorded yet: a default cost"
        print(f"| `{task}` | {units:,.0f} | {hours:.1f} | {duration(longest)} | {guess} |")
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
