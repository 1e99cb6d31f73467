"""An entry is a submission bound to a task: the submission changes one factor, the task decides all others.

An optimizer trains the task's own network. An architecture is trained by the optimizer of the task's
`ArchitectureInterface`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from suite.errors import InputError, refusal, sentence
from suite.models import copy_of, materialize
from suite.seeding import seed_of
from suite.signature import MakeOptimizer, reads_tokens, signature
from suite.submission import Submission
from suite.task import ArchitectureInterface, Problem, Task


@dataclass(frozen=True)
class Entry:
    """A submission bound to a task.

    Attributes:
        task: the task, with the submission's network where the submission is an architecture.
        make: constructs the optimizer.
        optimizer: the submission whose optimizer trains, with its space, schedule and loss: the submitted one, or for
            an architecture that of the task's interface.
    """

    task: Task
    make: MakeOptimizer
    optimizer: Submission

    def settings(self, trials: int, search: int = 0) -> list[dict[str, Any]]:
        """The first `trials` settings of the optimizer in the search of this number."""
        return self.optimizer.settings(trials, search)


def accepts(task: Task, submission: Submission) -> bool:
    """Whether the submission can enter the task: architectures need an interface to inputs of their kind."""
    if submission.architecture is None:
        return True
    return task.interface is not None and task.interface.tokens == reads_tokens(submission.architecture)


def build_network(architecture: Callable[..., Any], task: Task, seed: int) -> nn.Module:
    """The submitted network for `task`, initialized by its own code from a generator that only `seed` decides.

    Raises:
        InputError: the function raises, or returns no module that maps the task's inputs to finite outputs; a
            `ShapeError` where it may be that it does not take inputs of their shape.
    """
    interface = task.interface
    assert interface is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(task.name, seed, "init"))
        try:
            model = architecture(*interface.arguments)
        except Exception as error:
            first, second = interface.arguments
            given = (
                f"{first} tokens and a context of {second}"
                if interface.tokens
                else f"input shape {first} and {second} outputs"
            )
            raise refusal(f"The architecture raised for {given} ({sentence(error)}).", error) from error
        if not isinstance(model, nn.Module):
            raise InputError(f"The architecture returned a {type(model).__name__}, not an nn.Module.")
        if not list(model.parameters()):
            raise InputError("The architecture returned a module without parameters.")
        model = model.to(task.dtype)
        _check_outputs(model, interface, task.dtype)
    return model


def _check_outputs(model: nn.Module, interface: ArchitectureInterface, dtype: torch.dtype) -> None:
    """Outputs of a wrong shape would be broadcast against the targets and still give a loss: they are refused."""
    input_shape, output_shape = (2, *interface.input_shape), (2, *interface.output_shape)
    try:
        with torch.no_grad():
            materialize(model, interface.input_shape, torch.long if interface.tokens else dtype)
            network = copy_of(model).eval()  # running statistics of the model itself stay untouched
            outputs = network(interface.samples(2, dtype))
            shape = tuple(outputs.shape)
    except Exception as error:
        raise refusal(
            f"The architecture's module raised on inputs of shape {input_shape} ({sentence(error)}).", error
        ) from error
    if shape != output_shape:
        raise InputError(f"The architecture's module maps 2 inputs to the shape {shape}, not {output_shape}.")
    if not torch.isfinite(outputs).all():
        raise InputError("The architecture's module gives outputs that are not finite before any training.")


def bind(submission: Submission, task: Task) -> Entry:
    """Bind `submission` to `task`; an `InputError` if it is an architecture, and the task takes none."""
    if submission.optimizer is not None:
        arguments = signature(submission.optimizer)
        fixed = {name: value for name, value in task.fixed.items() if name in arguments}
        return Entry(task, submission.optimizer, replace(submission, space=dict(submission.space) | fixed))
    architecture, interface = submission.architecture, task.interface
    assert architecture is not None
    if interface is None:
        raise InputError(f"Task {task.name!r} takes no architectures, so {submission.name!r} cannot enter it.")
    if not accepts(task, submission):
        kind = "token numbers" if interface.tokens else "real inputs"
        raise InputError(f"Task {task.name!r} has {kind}, which {submission.name!r} does not read.")

    def model(problem: Problem, seed: int) -> nn.Module:
        return build_network(architecture, task, seed)

    optimizer = Submission(name=submission.name, optimizer=interface.optimizer, space=interface.space)
    return Entry(replace(task, model=model), interface.optimizer, optimizer)
