"""What goes into the sandbox: the job. Only the host writes it; nothing that a guest writes is ever unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from suite.sandbox.limits import Limits
from suite.training import TrainingRun


@dataclass(frozen=True)
class NetworkRequest:
    """Asks an architecture for its network, drawn from `seed`.

    Attributes:
        arguments: what it is called with.
        input_shape: the shape of one sample.
        vocabulary: samples are numbers of so many tokens; 0: they are real.
    """

    arguments: tuple[Any, Any]
    input_shape: tuple[int, ...]
    vocabulary: int
    seed: int


@dataclass(frozen=True)
class Job:
    """What one guest process does: it trains `runs`, or draws the network of `request`, or describes the submission.

    Attributes:
        submission: the text that finds the submission (see `suite.entries.loading.load`).
        trials: to describe a submission: how many settings are checked.
        task, device, race, batched: to train: see `suite.training`.
        runs: with data of the right shapes and without values, and seeds of random streams that reveal nothing about
            the data.
        models: the network of each run with its initial weights.
        single: whether the task is in single precision, as a copy or by itself.
    """

    submission: str
    limits: Limits
    trials: int = 1
    task: str = ""
    device: str = "cpu"
    race: bool = False
    batched: bool = False
    runs: tuple[TrainingRun, ...] = ()
    models: tuple[nn.Module, ...] = ()
    single: bool = False
    request: NetworkRequest | None = None
