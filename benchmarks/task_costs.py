"""What a task costs: ``python -m benchmarks.task_costs`` (a few minutes of one core).

For each task of the track `theory` (or those of ``--task NAME …``) the processor's time that three scored seeds of
gradient descent take: data, oracles (none is read from the disk), training, the probe, and measuring. Of the settings
of the track's search the one with the longest step with which all three reach the target loss counts, as tuning would
choose it; if there is none, the last that was tried. Every unit is carried out in a process forked for it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from unittest import mock

from suite.engine.plan import make_plan
from suite.sandbox.child import in_child
from suite.storage.record import Status
from suite.tracks import THEORY, find_track
from suite.training.loop import warm_up
from suite.trials import evaluate
from suite.trials.evaluate import run_unit
from suite.trials.provenance import suite_hash
from suite.trials.unit import Trial, Unit

SEEDS = (0, 1, 2)

BOUND = 10.0
"""Seconds that a task of `theory` may take where `BOUNDS` does not say otherwise."""

BOUNDS = {"adam_epsilon": 60.0}
"""By task without its variant: what trains every run by itself for tens of thousands of steps."""


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor's time of three seeds; their steps in all; how many reached the target loss."""

    task: str
    seconds: float
    steps: int
    solutions: int

    @property
    def bound(self) -> float:
        return BOUNDS.get(self.task.partition("[")[0], BOUND)

    def row(self) -> str:
        over = " (over)" if self.seconds > self.bound else ""
        return f"| `{self.task}` | {self.seconds:.1f}{over} | {self.bound:g} | {self.steps:,} | {self.solutions}/3 |"


def cost(task: str, submission: str = "sgd") -> Cost:
    """What three scored seeds of the submission cost on the task of this name."""
    track = find_track("theory")
    searched = make_plan([submission], [task], track).submissions[0].submission.settings(track.trials)
    for settings in sorted(searched, key=lambda each: -each["lr"]):
        found = cost_of(Unit(submission, task, track.name, "score", (Trial(0, settings),), SEEDS))
        if found.solutions == len(SEEDS):
            break
    return found


def cost_of(unit: Unit) -> Cost:
    """What the unit costs, without processes of its own and with nothing read from the disk's cache."""

    def work() -> bytes:
        with (
            tempfile.TemporaryDirectory() as empty,
            mock.patch.dict(os.environ, XDG_CACHE_HOME=empty),
            mock.patch.object(evaluate, "is_child", return_value=False),
        ):
            begin = time.process_time()
            records = run_unit(unit)
            seconds = time.process_time() - begin
        solutions = sum(record["status"] == Status.CONVERGED for record in records)
        return json.dumps((seconds, sum(record["steps"] for record in records), solutions)).encode()

    return Cost(unit.task, *json.loads(in_child(work)))


def table(costs: Iterable[Cost]) -> str:
    """The costs in Markdown, dearest first."""
    head = ("| task | seconds | at most | steps of three runs | at target |", "| --- | ---: | ---: | ---: | ---: |")
    return "\n".join((*head, *(each.row() for each in sorted(costs, key=lambda each: -each.seconds))))


def main() -> None:
    """Print a row for every task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", nargs="+", default=THEORY, help="Instead of all tasks of the track theory.")
    parser.add_argument("--submission", default="sgd")
    options = parser.parse_args()
    warm_up()
    suite_hash()
    costs = []
    for task in options.task:
        costs.append(cost(task, options.submission))
        print(costs[-1].row(), flush=True)
    print()
    print(table(costs))


if __name__ == "__main__":
    main()
