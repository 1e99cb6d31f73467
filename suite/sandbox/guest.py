"""What runs in the sandbox: loads the submission, carries out the job, and writes weights and plain numbers.

The submission may patch everything here once it is loaded; the host believes no more than the weights.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

from suite.entries import load
from suite.entries.description import describe
from suite.entries.entry import bind
from suite.errors import InputError, ShapeError, refusal, sentence, trace_of
from suite.kernels.malloc import disable_trim
from suite.models import copy_of
from suite.sandbox.answers import Answer, Failed, Runs, encode, of_results
from suite.sandbox.export import describe as describe_network
from suite.sandbox.limits import apply, die_with_parent
from suite.sandbox.network import Network
from suite.sandbox.protocol import Job, NetworkRequest
from suite.sandbox.remote import AnotherProcess, Connection, RemoteSource
from suite.sandbox.tamper import identities, patched
from suite.training import train
from suite.training.loop import warm_up
from suite.training.single_precision import in_single_precision


def prepare() -> None:
    """Import what every guest needs, before it is known what one does: no data, and no submission."""
    from suite.tasks import task_functions  # imports every task's file

    task_functions()
    warm_up()
    identities()


def main(answer: int) -> None:
    """Carry out the job that the standard input holds, and write the answer to the open file `answer`."""
    job: Job = pickle.load(sys.stdin.buffer)  # written by the host, which is trusted
    channel = socket.socket(fileno=os.dup(0)) if job.runs else None
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    die_with_parent()
    apply(job.limits)
    disable_trim()
    tensors: dict[str, Tensor] = {}
    result: Answer
    try:
        if job.request is not None:
            result, tensors = _network(job.submission, job.request)
        elif channel is not None:
            result = _train(job, Connection(channel))
        else:
            result = describe(job.submission, job.trials)
    except (InputError, MemoryError) as error:
        result, tensors = Failed(sentence(error), of_shape=isinstance(error, ShapeError)), {}
    with open(answer, "wb") as stream:
        stream.write(encode(result, tensors))


def _network(submission: str, request: NetworkRequest) -> tuple[Network, dict[str, Tensor]]:
    """The network that an architecture draws, as data."""
    architecture = load(submission).submission.architecture
    assert architecture is not None
    torch.manual_seed(request.seed)
    try:
        model = architecture(*request.arguments)
    except Exception as error:
        raise refusal(sentence(error), error) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"it returned a {type(model).__name__}, not an nn.Module")
    return describe_network(model, request.input_shape, request.vocabulary)


def _train(job: Job, connection: Connection) -> Runs:
    """How every run ended, but for its weights, which the host has; or the error of all."""
    from suite.tasks import find_task  # imports every task's file, which the other jobs do without

    task = in_single_precision(find_task(job.task)) if job.single else find_task(job.task)
    warm_up()  # first: it replaces functions of torch
    before = identities()
    entry = bind(load(job.submission).submission, task)
    task = replace(entry.task, model=lambda problem, seed: copy_of(job.models[seed]))
    optimizer, runs = entry.optimizer, job.runs
    if optimizer.loss is not None:
        raise InputError("a loss of the submission's own cannot be isolated: it would need the data")
    source = RemoteSource(connection, runs)
    try:
        results = train(
            task, runs, entry.make, job.device, job.batched, job.race, schedule=optimizer.schedule, source=source
        )
    except AnotherProcess:
        return Runs((), alone=True)
    except Exception as error:
        return Runs((Failed(sentence(error), trace_of(error)),) * len(runs))
    if (name := patched(before)) is not None:
        raise InputError(f"the submission replaced {name}")
    return of_results([replace(result, weights={}) for result in results])[0]
