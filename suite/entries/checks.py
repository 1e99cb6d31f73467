"""Finds the mistakes in submissions before a run begins: names, settings, and where architectures can enter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from suite.entries.entry import accepts, build_network
from suite.errors import InputError, sentence
from suite.signature import reads_tokens
from suite.submission import Submission
from suite.task import Task
from suite.training import Budget, make_optimizer
from suite.training.global_state import settings_preserved


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
