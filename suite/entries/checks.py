"""Finds the mistakes in submissions before a run begins: names, settings, and where architectures can enter."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suite.entries.entry import accepts, build_network
from suite.errors import InputError, sentence
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


@settings_preserved()
def check_interfaces(submission: Submission, tasks: Sequence[Task]) -> None:
    """Check that an architecture can be built for at least one of `tasks`; optimizers enter every task.

    On the tasks that it does not suit, its runs fail by themselves, with the reason in their records.

    Raises:
        InputError: no task takes architectures, or the architecture can be built for none.
    """
    if submission.architecture is None:
        return
    failures = []
    for task in (task for task in tasks if accepts(task, submission)):
        try:
            build_network(submission.architecture, task, seed=0)
            return
        except InputError as error:
            failures.append(f"Submission {submission.name!r} on {task.name}: {error}")
    kind = "architectures of token sequences" if reads_tokens(submission.architecture) else "architectures"
    raise InputError([*failures, f"None of the tasks takes {kind}, such as {submission.name!r}."][0])
