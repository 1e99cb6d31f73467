"""Finds the mistakes in submissions before a run begins: names, settings, and where architectures can enter."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from suite.entries.entry import accepts, build_network
from suite.errors import InputError, ShapeError, sentence
from suite.signature import PARAMETERS, Settings, reads_tokens, signature
from suite.submission import Submission
from suite.task import Task
from suite.training import Budget, make_optimizer
from suite.training.global_state import generators_preserved, seed_generators, settings_preserved
from suite.training.step_protocol import call_mode

TRIED_STEPS = 12
"""So many steps with a setting and without it are compared."""

NO_SETTING = "lowlands_no_such_setting"
"""A constructor that takes it takes any name."""


def check_names(submissions: Sequence[Submission]) -> None:
    """Refuse with an `InputError` two submissions of one name: their records could not be distinguished."""
    names = [submission.name for submission in submissions]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two of the submissions are named {name!r}; give one another name=.")


def check_records(submission: Submission, trials: int) -> list[dict[str, Any]]:
    """The first `trials` settings; an `InputError` if a record cannot hold one."""
    trial_settings = submission.settings(trials)
    for name, value in (item for settings in trial_settings for item in settings.items()):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InputError(
                f"Submission {submission.name!r}: {name}={value!r} cannot be written into a record; use finite "
                f"numbers, texts, and tuples of them."
            ) from None
    return trial_settings


@settings_preserved()
def check_settings(submission: Submission, trials: int) -> Any:
    """Check that records can hold the first `trials` settings, and that an optimizer can be built with one of them.

    It is built on the parameters of a small linear layer.

    Returns:
        The optimizer; None for an architecture.

    Raises:
        InputError: no setting can be built, or one cannot be written into a record.
    """
    trial_settings = check_records(submission, trials)
    if submission.optimizer is None:
        return None
    failures, layer = [], nn.Linear(3, 2)
    parameters = dict(layer.named_parameters())
    for settings in trial_settings:
        try:
            optimizer = make_optimizer(submission.optimizer, parameters, settings, Budget(100, 10), layer)
        except (Exception, SystemExit) as error:
            failures.append(f"{settings} ({sentence(error)})")
            continue
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
            raise InputError(f"Submission {submission.name!r} builds a {type(optimizer).__name__}, not an optimizer.")
        return optimizer
    raise InputError(f"Submission {submission.name!r}: the optimizer cannot be built with {failures[0]}.")


@settings_preserved()
def ignored_settings(submission: Submission, settings: Settings) -> list[str]:
    """A sentence for each of an optimizer's `settings` that does nothing: a name that nobody knows, as a misspelt one.

    Constructors that end with ``**kwargs`` may keep any name, and step with their defaults. Told of is a name that no
    constructor of the class has, where the class takes a made-up name as well, and steps are equal without it.
    """
    make = submission.optimizer
    if make is None:
        return []
    known = set(signature(make))
    for kind in make.__mro__ if isinstance(make, type) else ():
        known |= set(signature(vars(kind).get("__init__", object)))
    suspects = [name for name in settings if name not in known]
    if not suspects or _stepped(submission, {**settings, NO_SETTING: 1.0}) is None:
        return []
    moved = _stepped(submission, settings)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    has = ", ".join(
        name for name, argument in signature(make).items() if argument.kind in kinds and name not in PARAMETERS
    )
    return [
        f"Submission {submission.name!r}: {name!r} does nothing. The optimizer takes any name, no constructor of it "
        f"has this one, and {TRIED_STEPS} steps are equal without it{has and '; it has '}{has}."
        for name in suspects
        if moved is not None and moved == _stepped(submission, {key: settings[key] for key in settings if key != name})
    ]


def _stepped(submission: Submission, settings: Settings) -> bytes | None:
    """The weights of a small linear layer after some steps on a quadratic; None if anything was raised."""
    for graph in (False, True):  # of the gradients: some optimizers differentiate them
        with contextlib.suppress(Exception, SystemExit), generators_preserved("cpu"):
            return _weights_after_steps(submission, settings, graph)
    return None


def _weights_after_steps(submission: Submission, settings: Settings, graph: bool) -> bytes:
    seed_generators(0)
    layer, inputs = nn.Linear(3, 2, bias=False), torch.randn(5, 3)
    parameters = dict(layer.named_parameters())
    optimizer = make_optimizer(submission.factory, parameters, settings, Budget(100, 10), layer)

    def closure() -> Tensor:
        loss: Tensor = layer(inputs).square().mean()
        found = torch.autograd.grad(loss, [*parameters.values()], create_graph=graph)
        for parameter, gradient in zip(parameters.values(), found, strict=True):
            parameter.grad = gradient
        return loss

    call_mode(optimizer, "train")
    for _ in range(TRIED_STEPS):
        closure()
        optimizer.step(*[closure][: len(signature(optimizer.step))])
    return nn.utils.parameters_to_vector(parameters.values()).detach().numpy().tobytes()


TOKENS_ARE_TAKEN = "It takes token numbers, since its arguments are `vocabulary` and `context`."
TOKENS_ARE_NOT_TAKEN = "They are token numbers, and its arguments are not `vocabulary` and `context`."


class Unsuited(NamedTuple):
    """Tasks with inputs of one kind, which an architecture does not take, and a sentence that says why."""

    tasks: tuple[str, ...]
    reason: str


@settings_preserved()
def unsuited_tasks(submission: Submission, tasks: Sequence[Task]) -> list[Unsuited]:
    """The tasks whose inputs an architecture does not take; an optimizer enters all.

    Whether it reads token numbers or real ones, the names of its arguments say. Real inputs of so many dimensions
    (vectors, images) it does not take if its network can be built for none of the tasks that have them, because of
    their shapes (`ShapeError`), and can be built for tasks with others. Whatever else it raises is a mistake: it
    enters, and its runs fail with the traceback.

    Args:
        tasks: those that no architecture enters are left out. Of every kind of inputs networks are built until one
            shows that it is taken.

    Raises:
        InputError: no task takes such architectures, or the architecture can be built for none.
    """
    if submission.architecture is None:
        return []
    of_tokens = reads_tokens(submission.architecture)
    others, kinds = [], dict[int, list[Task]]()
    for task in tasks:
        if accepts(task, submission):
            assert task.interface is not None
            kinds.setdefault(len(task.interface.input_shape), []).append(task)
        elif task.interface is not None:
            others.append(task.name)
    if not kinds:
        kind = "architectures of token sequences" if of_tokens else "architectures"
        raise InputError(f"None of the tasks takes {kind}, such as {submission.name!r}.")
    refusals = [_refusals(submission, alike) for alike in kinds.values()]
    if all(refusals):
        # What is certainly a mistake is told first.
        task_name, error = min(
            (item for found in refusals for item in found.items()), key=lambda item: isinstance(item[1], ShapeError)
        )
        raise InputError(f"Submission {submission.name!r} on {task_name}: {error}") from error
    unsuited = [Unsuited(tuple(found), str(next(iter(found.values())))) for found in refusals if _is_unsuited(found)]
    reason = TOKENS_ARE_TAKEN if of_tokens else TOKENS_ARE_NOT_TAKEN
    return unsuited + [Unsuited(tuple(others), reason)] * bool(others)


def _refusals(submission: Submission, tasks: Sequence[Task]) -> dict[str, InputError]:
    """By task why the network of an architecture cannot be built; empty if it can be built for one of them."""
    errors = {}
    for task in tasks:
        try:
            build_network(submission.factory, task, seed=0)
        except InputError as error:
            errors[task.name] = error
        else:
            return {}
    return errors


def _is_unsuited(refusals: Mapping[str, InputError]) -> bool:
    return bool(refusals) and all(isinstance(error, ShapeError) for error in refusals.values())
