"""A simulation of the engine's schedule: how long a plan takes on any number of workers, without running it.

The policy is that of `suite.engine.driver`: whenever a worker is free, the unit with the longest chain of work behind
it starts. That is list scheduling: it takes at most ``work / workers + (1 - 1 / workers) * longest chain`` (Graham
1969).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suite.engine.plan import PlannedEntry


@dataclass(frozen=True)
class Chain:
    """One submission on one task: seconds of its tuning units, then of its scoring units, which wait for the former."""

    tuning: tuple[float, ...]
    scoring: tuple[float, ...]

    def work(self) -> float:
        """Seconds on one worker."""
        return sum(self.tuning) + sum(self.scoring)

    def length(self) -> float:
        """Seconds on any number of workers."""
        return max(self.tuning, default=0.0) + max(self.scoring, default=0.0)

    def units(self) -> int:
        """How many units it has."""
        return len(self.tuning) + len(self.scoring)


def chain_of(entry: PlannedEntry) -> Chain:
    """The units of `entry` with their expected seconds."""
    seeds = len(entry.seeds)
    parts = 1 if entry.task.batched else seeds
    scoring = (entry.scoring_cost() / parts,) * parts if entry.scoring_cost() else ()
    return Chain(tuple(entry.cost(unit) for unit in entry.tuning()), scoring)


def makespan(chains: Sequence[Chain], workers: int, driver: float = 0.0) -> float:
    """Seconds from the first start to the last record, on `workers` equal workers.

    driver: seconds that the driver, which does one thing at a time, spends on each unit (recording it, starting the
    next). No unit is sent ahead here, so a worker waits for the driver; the engine does send ahead.
    """
    numbers = itertools.count()
    ready: list[tuple[float, int, int, str, float]] = []
    running: list[tuple[float, int, int, str]] = []
    waiting = [len(chain.tuning) for chain in chains]

    def offer(which: int, stage: str) -> None:
        chain = chains[which]
        after = max(chain.scoring, default=0.0) if stage == "tune" else 0.0
        for seconds in chain.tuning if stage == "tune" else chain.scoring:
            heapq.heappush(ready, (-seconds - after, next(numbers), which, stage, seconds))

    def start(now: float) -> None:
        while ready and len(running) < workers:
            _, _, which, stage, seconds = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds, next(numbers), which, stage))

    for which, chain in enumerate(chains):
        offer(which, "tune" if chain.tuning else "score")
    start(0.0)
    clock = 0.0
    while running:
        end, _, which, stage = heapq.heappop(running)
        clock = max(clock, end) + driver
        if stage == "tune":
            waiting[which] -= 1
            if not waiting[which]:
                offer(which, "score")
        start(clock)
    return clock


def bounds(chains: Sequence[Chain], workers: int) -> Iterator[float]:
    """What no schedule can beat, and what list scheduling never exceeds (without a driver's time)."""
    work, longest = sum(chain.work() for chain in chains), max((chain.length() for chain in chains), default=0.0)
    yield max(work / workers, longest)
    yield work / workers + (1 - 1 / workers) * longest
