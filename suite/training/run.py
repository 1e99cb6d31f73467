"""What goes into training and what comes out of it: a run, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from suite.behavior import Probe
from suite.seeding import seed_of
from suite.storage.record import Status
from suite.task import Problem, Split, Task, Weights

Device = torch.device | str

STREAMS = ("order", "label noise", "optimizer")
"""A run's random streams: the order of its batches, the noise of its labels, and what its optimizer draws."""

Stepping = Literal["stacked", "per lane", "rendezvous", "alone"]
"""How optimizers stepped the lanes, as the record states it (`suite.training.groups` explains the ways)."""


@dataclass(frozen=True)
class TrainingRun:
    """One run to train, with the hyper-parameters `settings` of the trial of the number `trial`.

    Attributes:
        seed: of its initial weights and of its random streams.
        streams: the seeds of its random streams by name, where `seed` must not reveal the data (see `suite.sandbox`).
        probed: whether what its optimizer does beside following gradients is measured as well.
        traced: its weights are kept whenever its steps have grown by this factor; None: only where it ends.
    """

    problem: Problem
    seed: int
    trial: int
    settings: Mapping[str, Any]
    streams: Mapping[str, int] | None = None
    probed: bool = False
    traced: float | None = None

    def stream_seeds(self, task: str) -> Mapping[str, int]:
        """The seeds of the random streams on the task of the name `task`, by the names in `STREAMS`."""
        return self.streams or {name: seed_of(task, self.seed, name) for name in STREAMS}

    def model(self, task: Task, device: Device) -> nn.Module:
        """The network of `task` with the run's initial weights."""
        return task.model(self.problem, self.seed).to(device)

    def first_batch(self, task: Task, device: Device) -> Split:
        """The first training samples, as many as a step of `task` takes."""
        train, rows = self.problem.train, slice(task.batch_size)
        return Split(train.x[rows], train.y[rows]).to(device)


@dataclass(frozen=True)
class Snapshot:
    """A run on its way.

    Attributes:
        step, gradient_evaluations: what it had taken.
        weights: its state by name (`suite.models.hold`).
        update_norm: the Euclidean length of the last step; None where no step was seen.
        preconditioner: the positive diagonal by which the last step divided the gradient, by parameter, where the
            optimizer is of a class that is known to have one.
    """

    step: int
    gradient_evaluations: int
    weights: Weights
    update_norm: float | None = None
    preconditioner: Weights | None = None

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for part in (self.weights, self.preconditioner or {}) for tensor in part.values())


@dataclass(frozen=True)
class TrainingResult:
    """Where a run ended, and how.

    Attributes:
        weights, initial: weights and buffers by name, at the end and before the first step.
        train_loss: the task's loss on the whole training data at `weights`.
        gradient_evaluations: the cost; a product with the Hessian counts as one gradient.
        steps: calls of the optimizer's `step`.
        seconds: the run's share of the time that its program took.
        target_evaluations: gradient evaluations at the check from which on the loss stayed at or below the target loss;
            fewer than all where a task trains on. None: it did not end there.
        history: (gradient evaluations, training loss), thinned evenly on a log scale.
        placement: how many weights each algorithm stepped (`optimizer_factory.placement`).
        implementations: package and version that an algorithm's class comes from (`optimizer_factory.implementations`).
        probe: of its optimizer; None: it was not probed, or could not be.
        snapshots: along the way, from its initial weights to where it ended; empty for a run that is not traced.
        precision: ``float32`` on the copy of a task (`suite.training.single_precision`); None: on the task itself.
    """

    status: Status
    weights: Weights
    initial: Weights
    train_loss: float
    gradient_evaluations: int
    steps: int
    seconds: float
    stepping: Stepping
    target_evaluations: int | None = None
    history: tuple[tuple[int, float], ...] = ()
    placement: Mapping[str, int] = field(default_factory=dict)
    implementations: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None
    snapshots: tuple[Snapshot, ...] = ()
    precision: str | None = None

    @property
    def converged(self) -> bool:
        return self.status == Status.CONVERGED
