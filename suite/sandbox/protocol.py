"""What goes into the sandbox: the job, and the names of the files that the two sides exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from suite.sandbox.limits import Limits
from suite.task import Split

JOB = "job.pickle"
"""Written by the host, read by the guest. Nothing that the guest writes is ever unpickled."""


ANSWER = "answer.json"


WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class RunInput:
    """One training run as the guest gets it.

    Attributes:
        train: the training part of the data.
        lipschitz: see `suite.task.Problem`.
        model: the network with its initial weights.
        streams: the seeds of the run's random streams, which reveal nothing about the data.
        trial: the number of the trial that the run belongs to.
        settings: the optimizer's hyper-parameters.
    """

    train: Split
    lipschitz: float
    model: nn.Module
    streams: Mapping[str, int]
    trial: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class NetworkRequest:
    """Asks an architecture for its network with inputs and outputs of these sizes, drawn from `seed`."""

    input_shape: tuple[int, ...]
    outputs: int
    seed: int


@dataclass(frozen=True)
class Job:
    """What one guest process does: it trains `runs`, or draws the network of `request`, or describes the submission.

    Attributes:
        submission: the text that finds the submission (see `suite.entries.loading.load`).
        limits: what the guest may use.
        trials: to describe a submission: how many settings are checked.
        task, device, race: to train: see `suite.training`.
        runs: the runs to train.
        request: the network to draw.
    """

    submission: str
    limits: Limits
    trials: int = 1
    task: str = ""
    device: str = "cpu"
    race: bool = False
    runs: tuple[RunInput, ...] = ()
    request: NetworkRequest | None = None
