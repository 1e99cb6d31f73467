"""What runs cost in seconds of CPU, from logs of this machine: ``python -m benchmarks.costs LOG... --whole S > COSTS``.

`leaderboard.commands.execution.COSTS` is of the default run (``lowlands run``), with nothing read from the disk's cache
of oracles. `lowlands run` estimates its time from it before the start, by the speed of the machine that it is on.

``--against LOG...`` prints what is estimated today for the runs that those logs hold beside what they took, by task.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from leaderboard.commands.execution import recorded_costs
from suite.engine.speed import reference_seconds
from suite.storage.log import read
from suite.storage.record import Record
from suite.tasks import find_task

FIELDS = ("task", "phase", "kind", "submission")


def measured(records: Iterable[Record]) -> list[dict[str, object]]:
    """The mean seconds of CPU of the runs of every submission on every task, in tuning and in scoring."""
    seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for record in records:
        if record.get("cpu_seconds"):
            seconds[tuple(record[field] for field in FIELDS)].append(record["cpu_seconds"])
    return [
        dict(zip(FIELDS, key, strict=True)) | {"runs": len(own), "cpu_seconds": round(statistics.fmean(own), 4)}
        for key, own in sorted(seconds.items())
    ]


def table(records: Iterable[Record]) -> str:
    """Estimated and measured seconds of CPU of the runs of `records`, by task, in Markdown."""
    costs, sums = recorded_costs(), defaultdict[str, list[float]](lambda: [0.0, 0.0, 0])
    for record in records:
        name, phase, kind, submission = (record[field] for field in FIELDS)
        estimate = costs.run_seconds(find_task(name), phase, submission, kind)
        for total in (sums[name], sums["all"]):
            total[0] += estimate
            total[1] += record["cpu_seconds"]
            total[2] += 1
    sums["all"] = sums.pop("all")
    rows = [
        f"| `{name}` | {runs:.0f} | {estimate:.1f} | {took:.1f} | {estimate / took:.2f} |"
        for name, (estimate, took, runs) in sums.items()
    ]
    head = ["| task | runs | estimated, CPU s | measured, CPU s | ratio |", "| --- | ---: | ---: | ---: | ---: |"]
    return "\n".join(head + rows)


def main() -> None:
    """Print the costs as JSON, or the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="+", type=Path)
    parser.add_argument("--against", action="store_true", help="Compare with what is estimated today.")
    parser.add_argument("--whole", type=float, default=0.0, help="Seconds of CPU of the whole command (user + sys).")
    parser.add_argument(
        "--reference", type=float, help="Of `suite.engine.speed` while the logs were recorded [default: now]."
    )
    given = parser.parse_args()
    records = [record for path in given.log for record in read(path).records]
    if given.against:
        print(table(records))
        return
    rows = ",\n".join(json.dumps(cost) for cost in measured(records))
    reference = given.reference or reference_seconds()
    print(f'{{"reference_seconds": {reference:.4f}, "whole_seconds": {given.whole:g}, "costs": [\n{rows}\n]}}')


if __name__ == "__main__":
    main()
