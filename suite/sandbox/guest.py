"""What runs in the jail: loads the submission, trains, and writes weights and plain numbers.

Everything here may be patched by the submission once it is loaded; nobody outside believes more than the weights.
"""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from suite.errors import InputError, sentence
from suite.kernels.malloc import disable_trim
from suite.sandbox.limits import apply, die_with_parent
from suite.sandbox.protocol import ANSWER, JOB, WEIGHTS, ArchitectureInterface, Job


def main(folder: str) -> None:
    """Carry out the job in `folder` and write the answer beside it."""
    directory = Path(folder)
    job: Job = pickle.loads((directory / JOB).read_bytes())  # written by the process outside, which is trusted
    die_with_parent()
    apply(job.limits)
    disable_trim()
    try:
        if job.slot is not None:
            answer = _build(job, job.slot, directory)
        else:
            answer = _train(job, directory) if job.lanes else _describe(job)
    except (InputError, MemoryError) as error:
        answer = {"error": sentence(error)}
    (directory / ANSWER).write_text(json.dumps(answer))


def _describe(job: Job) -> dict[str, Any]:
    from suite.entries.checks import check
    from suite.entries.loading import load, origin_of

    loaded = load(job.submission)
    check(loaded.submission, job.trials)
    made = loaded.submission
    return {
        "name": made.name,
        "kind": made.kind,
        "explicit": made.explicit,
        "description": made.description,
        "space": {key: _written(value) for key, value in made.space.items()},
        "origin": origin_of(made),
        "hash": loaded.source_hash,
    }


def _written(value: Any) -> dict[str, Any]:
    """A distribution or a plain value of a space, as `outside` reads it."""
    from suite.submission import Distribution

    if isinstance(value, Distribution):
        return {"distribution": type(value).__name__, **asdict(value)}
    return {"value": value}


def _build(job: Job, slot: ArchitectureInterface, directory: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import save_file

    from suite.entries.loading import load
    from suite.sandbox.export import describe

    architecture = load(job.submission).submission.architecture
    assert architecture is not None
    torch.manual_seed(slot.seed)
    try:
        model = architecture(slot.input_shape, slot.outputs)
    except Exception as error:
        raise InputError(sentence(error)) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"it returned a {type(model).__name__}, not an nn.Module")
    description, tensors = describe(model, slot.input_shape)
    save_file(tensors, directory / WEIGHTS)
    return description


def _train(job: Job, directory: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import save_file

    from suite.sandbox.tamper import patched, state
    from suite.task import Problem
    from suite.tasks.registry import find_task
    from suite.training.loop import TrainingRun

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # imports parts of torch that wrap others
    before = state()
    from suite.entries.entry import bind
    from suite.entries.loading import load

    entry = bind(load(job.submission).submission, find_task(job.task))
    task = replace(entry.task, model=lambda problem, seed: copy.deepcopy(job.lanes[seed].model))
    entry = replace(entry, task=task)
    lanes = [
        TrainingRun(Problem(own.train, lipschitz=own.lipschitz), number, own.trial, own.settings, own.streams)
        for number, own in enumerate(job.lanes)
    ]
    results = _results(entry, lanes, job)
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
    return {"lanes": answers}


def _results(entry: Any, lanes: list[Any], job: Job) -> list[Any]:
    """Every lane trained; if the submission raises, each lane by itself, so that it fails alone."""
    from suite.training.loop import train

    own = entry.tuned

    def trained(part: list[Any]) -> list[Any]:
        return train(entry.task, part, entry.make, job.device, race=job.race, schedule=own.schedule, loss=own.loss)

    with contextlib.suppress(Exception):
        return trained(lanes)
    results: list[Any] = []
    for lane in lanes:
        try:
            results += trained([lane])
        except Exception as error:
            results.append(error)
    return results
