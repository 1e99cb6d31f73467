"""What a lane costs, from what is recorded: the order of units and the estimates shown come from it, results never."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from suite.task import Task

BATCHED_SECONDS = 0.3
"""A lane of a batch of which nothing is recorded: the mean of the first results that were shipped."""


LONE_SECONDS = 1.5
"""A lane that is trained by itself, likewise."""


class Costs:
    """Mean seconds per lane in tuning or in scoring: of a submission on a task, else of its kind, else in the other."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._sums: dict[tuple[str, str, str], tuple[float, int]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from one record; lanes that failed say nothing of what a lane takes."""
        if record["status"] in ("failed", "unavailable"):
            return
        seconds = record["seconds"] + record["measure_seconds"]
        for whose in (f"submission {record['submission']}", record["kind"]):
            key = record["task"], record["phase"], whose
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + seconds, count + 1

    def lane(self, task: Task, phase: str, submission: str, kind: str) -> float:
        """Expected seconds of one lane, training and measuring."""
        other = "score" if phase == "tune" else "tune"
        for key in itertools.product((phase, other), (f"submission {submission}", kind)):
            if (task.name, *key) in self._sums:
                total, count = self._sums[task.name, *key]
                return total / count
        return task.seconds or (BATCHED_SECONDS if task.batched else LONE_SECONDS)
