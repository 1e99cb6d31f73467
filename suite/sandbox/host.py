"""What asks a jail: describes a submission, hands over training data, and checks what comes back.

The submission's code never runs in this process. Of an answer only the weights count: shapes and types must be those of
the network, and a lane has met the stop only if the loss computed here, from the weights, says so.
"""

from __future__ import annotations

import functools
import json
import math
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor, nn

from suite.entries.loading import LoadedSubmission, source_hash, source_of
from suite.errors import InputError
from suite.sandbox import process
from suite.sandbox.limits import Limits
from suite.sandbox.protocol import ANSWER, JOB, WEIGHTS, ArchitectureInterface, Job, RunInput
from suite.sandbox.rebuild import rebuild
from suite.submission import Choice, LogUniform, Submission, Uniform
from suite.task import Task, Weights
from suite.training.loop import TrainingResult, TrainingRun

DISTRIBUTIONS: Mapping[str, Callable[..., Any]] = {
    "LogUniform": LogUniform,
    "Uniform": Uniform,
    "Choice": lambda options: Choice(*options),
}


LOSS_TOLERANCE = 1e-6
"""Relative room between the loss computed inside, perhaps in a batch of lanes, and the one computed here."""


STATUSES = ("converged", "diverged", "budget", "stalled", "raced")


@dataclass(frozen=True)
class SandboxedStub:
    """Stands for code that runs in jails only."""

    text: str

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise InputError(f"The code of {self.text!r} runs isolated, never in this process.")


@dataclass(frozen=True)
class Architecture:
    """Stands for an architecture whose code runs in jails only: a network comes out of there as data.

    It is drawn from the seed of torch's global generator, as the architecture's own code would draw it here.
    """

    text: str
    limits: Limits

    def __call__(self, input_shape: Sequence[int], outputs: int) -> nn.Module:
        found = _network(
            self.text, self.limits, ArchitectureInterface(tuple(input_shape), outputs, torch.initial_seed())
        )
        if isinstance(found, InputError):
            raise found
        return rebuild(*found)


@functools.lru_cache(maxsize=64)
def _network(
    text: str, limits: Limits, slot: ArchitectureInterface
) -> tuple[dict[str, Any], dict[str, Tensor]] | InputError:
    """The description of an architecture's network and its tensors, or why there is none: each slot is asked once."""
    try:
        return _ask(Job(text, limits, slot=slot), "cpu", limits.seconds)
    except InputError as error:
        return error
    except SandboxError as error:
        return InputError(str(error))


class SandboxError(Exception):
    """A jailed process gave no answer; says why."""


