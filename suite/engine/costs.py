"""What a training run costs, from what is recorded: orders units, estimates time and memory, never changes a result."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from suite.storage.record import Status
from suite.task import Task

BATCHED_SECONDS = 0.3
"""A run in a batch of which nothing is recorded: the mean of the first results that were shipped."""

SINGLE_SECONDS = 1.5
"""A run that is trained by itself, likewise."""


class Costs:
    """Mean seconds per training run in tuning or in scoring, and the memory that a task takes.

    Seconds: those of the submission on the task, else of its kind there, else either in the other phase, else a guess.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._sums: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._memory: dict[str, int] = {}
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from one record; one that does not tell of a whole run is ignored."""
        if not Status(record["status"]).trained:
            return
        if memory := record.get("peak_memory"):
            self._memory[record["task"]] = max(memory, self._memory.get(record["task"], 0))
        # Of the whole unit, where it is known: beside training and measuring it makes data, solves oracles and checks.
        # Seconds of CPU, where they are known: those of the clock tell what else the machine did.
        own = record["seconds"] + record["measure_seconds"]
        seconds = record.get("cpu_seconds") or record.get("unit_seconds") or own
        for who in (f"submission {record['submission']}", record["kind"]):
            key = record["task"], record["phase"], who
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + seconds, count + 1

    def run_seconds(self, task: Task, phase: str, submission: str, kind: str) -> float:
        """Expected seconds of one run: its share of its unit."""
        other_phase = "score" if phase == "tune" else "tune"
        for key in itertools.product((phase, other_phase), (f"submission {submission}", kind)):
            if (task.name, *key) in self._sums:
                total, count = self._sums[task.name, *key]
                return total / count
        return task.seconds or (BATCHED_SECONDS if task.batched else SINGLE_SECONDS)

    def memory(self, task: str) -> int | None:
        """The most bytes that a process is recorded to have held while it worked on the task; None if nothing is."""
        return self._memory.get(task)
