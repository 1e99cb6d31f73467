"""Asks the sandbox: describes a submission, hands over training data, and checks what comes back.

The submission's code never runs in this process. One question goes like this::

    write the job into a fresh folder
    run a guest on it (`suite.sandbox.process`), with limits and a time limit
    read answer.json and weights.safetensors; unreadable files are a `SandboxError`
    for each run: the types of the numbers and the shapes of the weights must be right
    if a run claims that it reached the target loss: compute the loss from its weights
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
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from suite.entries.loading import LoadedSubmission, source_hash, source_of
from suite.errors import InputError
from suite.sandbox import process
from suite.sandbox.limits import Limits
from suite.sandbox.protocol import ANSWER, JOB, WEIGHTS, Job, NetworkRequest, RunInput
from suite.sandbox.rebuild import rebuild
from suite.storage.record import Status, as_settings
from suite.submission import Choice, LogUniform, Submission, Uniform
from suite.task import Task, Weights
from suite.training import Stepping, TrainingResult, TrainingRun
from suite.training.retry import by_trial, train_in_parts

DISTRIBUTIONS: Mapping[str, Callable[..., Any]] = {
    "LogUniform": LogUniform,
    "Uniform": Uniform,
    "Choice": lambda options: Choice(*options),
}


LOSS_TOLERANCE = 1e-6
"""Relative difference allowed between the loss that the guest computed, perhaps in a batch of runs, and the host's."""


class SandboxError(Exception):
    """A guest gave no answer; says why."""


@dataclass(frozen=True)
class SandboxedStub:
    """Stands for an optimizer whose code runs in the sandbox only."""

    text: str

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise InputError(f"The code of {self.text!r} runs in the sandbox, never in this process.")


@dataclass(frozen=True)
class SandboxedArchitecture:
    """Stands for an architecture whose code runs in the sandbox only: its network comes out as data.

    It is drawn from the seed of torch's global generator, as the architecture's code would draw it here.
    """

    text: str
    limits: Limits

    def __call__(self, input_shape: Sequence[int], outputs: int) -> nn.Module:
        request = NetworkRequest(tuple(input_shape), outputs, torch.initial_seed())
        answer = _network(self.text, self.limits, request)
        if isinstance(answer, InputError):
            raise answer
        return rebuild(*answer)


@functools.lru_cache(maxsize=64)
def _network(
    text: str, limits: Limits, request: NetworkRequest
) -> tuple[dict[str, Any], dict[str, Tensor]] | InputError:
    """The description of a network and its tensors, or why there is none; errors are cached too."""
    try:
        return _ask(Job(text, limits, request=request), limits.seconds)
    except InputError as error:
        return error
    except SandboxError as error:
        return InputError(str(error))