@functools.cache
def describe(text: str, limits: Limits, trials: int) -> LoadedSubmission:
    """The submission that `text` names, as its code describes itself in a jail; its optimizer is `SandboxedStub`.

    Raises:
        InputError: it is none, or cannot be built.
    """
    try:
        answer, _ = _ask(Job(text, limits, trials), "cpu", limits.seconds)
        submission = _submission(text, answer, limits)
        place, version = map(str, answer["origin"])
        claimed = str(answer["hash"])
    except (SandboxError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{text}: it cannot be described in isolation ({error}).") from error
    # A file's hash is computed here, from its bytes: what a stranger's code says of itself is no hash.
    return LoadedSubmission(submission, text, source_hash(text, (place, version)) if source_of(text) else claimed)


def _submission(text: str, answer: Mapping[str, Any], limits: Limits) -> Submission:
    optimizes = answer["kind"] == "optimizer"
    return Submission(
        name=answer["name"],
        optimizer=SandboxedStub(text) if optimizes else None,
        architecture=None if optimizes else Architecture(text, limits),
        space={key: _read(value) for key, value in answer["space"].items()},
        explicit=bool(answer["explicit"]),
        description=str(answer["description"]),
    )


def _read(value: dict[str, Any]) -> Any:
    if "value" in value:
        return _tuples(value["value"])
    options = {name: _tuples(option) for name, option in value.items() if name != "distribution"}
    return DISTRIBUTIONS[value["distribution"]](**options)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def train(
    task: Task, text: str, lanes: Sequence[TrainingRun], limits: Limits, device: str, race: bool
) -> list[TrainingResult | Exception]:
    """Train `lanes` in a jail; if it gives no answer, every trial and then every lane in one of its own.

    So a setting that hangs or dies condemns no other.
    """
    trials = list(dict.fromkeys(lane.trial for lane in lanes))
    models = [task.model(lane.problem, lane.seed) for lane in lanes]
    handed = tuple(
        RunInput(
            lane.problem.train, lane.problem.lipschitz, model, lane.stream_seeds(task.name), lane.trial, lane.settings
        )
        for lane, model in zip(lanes, models, strict=True)
    )
    job = Job(text, limits, task=task.name, device=device, race=race, lanes=handed)
    try:
        answer, tensors = _ask(job, device, limits.seconds * len(trials))
        rows = answer["lanes"]
        if len(rows) != len(lanes):
            raise SandboxError("the answer has another number of lanes")
    except (SandboxError, KeyError, TypeError) as error:
        if len(trials) == 1:
            return [RuntimeError(str(error)) for _ in lanes]
        parts = ([lane for lane in lanes if lane.trial == trial] for trial in trials)
        return [result for part in parts for result in train(task, text, part, limits, device, False)]
    return [
        _checked(task, lane, row, _own(tensors, number), {k: v.clone() for k, v in model.state_dict().items()})
        for number, (lane, row, model) in enumerate(zip(lanes, rows, models, strict=True))
    ]


def _own(tensors: Mapping[str, Tensor], number: int) -> Weights:
    prefix = f"{number}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _checked(task: Task, lane: TrainingRun, row: Any, weights: Weights, initial: Weights) -> TrainingResult | Exception:
    """The lane as it is believed: numbers of the right kind, weights of the right shape, the loss computed here."""
    try:
        if "error" in row:
            return RuntimeError(str(row["error"])[:500])
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
        if shapes != {name: (tensor.shape, tensor.dtype) for name, tensor in initial.items()}:
            return RuntimeError("the weights that came back are not those of the network")
        claimed = TrainingResult(
            status=str(row["status"]),
            weights=weights,
            initial=initial,
            train_loss=math.nan if row["train_loss"] is None else float(row["train_loss"]),
            gradient_evaluations=int(row["gradient_evaluations"]),
            steps=int(row["steps"]),
            seconds=float(row["seconds"]),
            stepping=str(row["stepping"])[:40],
            target_evaluations=None if row["target_evaluations"] is None else int(row["target_evaluations"]),
            history=tuple((int(at), float(loss)) for at, loss in row["history"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        return RuntimeError(f"the answer cannot be read ({error})")
    if claimed.status not in STATUSES:
        return RuntimeError(f"the answer has an unknown status {claimed.status[:40]!r}")
    return _believed(task, lane, claimed)


def _believed(task: Task, lane: TrainingRun, claimed: TrainingResult) -> TrainingResult | Exception:
    if not claimed.converged:
        return claimed
    model = task.model(lane.problem, lane.seed)
    model.load_state_dict(claimed.weights)
    with torch.no_grad():
        loss = task.loss(model.eval()(lane.problem.train.x), lane.problem.train.y).item()
    if not loss <= task.target.loss + LOSS_TOLERANCE * abs(task.target.loss):
        return RuntimeError(
            f"it claims to have met the stop, but the training loss of its weights is {loss:g}, not {task.target.loss:g}"
        )
    spent = claimed.target_evaluations
    if claimed.steps < 1 or spent is None or not 0 <= spent <= claimed.gradient_evaluations:
        return RuntimeError("it claims to have met the stop without the steps that this takes")
    return replace(claimed, train_loss=loss)


def _ask(job: Job, device: str, seconds: float) -> tuple[Any, dict[str, Tensor]]:
    """The answer of a jailed process to `job`, and the tensors that came with it.

    Raises:
        SandboxError: it was stopped, died, or wrote nothing that can be read.
        InputError: it says what the user can mend.
    """
    file = source_of(job.submission)
    if file is not None and not file.is_file():
        raise InputError(f"There is no file {file}.")
    package = None if file else job.submission.partition(":")[0].partition(".")[0]
    here = replace(job, submission=_absolute(job.submission, file))
    with tempfile.TemporaryDirectory(prefix="lowlands-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / JOB).write_bytes(pickle.dumps(here))
        ended = process.run(folder, file, package, job.limits, seconds, device)
        if ended.reason is not None:
            raise SandboxError(ended.reason)
        answer, weights = folder / ANSWER, folder / WEIGHTS
        try:
            read = json.loads(_bytes(answer, job.limits.file))
            sent = weights.exists() and (job.slot is not None or (bool(job.lanes) and "lanes" in read))
            tensors = read_tensors(_bytes(weights, job.limits.file)) if sent else {}
        except (OSError, ValueError, TypeError, SafetensorError, RecursionError) as error:
            raise SandboxError("the submission's process ended without an answer that can be read") from error
    if isinstance(read, dict) and isinstance(read.get("error"), str):
        raise (SandboxError if job.lanes else InputError)(read["error"][:500])
    return read, tensors


def _bytes(path: Path, limit: int) -> bytes:
    """The content of a plain file; links are not followed, since the submission may have made them."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
        raise OSError(f"{path.name} is no plain file")
    return path.read_bytes()


def _absolute(text: str, file: Path | None) -> str:
    """`text` with its file as an absolute path: the jail starts in another folder."""
    if file is None:
        return text
    bracket = text.find("[") if text.endswith("]") else -1
    options = text[bracket:] if bracket >= 0 else ""
    return f"{file.resolve()}{options}"
