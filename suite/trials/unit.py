"""What one worker does at a time: plain data, so that any executor can carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from suite.entries.loading import LoadedSubmission, load
from suite.sandbox.limits import Limits


class Trial(NamedTuple):
    """One hyper-parameter setting, and its number in the submission's search."""

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Isolation:
    """That a submission's code runs in the sandbox only, within `limits`; `loaded` is as it described itself there."""

    limits: Limits
    loaded: LoadedSubmission


@dataclass(frozen=True)
class Unit:
    """Trials of one submission on seeds of one task, in one phase of a track: a training run for each trial and seed.

    Attributes:
        submission: the text that finds it.
        phase: ``tune`` or ``score``.
        trials, seeds: its training runs are all their combinations, trial by trial.
        search: the number of the search that its trials belong to.
        isolation: None: the submission's code runs in the worker.
        solutions: directory in which scored solutions are saved; None: nowhere.
        measured: whether its runs are trained to their end and measured in the phase ``tune`` too.
    """

    submission: str
    task: str
    track: str
    phase: str
    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    search: int = 0
    device: str = "cpu"
    isolation: Isolation | None = None
    solutions: str | None = None
    measured: bool = False

    @property
    def size(self) -> int:
        """How many training runs the unit holds."""
        return len(self.trials) * len(self.seeds)

    def loaded(self) -> LoadedSubmission:
        """The submission: loaded in this process, or as it described itself in the sandbox."""
        return self.isolation.loaded if self.isolation is not None else load(self.submission)

    def by_trial(self) -> list[Unit]:
        """The unit in parts of one trial each."""
        return [replace(self, trials=(trial,)) for trial in self.trials]
