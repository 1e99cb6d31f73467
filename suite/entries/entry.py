"""A submission meets a task: one factor at a time.

An optimizer runs on the task's own architecture; an architecture runs in the task's slot under the slot's optimizer.
Everything else is the task's.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from suite.errors import InputError
from suite.seeding import seed_of
from suite.submission import Submission
from suite.task import ArchitectureInterface, Problem, Task


@dataclass(frozen=True)
class Entry:
    """The task as the submission meets it, the optimizer's factory, and the submission whose space is tuned.

    Its schedule and loss, where it has its own, are those of `tuned` too.
    """

    task: Task
    make: Callable[..., Any]
    tuned: Submission

    def settings(self, trials: int) -> list[dict[str, Any]]:
        """The tuning settings: the optimizer's, or those of the slot's optimizer."""
        return self.tuned.settings(trials)


def accepts(task: Task, submission: Submission) -> bool:
    """Whether the submission can enter the task: architectures need a slot."""
    return submission.optimizer is not None or task.interface is not None


def takes(optimizer: Callable[..., Any], name: str) -> bool:
    """Whether the optimizer's signature names the hyper-parameter."""
    try:
        return name in inspect.signature(optimizer).parameters
    except (TypeError, ValueError):  # a callable that tells nothing of itself
        return False


def build_network(architecture: Callable[..., Any], task: Task, seed: int) -> nn.Module:
    """The submitted network for `task`, initialised by its own code from a generator that only `seed` decides.

    Raises:
        InputError: the function raises, or returns no module that maps the task's inputs to finite outputs.
    """
    assert task.interface is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(task.name, seed, "init"))
        try:
            model = architecture(task.interface.input_shape, task.interface.outputs)
        except Exception as error:
            text = " ".join(str(error).split())
            raise InputError(
                f"The architecture raised for input shape {task.interface.input_shape} and {task.interface.outputs} outputs "
                f"({type(error).__name__}: {text})."
            ) from error
        if not isinstance(model, nn.Module):
            raise InputError(f"The architecture returned a {type(model).__name__}, not an nn.Module.")
        if not list(model.parameters()):
            raise InputError("The architecture returned a module without parameters.")
        model = model.to(task.dtype)
        _check_outputs(model, task.interface, task.dtype)
    return model


def _check_outputs(model: nn.Module, slot: ArchitectureInterface, dtype: torch.dtype) -> None:
    """One output too few or too many would be broadcast against the targets and pass for a loss."""
    probe = copy.deepcopy(model).eval()  # running statistics of the model itself stay untouched
    expected = (2, slot.outputs)
    try:
        with torch.no_grad():
            outputs = probe(torch.randn(2, *slot.input_shape, dtype=dtype))
            found = tuple(outputs.shape)
    except Exception as error:
        raise InputError(
            f"The architecture's module raised on inputs of shape {(2, *slot.input_shape)} "
            f"({type(error).__name__}: {' '.join(str(error).split())})."
        ) from error
    if found != expected:
        raise InputError(f"The architecture's module maps 2 inputs to the shape {found}, not {expected}.")
    if not torch.isfinite(outputs).all():
        raise InputError("The architecture's module gives outputs that are not finite before any training.")


def bind(submission: Submission, task: Task) -> Entry:
    """Pair `submission` with `task`.

    Raises:
        InputError: the submission is an architecture and the task has no slot for one.
    """
    if submission.optimizer is not None:
        fixed = {name: value for name, value in task.fixed.items() if takes(submission.optimizer, name)}
        return Entry(task, submission.optimizer, replace(submission, space=dict(submission.space) | fixed))
    architecture = submission.architecture
    assert architecture is not None
    if task.interface is None:
        raise InputError(f"Task {task.name!r} has no slot for architectures, so {submission.name!r} cannot enter it.")
    slot = task.interface
    space: Mapping[str, Any] = slot.space

    def model(problem: Problem, seed: int) -> nn.Module:
        return build_network(architecture, task, seed)

    tuned = Submission(name=submission.name, optimizer=slot.optimizer, space=space)
    return Entry(replace(task, model=model), slot.optimizer, tuned)
