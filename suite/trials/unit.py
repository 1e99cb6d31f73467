"""What one worker does at a time: plain data, so that any executor can carry it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        scored_ahead: further seeds, on which the trials of a unit of the phase ``tune`` are trained in the same
            program. For the trials that the runs on `seeds` select, these are the runs of the phase ``score``.
        search: the number of the search that its trials belong to.
        isolation: None: the submission's code runs in the worker.
        solutions: directory in which scored solutions are saved; None: nowhere.
        measured: whether its runs are trained to their end and measured in the phase ``tune`` too.
        traced: scored runs are measured along the way, whenever their steps have grown by this factor; None: not.
        traced_all: by the costly measures too.
        described: the submission as it described itself in another process, so that the one that judges and measures
            never loads its code; None: it is loaded there.
    """

    submission: str
    task: str
    track: str
    phase: str
    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    scored_ahead: tuple[int, ...] = ()
    search: int = 0
    device: str = "cpu"
    isolation: Isolation | None = None
    solutions: str | None = None
    measured: bool = False
    traced: float | None = None
    traced_all: bool = False
    described: LoadedSubmission | None = None

    @property
    def size(self) -> int:
        """How many training runs the unit holds."""
        return len(self.trials) * len(self.all_seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return self.seeds + self.scored_ahead

    def without_ahead(self) -> Unit:
        """The unit's runs on its `seeds`."""
        return replace(self, scored_ahead=())

    def ahead(self, selected: Collection[int]) -> Unit:
        """The unit's runs that were trained ahead, as a scoring unit of the trials of the numbers `selected`."""
        trials = tuple(trial for trial in self.trials if trial.number in selected)
        return replace(self, phase="score", trials=trials, seeds=self.scored_ahead, scored_ahead=())

    def loaded(self) -> LoadedSubmission:
        """The submission: as it described itself elsewhere, or loaded in this process."""
        if self.isolation is not None:
            return self.isolation.loaded
        return self.described or load(self.submission)

    def by_trial(self) -> list[Unit]:
        """The unit in parts of one trial each."""
        return [replace(self, trials=(trial,)) for trial in self.trials]
