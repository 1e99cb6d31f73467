"""Mistakes in a submission are found before a run begins."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import nn

from suite.entries.entry import build_network
from suite.errors import InputError
from suite.submission import Submission
from suite.task import Task
from suite.training.optimizer_factory import Budget, make_optimizer


def check(submission: Submission, trials: int) -> None:
    """Build the submission once per setting on toy parameters, so that a mistake in it is found before the run.

    Raises:
        InputError: no setting can be built, or one cannot be written into a record.
    """
    _check_settings(submission, trials)
    if submission.optimizer is None:
        return
    failures, toy = [], nn.Linear(3, 2)
    for settings in submission.settings(trials):
        try:
            optimizer = make_optimizer(
                submission.optimizer, dict(toy.named_parameters()), settings, Budget(100, 10), toy
            )
        except (Exception, SystemExit) as error:
            failures.append((settings, f"{type(error).__name__}: {' '.join(str(error).split())}"))
            continue
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
            raise InputError(f"Submission {submission.name!r} builds a {type(optimizer).__name__}, not an optimizer.")
        return
    settings, why = failures[0]
    raise InputError(f"Submission {submission.name!r}: the optimizer cannot be built with {settings} ({why}).")


def check_slots(submission: Submission, tasks: Sequence[Task]) -> None:
    """See that an architecture has a slot among `tasks` and can be built in one.

    One that only some slots suit runs: its lanes in the others fail by themselves, with the reason in their records.

    Raises:
        InputError: no task has a slot, or the architecture can be built in none.
    """
    if submission.architecture is None:
        return
    failures = []
    for task in tasks:
        if task.interface is None:
            continue
        try:
            build_network(submission.architecture, task, seed=0)
            return
        except InputError as error:
            failures.append(f"Submission {submission.name!r} on {task.name}: {error}")
    raise InputError(
        failures[0] if failures else f"None of the tasks has a slot for architectures, such as {submission.name!r}."
    )


def _check_settings(submission: Submission, trials: int) -> None:
    for settings in submission.settings(trials):
        for name, value in settings.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise InputError(
                    f"Submission {submission.name!r}: {name}={value!r} cannot be written into a record; use finite "
                    f"numbers, texts, and tuples of them."
                ) from None
