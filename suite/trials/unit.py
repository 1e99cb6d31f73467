"""What one worker does at a time: plain data, so that any executor can carry it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from suite.entries.loading import LoadedSubmission, load
from suite.sandbox.limits import Limits


@dataclass(frozen=True)
class Isolation:
    """That a submission runs isolated: what it may use, and how it described itself (its code is not here)."""

    limits: Limits
    loaded: LoadedSubmission


@dataclass(frozen=True)
class Unit:
    """Trials (number, hyper-parameters) of one submission on seeds of one task."""

    submission: str
    task: str
    track: str
    phase: str
    trials: tuple[tuple[int, tuple[tuple[str, Any], ...]], ...]
    seeds: tuple[int, ...]
    device: str = "cpu"
    jail: Isolation | None = None
    solutions: str | None = None
    """Directory in which scored solutions are kept."""

    def lanes(self) -> int:
        """How many training runs the unit holds."""
        return len(self.trials) * len(self.seeds)

    def loaded(self) -> LoadedSubmission:
        """The submission: loaded in this process, or as it described itself."""
        return self.jail.loaded if self.jail is not None else load(self.submission)


def by_trial(unit: Unit) -> Iterable[Unit]:
    """`unit` in parts of one trial each."""
    return (replace(unit, trials=(trial,)) for trial in unit.trials)
