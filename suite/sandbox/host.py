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
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from suite.entries.description import Described, described
from suite.entries.loading import LoadedSubmission, source_of
from suite.errors import InputError, RunError, ShapeError
from suite.models import hold
from suite.sandbox import process
from suite.sandbox.answers import Failed, Runs, T, Trained, decode, groups_of, snapshots_of
from suite.sandbox.limits import Limits
from suite.sandbox.network import Network
from suite.sandbox.process import SandboxError, printable
from suite.sandbox.protocol import Job, NetworkRequest
from suite.sandbox.rebuild import rebuild
from suite.sandbox.service import GradientService
from suite.signature import TOKENS
from suite.storage.record import Status
from suite.task import Problem, Split, Task, Weights
from suite.training import TrainingResult, TrainingRun
from suite.training.equivalence import supports_vmap, vmap_is_faster
from suite.training.retry import by_run, by_trial, train_in_parts


def _sandboxed_architecture(text: str, limits: Limits, input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Stands for an architecture whose code runs in the sandbox only: its network comes out as data."""
    shape = tuple(input_shape)
    return _drawn_in_sandbox(text, limits, (shape, outputs), shape)


def _sandboxed_language_model(text: str, limits: Limits, vocabulary: int, context: int) -> nn.Module:
    """The same for an architecture of token sequences."""
    return _drawn_in_sandbox(text, limits, (vocabulary, context), (context,), vocabulary)


def _drawn_in_sandbox(
    text: str, limits: Limits, arguments: tuple[Any, Any], input_shape: tuple[int, ...], vocabulary: int = 0
) -> nn.Module:
    """The network that an architecture makes of `arguments`.

    It is drawn from the seed of torch's global generator, as the architecture's code would draw it here.
    """
    request = NetworkRequest(arguments, input_shape, vocabulary, torch.initial_seed())
    answer = _network(Job(text, limits, request=request))
    if isinstance(answer, InputError):
        raise answer
    network, tensors = answer
    return rebuild(network, tensors, input_shape, vocabulary)


@functools.lru_cache(maxsize=64)
def _network(job: Job) -> tuple[Network, dict[str, Tensor]] | InputError:
    """The description of a network and its tensors, or why there is none; errors are cached too."""
    try:
        return _ask(job, job.limits.seconds, Network)
    except SandboxError as error:
        return InputError(str(error))
    except InputError as error:
        return error


@functools.cache
def describe(text: str, limits: Limits, trials: int) -> LoadedSubmission:
    """The submission that `text` names, as its code describes itself in the sandbox; no code of it runs here.

    Raises:
        InputError: it is no submission, or none of its first `trials` settings can be built.
    """
    try:
        answer, _ = _ask(Job(text, limits, trials), limits.seconds, Described)
        description = "\n".join(map(printable, answer.description.splitlines()))
        notes = tuple(printable(note)[:1_000] for note in answer.notes)
        answer = msgspec.structs.replace(answer, description=description, notes=notes)
        of_tokens = set(answer.arguments) >= TOKENS
        stand_in = _sandboxed_language_model if of_tokens else _sandboxed_architecture
        return described(answer, text, trials, partial(stand_in, text, limits))
    except (SandboxError, TypeError, ValueError) as error:
        raise InputError(f"{text}: it cannot be described in the sandbox ({error}).") from error


def train(
    task: Task, text: str, runs: Sequence[TrainingRun], limits: Limits, device: str, race: bool
) -> list[TrainingResult | Exception]:
    """Train `runs` in a guest, to which this process gives losses and gradients and no data.

    If a guest gives no answer, every trial has a guest of its own, so that a setting that hangs or dies does not fail
    the others. Where the submission raises, or its runs cannot be trained as one program, every run has one: what it
    has seen of the others' does not help it. An error takes the place of a result that is not believed.
    """

    def train_in_guests(part: Sequence[TrainingRun]) -> list[TrainingResult | Exception]:
        return train_in_parts(part, partial(_train_in_guest, task, text, limits, device, race), by_run, _Again)

    return train_in_parts(runs, train_in_guests, by_trial, RuntimeError)


class _Again(Exception):
    """Each of several runs is to be trained in a guest of its own."""


def _train_in_guest(
    task: Task, text: str, limits: Limits, device: str, race: bool, runs: Sequence[TrainingRun]
) -> list[TrainingResult | Exception]:
    """Train `runs` in one guest."""
    batched = len(runs) > 1 and supports_vmap(task, runs[0], device) and vmap_is_faster(task, runs, device)
    models = [task.model(run.problem, run.seed) for run in runs]
    inputs = []
    for number, run in enumerate(runs):
        visible = Problem(_without_values(run.problem.train), lipschitz=run.problem.lipschitz)
        # The run's number stands for its seed, which would reveal the data.
        inputs.append(replace(run, problem=visible, seed=number, streams=run.stream_seeds(task.name)))
    seconds, networks = limits.seconds * len(by_trial(runs)), tuple(models)
    single = task.dtype == torch.float32
    job = Job(text, limits, 1, task.name, device, race, batched, runs=tuple(inputs), models=networks, single=single)
    service = GradientService(task, runs, device)
    try:
        answer, _ = _ask(job, seconds, Runs, service)
    except SandboxError as error:
        raise RuntimeError(str(error)) from error
    if len(runs) > 1 and (answer.alone or all(isinstance(row, Failed) for row in answer.runs)):
        raise _Again
    _require_all(answer, runs)
    rows: list[Trained | Failed] = []
    weights: Weights = {}
    for number, row in enumerate(answer.runs):
        counted, own = service.outcome(number)
        weights |= {f"{number}/{name}": tensor for name, tensor in own.items()}
        # The gradient that comes with the loss at which a run ends is not counted: no step is taken with it.
        impossible = isinstance(row, Trained) and row.gradient_evaluations < counted - 1
        rows.append(Failed("it has asked for more gradients than it says") if impossible else row)
    steps = [row.steps if isinstance(row, Trained) else 0 for row in answer.runs]
    if service.tried_too_much(steps):
        rows = [Failed("it has asked for more gradients beside its training than it takes to try it out")] * len(rows)
    return results_of(Runs(tuple(rows)), weights, runs, [hold(model) for model in models], seconds)


def _require_all(answer: Runs, runs: Sequence[TrainingRun]) -> None:
    """Refuse an answer that is not one to so many runs."""
    if len(answer.runs) != len(runs):
        raise RuntimeError("the answer has another number of runs")


def _without_values(split: Split) -> Split:
    """Samples of the same number, shapes and types that have no values."""
    return Split(torch.empty_like(split.x, device="meta"), torch.empty_like(split.y, device="meta"))


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
    _require_all(answer, runs)
    results, groups = [], groups_of(tensors)
    for number, (run, row) in enumerate(zip(runs, answer.runs, strict=True)):
        weights, initial = groups.get(str(number), {}), initials[number] if initials else None
        result = _result(row, weights, initial, seconds, run.probed)
        if run.traced is not None and isinstance(row, Trained) and isinstance(result, TrainingResult):
            result = replace(result, snapshots=snapshots_of(number, row, groups))
        results.append(result)
    return results


def _result(
    row: Trained | Failed, weights: Weights, initial: Weights | None, seconds: float, probed: bool
) -> TrainingResult | Exception:
    """What is believed of a run: numbers that are possible, and weights of the right shapes.

    Whether a run that claims to have converged has done so, its weights say: `suite.trials.evaluate` judges them.
    """
    if isinstance(row, Failed):
        trace = "\n".join(map(printable, row.trace.split("\n")))
        return RunError(printable(row.reason)[:500], trace)
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
        placement={_name(name): count for name, count in row.placement.items()},
        implementations={_name(name): _name(package) for name, package in row.implementations.items()},
        probe=row.probe if probed else None,
    )


def _shapes(weights: Weights) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def _name(word: str) -> str:
    """A name that can stand in a record and in a table."""
    return printable(word) or "unnamed"


def _number(value: float | None) -> float:
    """A loss; JSON has null where it is not finite."""
    return math.nan if value is None else value


def _ask(
    job: Job, seconds: float, kind: type[T], service: GradientService | None = None
) -> tuple[T, dict[str, Tensor]]:
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
    data = process.run(pickle.dumps(job), file, package, job.limits, seconds, job.device, service)
    try:
        answer, tensors = decode(data, kind)
    except ValueError as error:
        reason = printable(str(error))[:300]
        raise SandboxError(f"the submission's process ended without an answer that can be read ({reason})") from error
    if isinstance(answer, Failed):
        reason = printable(answer.reason)[:500]
        raise SandboxError(reason) if job.runs else (ShapeError if answer.of_shape else InputError)(reason)
    return answer, tensors
