"""What a training run costs, from what is recorded: orders units, estimates time and memory, never changes a result.

Costs are seconds of CPU. Those of the default run were measured on a machine of which it is known how fast it is
(`suite.engine.speed`), and are scaled to this one. Older records tell seconds of the clock alone, on machines that did
other work too: all those of a track are scaled by one factor, that of the runs whose seconds of CPU are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.storage.record import Status
from suite.task import Task

BATCHED_SECONDS = 0.1
"""A run in a batch of which nothing is recorded: about what the eight optimizers of the default run take."""

SINGLE_SECONDS = 1.5
"""A run that is trained by itself, likewise."""

Key = tuple[str, str, str]
"""Task, phase, and who: ``submission NAME``, or a kind of submissions."""


@dataclass
class _Means:
    """Means of what is added, by key."""

    sums: dict[Key, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[Key, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, key: Key, value: float, count: float = 1) -> None:
        self.sums[key] += count * value
        self.counts[key] += count

    def __contains__(self, key: Key) -> bool:
        return key in self.counts

    def __getitem__(self, key: Key) -> float:
        return self.sums[key] / self.counts[key]


def _keys(record: Mapping[str, Any]) -> tuple[Key, Key]:
    task, phase = record["task"], record["phase"]
    return (task, phase, f"submission {record['submission']}"), (task, phase, record["kind"])


class Costs:
    """Expected seconds of CPU of training runs in tuning and in scoring, how many are scored, and memory.

    Each is that of the submission on the task, else that of its kind there. Seconds of CPU count before those of the
    clock, and those of the phase before those of the other one; of tasks without any record there is a guess.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._processor, self._clock = _Means(), defaultdict[str, _Means](_Means)
        self._converged = _Means()
        self._memory: dict[str, int] = {}
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from one record; one that does not tell of a whole run is ignored."""
        if not Status(record["status"]).trained:
            return
        if memory := record.get("peak_memory"):
            self._memory[record["task"]] = max(memory, self._memory.get(record["task"], 0))
        keys = _keys(record)
        # Of the whole unit, where it is known: beside training and measuring it makes data, solves oracles and checks.
        seconds, means = record.get("cpu_seconds"), self._processor
        if not seconds:
            means = self._clock[record["track"]]
            seconds = record.get("unit_seconds") or record["seconds"] + record["measure_seconds"]
        for key in keys:
            means.add(key, seconds)
            if record["phase"] == "tune":
                self._converged.add(key, float(record["converged"]))

    def add_measured(self, costs: Iterable[Mapping[str, Any]], speed: float) -> None:
        """Learn what was measured on a machine on which everything takes ``1 / speed`` times as long as here.

        Args:
            costs: each with task, phase, submission, kind, cpu_seconds (mean of a run) and runs (of how many).
        """
        for cost in costs:
            for key in _keys(cost):
                self._processor.add(key, speed * cost["cpu_seconds"], cost["runs"])

    def run_seconds(self, task: Task, phase: str, submission: str, kind: str) -> float:
        """Expected seconds of CPU of one run: its share of its unit."""
        other_phase = "score" if phase == "tune" else "tune"
        for who in (f"submission {submission}", kind):
            keys = [(task.name, each, who) for each in (phase, other_phase)]
            for key in keys:
                if key in self._processor:
                    return self._processor[key]
            for key in keys:
                found = [self._factor(track) * means[key] for track, means in self._clock.items() if key in means]
                if found:
                    return sum(found) / len(found)
        return task.seconds or (BATCHED_SECONDS if task.batched else SINGLE_SECONDS)

    def _factor(self, track: str) -> float:
        """Seconds of CPU per second of the clock in the records of `track`, over the runs of which both are known."""
        clock = self._clock[track]
        both = [key for key in clock.counts if key in self._processor and key[2].startswith("submission ")]
        return sum(self._processor[key] for key in both) / sum(clock[key] for key in both) if both else 1.0

    def share_at_target(self, task: Task, submission: str, kind: str) -> float:
        """The share of tuning runs that reach the target loss, in [0, 1]; 1 where nothing is recorded."""
        for who in (f"submission {submission}", kind):
            key = (task.name, "tune", who)
            if key in self._converged:
                return self._converged[key]
        return 1.0

    def memory(self, task: str) -> int | None:
        """The most bytes that a process is recorded to have held while it worked on the task; None if nothing is."""
        return self._memory.get(task)
