"""Asks the sandbox: describes a submission, hands over training data, and checks what comes back.

The submission's code never runs in this process. One question goes like this::

    run a guest on the job (`suite.sandbox.process`), with limits and a time limit
    decode its answer (`suite.sandbox.answers`); what is not of the format is a `SandboxError`
    for each run: the numbers must be possible, and the shapes of the weights right
"""

from __future__ import annotations

import functools
import math
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import msgspec
import torch
from torch import Tensor, nn

from suite.entries.description import Described, described
from suite.entries.loading import LoadedSubmission, source_of
from suite.errors import InputError
from suite.models import hold
from suite.sandbox import process
from suite.sandbox.answers import Failed, Runs, T, Trained, decode
from suite.sandbox.limits import Limits
from suite.sandbox.network import Network
from suite.sandbox.process import SandboxError, printable
from suite.sandbox.protocol import Job, NetworkRequest
from suite.sandbox.rebuild import rebuild
from suite.storage.record import Status
from suite.task import Problem, Task, Weights
from suite.training import TrainingResult, TrainingRun
from suite.training.retry import by_trial, train_in_parts


def _sandboxed_architecture(text: str, limits: Limits, input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Stands for an architecture whose code runs in the sandbox only: its network comes out as data.

    It is drawn from the seed of torch's global generator, as the architecture's code would draw it here.
    """
    answer = _network(Job(text, limits, request=NetworkRequest(tuple(input_shape), outputs, torch.initial_seed())))
    if isinstance(answer, InputError):
        raise answer
    network, tensors = answer
    return rebuild(network, tensors, tuple(input_shape))


@functools.lru_cache(maxsize=64)
def _network(job: Job) -> tuple[Network, dict[str, Tensor]] | InputError:
    """The description of a network and its tensors, or why there is none; errors are cached too."""
    try:
        return _ask(job, job.limits.seconds, Network)
    except (InputError, SandboxError) as error:
        return InputError(str(error))


@functools.cache
def describe(text: str, limits: Limits, trials: int) -> LoadedSubmission:
    """The submission that `text` names, as its code describes itself in the sandbox; no code of it runs here.

    Raises:
        InputError: it is no submission, or none of its first `trials` settings can be built.
    """
    try:
        answer, _ = _ask(Job(text, limits, trials), limits.seconds, Described)
        description = "\n".join(map(printable, answer.description.splitlines()))
        answer = msgspec.structs.replace(answer, description=description)
        return described(answer, text, trials, partial(_sandboxed_architecture, text, limits))
    except (SandboxError, TypeError, ValueError) as error:
        raise InputError(f"{text}: it cannot be described in the sandbox ({error}).") from error


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
        seconds = limits.seconds * len(by_trial(part))
        job = Job(text, limits, task=task.name, device=device, race=race, runs=tuple(inputs), models=tuple(models))
        try:
            answer, tensors = _ask(job, seconds, Runs)
        except SandboxError as error:
            raise RuntimeError(str(error)) from error
        return results_of(answer, tensors, part, [hold(model) for model in models], seconds)

    return train_in_parts(runs, train_in_guest, by_trial, RuntimeError)


def results_of(
    answer: Runs, tensors: Weights, runs: Sequence[TrainingRun], initials: Sequence[Weights] = (), seconds: float = 1e9
) -> list[TrainingResult | Exception]:
    """What is believed of the answer of a process that trained `runs`; an error in the place of what is not.

    Args:
        initials: the initial weights of each run; none where the networks of the runs are not known (an architecture's
            code draws them): then whoever puts the weights into a network checks their shapes.
        seconds: how long the process ran, at most.

    Raises:
        RuntimeError: it is the answer to another question.
    """
    if len(answer.runs) != len(runs):
        raise RuntimeError("the answer has another number of runs")
    results = []
    for number, (run, row) in enumerate(zip(runs, answer.runs, strict=True)):
        prefix = f"{number}/"
        weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        results.append(_result(row, weights, initials[number] if initials else None, seconds, run.probed))
    return results


def _result(
    row: Trained | Failed, weights: Weights, initial: Weights | None, seconds: float, probed: bool
) -> TrainingResult | Exception:
    """What is believed of a run: numbers that are possible, and weights of the right shapes.

    Whether a run that claims to have converged has done so, its weights say: `suite.trials.evaluate` judges them.
    """
    if isinstance(row, Failed):
        return RuntimeError(printable(row.reason)[:500])
    if initial is not None and _shapes(weights) != _shapes(initial):
        return RuntimeError("the weights that came back are not those of the network")
    evaluations = [0, *(at for at, _ in row.history), row.gradient_evaluations]
    if row.seconds > seconds or evaluations != sorted(evaluations):
        return RuntimeError("the answer has numbers that are impossible")
    spent = row.target_evaluations
    least = 0 if initial is None else 1  # the task's own networks are not at the target loss before they are trained
    if row.status == "converged" and (row.steps < least or spent is None or spent > row.gradient_evaluations):
        return RuntimeError("it claims to have reached the target loss without the steps that this takes")
    return TrainingResult(
        status=Status(row.status),
        weights=weights,
        initial=initial or {},
        train_loss=_number(row.train_loss),
        gradient_evaluations=row.gradient_evaluations,
        steps=row.steps,
        seconds=row.seconds,
        stepping=row.stepping,
        target_evaluations=row.target_evaluations,
        history=tuple((at, _number(loss)) for at, loss in row.history),
        placement=row.placement,
        probe=row.probe if probed else None,
    )


def _shapes(weights: Weights) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def _number(value: float | None) -> float:
    """A loss; JSON has null where it is not finite."""
    return math.nan if value is None else value


def _ask(job: Job, seconds: float, kind: type[T]) -> tuple[T, dict[str, Tensor]]:
    """The answer of a guest to `job`, of the type `kind`, and the tensors that came with it.

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
    data = process.run(pickle.dumps(job), file, package, job.limits, seconds, job.device)
    try:
        answer, tensors = decode(data, kind)
    except ValueError as error:
        reason = printable(str(error))[:300]
        raise SandboxError(f"the submission's process ended without an answer that can be read ({reason})") from error
    if isinstance(answer, Failed):
        raise (SandboxError if job.runs else InputError)(printable(answer.reason)[:500])
    return answer, tensors
