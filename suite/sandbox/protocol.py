"""What goes into the sandbox and comes out of it: the job, the files, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from suite.sandbox.limits import Limits
from suite.task import Split

JOB = "job.pickle"


ANSWER = "answer.json"


WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class RunInput:
    """One lane as it is handed in: training data, the initial network, and seeds that tell nothing of the data."""

    train: Split
    lipschitz: float
    model: nn.Module
    streams: Mapping[str, int]
    trial: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ArchitectureInterface:
    """What an architecture is asked for: its network for inputs and outputs of these sizes, drawn from `seed`."""

    input_shape: tuple[int, ...]
    outputs: int
    seed: int


@dataclass(frozen=True)
class Job:
    """What is asked: with lanes, to train them; with a slot, a network for it; else, what the submission is."""

    submission: str
    limits: Limits
    trials: int = 1
    task: str = ""
    device: str = "cpu"
    race: bool = False
    lanes: tuple[RunInput, ...] = field(default_factory=tuple)
    slot: ArchitectureInterface | None = None
