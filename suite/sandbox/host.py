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
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from suite.entries.loading import LoadedSubmission, source_hash, source_of
from suite.errors import InputError
from suite.models import hold, restore
from suite.sandbox import process
from suite.sandbox.limits import Limits
from suite.sandbox.protocol import ANSWER, JOB, WEIGHTS, Job, NetworkRequest
from suite.sandbox.rebuild import rebuild
from suite.storage.record import Status, as_settings
from suite.submission import Distribution, Submission
from suite.task import Problem, Task, Weights
from suite.training import Stepping, TrainingResult, TrainingRun
from suite.training.retry import by_trial, train_in_parts

DISTRIBUTIONS = {distribution.__name__: distribution for distribution in get_args(Distribution)}

LOSS_TOLERANCE = 1e-6
"""Relative difference allowed between the loss that the guest computed, perhaps in a batch of runs, and the host's."""


class SandboxError(Exception):
    """A guest gave no answer; says why."""


def _sandboxed_optimizer(text: str, *_: Any, **__: Any) -> Any:
    """Stands for an optimizer whose code runs in the sandbox only."""
    raise InputError(f"The code of {text!r} runs in the sandbox, never in this process.")


def _sandboxed_architecture(text: str, limits: Limits, input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Stands for an architecture whose code runs in the sandbox only: its network comes out as data.

    It is drawn from the seed of torch's global generator, as the architecture's code would draw it here.
    """
    answer = _network(Job(text, limits, request=NetworkRequest(tuple(input_shape), outputs, torch.initial_seed())))
    if isinstance(answer, InputError):
        raise answer
    return rebuild(*answer)


@functools.lru_cache(maxsize=64)
def _network(job: Job) -> tuple[dict[str, Any], dict[str, Tensor]] | InputError:
    """The description of a network and its tensors, or why there is none; errors are cached too."""
    try:
        return _ask(job, job.limits.seconds)
    except (InputError, SandboxError) as error:
        return InputError(str(error))


@functools.cache
def describe(text: str, limits: Limits, trials: int) -> LoadedSubmission:
    """The submission that `text` names, as its code describes itself in the sandbox; no code of it runs here.

    Raises:
        InputError: it is no submission, or none of its first `trials` settings can be built.
    """
    try:
        answer, _ = _ask(Job(text, limits, trials), limits.seconds)
        optimizes = answer["kind"] == "optimizer"
        submission = Submission(
            name=answer["name"],
            optimizer=partial(_sandboxed_optimizer, text) if optimizes else None,
            architecture=None if optimizes else partial(_sandboxed_architecture, text, limits),
            space={name: _space_entry(value) for name, value in answer["space"].items()},
            explicit=bool(answer["explicit"]),
            description=str(answer["description"]),
        )
        place, version = map(str, answer["origin"])
        claimed_hash = str(answer["hash"])
    except (SandboxError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{text}: it cannot be described in the sandbox ({error}).") from error
    # A file is hashed here, from its bytes: the guest could claim any hash.
    return LoadedSubmission(submission, text, source_hash(text, (place, version)) if source_of(text) else claimed_hash)


def _space_entry(value: dict[str, Any]) -> Any:
    """A distribution or a plain value of a space, from JSON."""
    ((kind, content),) = value.items()
    arguments = as_settings(content)
    return arguments if kind == "value" else DISTRIBUTIONS[kind](*arguments)


def train(
    task: Task, text: str, runs: Sequence[TrainingRun], limits: Limits, device: str, race: bool
) -> list[TrainingResult | Exception]:
    """Train `runs` in a guest; if it gives no answer, every trial in a guest of its own.

    So a setting that hangs or dies does not fail the others. An error takes the place of a result that is not believed.
    """

    def train_in_guest(part: Sequence[TrainingRun]) -> list[TrainingResult | Exception]:
        models = [task.model(run.problem, run.seed) for run in part]
        inputs = []
        for number, run in enumerate(part):
            visible = Problem(run.problem.train, lipschitz=run.problem.lipschitz)
            # The run's number stands for its seed, which would reveal the data.
            inputs.append(replace(run, problem=visible, seed=number, streams=run.stream_seeds(task.name)))
        job = Job(text, limits, task=task.name, device=device, race=race, runs=tuple(inputs), models=tuple(models))
        try:
            answer, tensors = _ask(job, limits.seconds * len(by_trial(part)))
            rows = answer["runs"]
            if len(rows) != len(part):
                raise SandboxError("the answer has another number of runs")
        except (SandboxError, KeyError, TypeError) as error:
            raise RuntimeError(str(error)) from error
        results = []
        for number, (run, row, model) in enumerate(zip(part, rows, models, strict=True)):
            prefix = f"{number}/"
            weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            initial = hold(model)
            results.append(_result(task, run, row, weights, initial))
        return results

    return train_in_parts(runs, train_in_guest, by_trial, RuntimeError)


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
    return _verify(task, run, claim) if claim.converged else claim


def _verify(task: Task, run: TrainingRun, claim: TrainingResult) -> TrainingResult | Exception:
    """A claim to have reached the target loss, with the loss computed here; an error if that is above the target."""
    model = task.model(run.problem, run.seed)
    restore(model, claim.weights)
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

    A `SandboxError` says that the guest was stopped, died, or wrote nothing that can be read; an `InputError` names a
    mistake that the user can mend.
    """
    file, package = source_of(job.submission), None
    if file is None:
        package = job.submission.partition(":")[0].partition(".")[0]
    elif file.is_file():
        settings = re.search(r"\[.*\]$", job.submission)  # the guest starts in another folder: the path is absolute
        job = replace(job, submission=f"{file.resolve()}{settings[0] if settings else ''}")
    else:
        raise InputError(f"There is no file {file}.")
    with tempfile.TemporaryDirectory(prefix="lowlands-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / JOB).write_bytes(pickle.dumps(job))
        if (failure := process.run(folder, file, package, seconds, job.device)) is not None:
            raise SandboxError(failure)
        try:
            answer, tensors = json.loads(_content(folder / ANSWER, job.limits.file)), {}
            expected = job.request is not None or (bool(job.runs) and "runs" in answer)
            if expected and (folder / WEIGHTS).exists():
                tensors = parse_tensors(_content(folder / WEIGHTS, job.limits.file))
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
