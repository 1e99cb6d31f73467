"""What runs in the sandbox: loads the submission, carries out the job, and writes weights and plain numbers.

The submission may patch everything here once it is loaded; the host believes no more than the weights.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from suite.entries import load
from suite.entries.checks import check_settings
from suite.entries.entry import bind
from suite.entries.loading import origin_of
from suite.errors import InputError, sentence
from suite.kernels.malloc import disable_trim
from suite.models import copy_of
from suite.sandbox.export import describe
from suite.sandbox.limits import apply, die_with_parent
from suite.sandbox.protocol import ANSWER, JOB, WEIGHTS, Job, NetworkRequest
from suite.sandbox.tamper import identities, patched
from suite.submission import Choice, Distribution
from suite.training import train
from suite.training.loop import warm_up
from suite.training.retry import by_run, train_in_parts


def main(folder: str) -> None:
    """Carry out the job in `folder` and write the answer there."""
    directory = Path(folder)
    job: Job = pickle.loads((directory / JOB).read_bytes())  # written by the host, which is trusted
    die_with_parent()
    apply(job.limits)
    disable_trim()
    try:
        if job.request is not None:
            answer = _network(job.submission, job.request, directory)
        else:
            answer = _train(job, directory) if job.runs else _description(job)
    except (InputError, MemoryError) as error:
        answer = {"error": sentence(error)}
    (directory / ANSWER).write_text(json.dumps(answer))


def _description(job: Job) -> dict[str, Any]:
    """What the submission is, as `suite.sandbox.host.describe` reads it."""
    loaded = load(job.submission)
    submission = loaded.submission
    check_settings(submission, job.trials)
    return {
        "name": submission.name,
        "kind": submission.kind,
        "explicit": submission.explicit,
        "description": submission.description,
        "space": {name: _space_entry(value) for name, value in submission.space.items()},
        "origin": origin_of(submission),
        "hash": loaded.source_hash,
    }


def _space_entry(value: Any) -> dict[str, Any]:
    """A distribution or a plain value of a space as JSON can hold it."""
    if isinstance(value, Choice):
        return {"Choice": value.options}
    return {type(value).__name__: astuple(value)} if isinstance(value, Distribution) else {"value": value}


def _network(submission: str, request: NetworkRequest, directory: Path) -> dict[str, Any]:
    """The network that an architecture draws, as data; its tensors go into `WEIGHTS`."""
    architecture = load(submission).submission.architecture
    assert architecture is not None
    torch.manual_seed(request.seed)
    try:
        model = architecture(request.input_shape, request.outputs)
    except Exception as error:
        raise InputError(sentence(error)) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"it returned a {type(model).__name__}, not an nn.Module")
    description, tensors = describe(model, request.input_shape)
    save_file(tensors, directory / WEIGHTS)
    return description


def _train(job: Job, directory: Path) -> dict[str, Any]:
    """The result or the error of every run; the weights go into `WEIGHTS`."""
    from suite.tasks import find_task  # imports every task's file, which the other jobs do without

    task = find_task(job.task)
    warm_up()  # first: it replaces functions of torch
    before = identities()
    entry = bind(load(job.submission).submission, task)
    task = replace(entry.task, model=lambda problem, seed: copy_of(job.models[seed]))
    schedule, loss = entry.optimizer.schedule, entry.optimizer.loss
    train_batch = partial(train, task, make=entry.make, device=job.device, race=job.race, schedule=schedule, loss=loss)
    results = train_in_parts(job.runs, train_batch, by_run)
    if (name := patched(before)) is not None:
        raise InputError(f"the submission replaced {name}")
    weights: dict[str, Tensor] = {}
    answers = []
    for number, result in enumerate(results):
        if isinstance(result, Exception):
            answers.append({"error": sentence(result)})
            continue
        weights |= {f"{number}/{name}": tensor.cpu().contiguous() for name, tensor in result.weights.items()}
        answers.append({name: value for name, value in vars(result).items() if name not in ("weights", "initial")})
    save_file(weights, directory / WEIGHTS)
    return {"runs": answers}