@functools.cache
def describe(text: str, limits: Limits, trials: int) -> LoadedSubmission:
    """The submission that `text` names, as its code describes itself in the sandbox.

    Its optimizer is a `SandboxedStub`, its architecture a `SandboxedArchitecture`.

    Raises:
        InputError: it is no submission, or none of its first `trials` settings can be built.
    """
    try:
        answer, _ = _ask(Job(text, limits, trials), limits.seconds)
        submission = _submission(text, answer, limits)
        place, version = map(str, answer["origin"])
        claimed_hash = str(answer["hash"])
    except (SandboxError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{text}: it cannot be described in the sandbox ({error}).") from error
    # A file is hashed here, from its bytes: the guest could claim any hash.
    return LoadedSubmission(submission, text, source_hash(text, (place, version)) if source_of(text) else claimed_hash)


def _submission(text: str, answer: Mapping[str, Any], limits: Limits) -> Submission:
    optimizes = answer["kind"] == "optimizer"
    return Submission(
        name=answer["name"],
        optimizer=SandboxedStub(text) if optimizes else None,
        architecture=None if optimizes else SandboxedArchitecture(text, limits),
        space={name: _space_entry(value) for name, value in answer["space"].items()},
        explicit=bool(answer["explicit"]),
        description=str(answer["description"]),
    )


def _space_entry(value: dict[str, Any]) -> Any:
    """A distribution or a plain value of a space, from JSON."""
    if "value" in value:
        return as_settings(value["value"])
    options = {name: as_settings(option) for name, option in value.items() if name != "distribution"}
    return DISTRIBUTIONS[value["distribution"]](**options)


def train(
    task: Task, text: str, runs: Sequence[TrainingRun], limits: Limits, device: str, race: bool
) -> list[TrainingResult | Exception]:
    """Train `runs` in a guest; if it gives no answer, every trial in a guest of its own.

    So a setting that hangs or dies does not fail the others.
    """

    def train_in_guest(part: Sequence[TrainingRun]) -> list[TrainingResult | Exception]:
        models = [task.model(run.problem, run.seed) for run in part]
        inputs = tuple(
            RunInput(
                run.problem.train, run.problem.lipschitz, model, run.stream_seeds(task.name), run.trial, run.settings
            )
            for run, model in zip(part, models, strict=True)
        )
        job = Job(text, limits, task=task.name, device=device, race=race, runs=inputs)
        try:
            answer, tensors = _ask(job, limits.seconds * len(by_trial(part)))
            rows = answer["runs"]
            if len(rows) != len(part):
                raise SandboxError("the answer has another number of runs")
        except (SandboxError, KeyError, TypeError) as error:
            raise RuntimeError(str(error)) from error
        return [
            _result(task, run, row, _weights_of(tensors, number), {k: v.clone() for k, v in model.state_dict().items()})
            for number, (run, row, model) in enumerate(zip(part, rows, models, strict=True))
        ]

    return train_in_parts(runs, train_in_guest, by_trial, RuntimeError)


def _weights_of(tensors: Mapping[str, Tensor], number: int) -> Weights:
    """The weights of the run with this number."""
    prefix = f"{number}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _result(task: Task, run: TrainingRun, row: Any, weights: Weights, initial: Weights) -> TrainingResult | Exception:
    """What is believed of a run: numbers of the right types, weights of the right shapes, the loss computed here."""
    try:
        if "error" in row:
            return RuntimeError(str(row["error"])[:500])
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
        if shapes != {name: (tensor.shape, tensor.dtype) for name, tensor in initial.items()}:
            return RuntimeError("the weights that came back are not those of the network")
        status, stepping = Status(row["status"]), row["stepping"]
        if not status.trained or stepping not in get_args(Stepping):
            raise ValueError(f"{status}, {str(stepping)[:40]}")
        claim = TrainingResult(
            status=status,
            weights=weights,
            initial=initial,
            train_loss=math.nan if row["train_loss"] is None else float(row["train_loss"]),
            gradient_evaluations=int(row["gradient_evaluations"]),
            steps=int(row["steps"]),
            seconds=float(row["seconds"]),
            stepping=stepping,
            target_evaluations=None if row["target_evaluations"] is None else int(row["target_evaluations"]),
            history=tuple((int(at), float(loss)) for at, loss in row["history"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        return RuntimeError(f"the answer cannot be read ({error})")
    return _with_own_loss(task, run, claim) if claim.converged else claim


def _with_own_loss(task: Task, run: TrainingRun, claim: TrainingResult) -> TrainingResult | Exception:
    """A claim to have reached the target loss, with the loss computed here; an error if that is above the target."""
    model = task.model(run.problem, run.seed)
    model.load_state_dict(claim.weights)
    with torch.no_grad():
        loss = task.loss(model.eval()(run.problem.train.x), run.problem.train.y).item()
    target = task.target.loss
    if not loss <= target + LOSS_TOLERANCE * abs(target):
        return RuntimeError(
            f"it claims to have reached the target loss {target:g}, but the training loss of its weights is {loss:g}"
        )
    spent = claim.target_evaluations
    if claim.steps < 1 or spent is None or not 0 <= spent <= claim.gradient_evaluations:
        return RuntimeError("it claims to have reached the target loss without the steps that this takes")
    return replace(claim, train_loss=loss)


def _ask(job: Job, seconds: float) -> tuple[Any, dict[str, Tensor]]:
    """The answer of a guest to `job`, and the tensors that came with it.

    Raises:
        SandboxError: the guest was stopped, died, or wrote nothing that can be read.
        InputError: the guest names a mistake that the user can mend.
    """
    file = source_of(job.submission)
    if file is not None and not file.is_file():
        raise InputError(f"There is no file {file}.")
    package = None if file else job.submission.partition(":")[0].partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="lowlands-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / JOB).write_bytes(pickle.dumps(replace(job, submission=_absolute(job.submission, file))))
        failure = process.run(folder, file, package, job.limits, seconds, job.device)
        if failure is not None:
            raise SandboxError(failure)
        weights_file = folder / WEIGHTS
        try:
            answer = json.loads(_content(folder / ANSWER, job.limits.file))
            expected = job.request is not None or (bool(job.runs) and "runs" in answer)
            tensors = (
                parse_tensors(_content(weights_file, job.limits.file)) if expected and weights_file.exists() else {}
            )
        except (OSError, ValueError, TypeError, SafetensorError, RecursionError) as error:
            raise SandboxError("the submission's process ended without an answer that can be read") from error
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        raise (SandboxError if job.runs else InputError)(answer["error"][:500])
    return answer, tensors


def _content(path: Path, limit: int) -> bytes:
    """The content of a plain file; links are not followed, since the submission may have made them."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
        raise OSError(f"{path.name} is no plain file")
    return path.read_bytes()


def _absolute(text: str, file: Path | None) -> str:
    """`text` with its file as an absolute path: the guest starts in another folder."""
    if file is None:
        return text
    bracket = text.find("[") if text.endswith("]") else -1
    return f"{file.resolve()}{text[bracket:] if bracket >= 0 else ''}"
