"""What a submission is, as data: so that a process which judges it or plans its runs never runs its code.

`describe` runs where the submission's code may run, `described` where it may not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct
from torch import nn

from suite.entries.checks import check_records, check_settings, ignored_settings
from suite.entries.habits import habits
from suite.entries.loading import (
    LoadedSubmission,
    builtin_files,
    builtin_method,
    load,
    origin_of,
    source_hash,
    source_of,
)
from suite.errors import InputError
from suite.signature import signature
from suite.storage.record import as_settings, clean
from suite.submission import Choice, Distribution, Submission
from suite.training.groups import is_entrywise

LONGEST_TEXT = 20_000

Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
Word = Annotated[str, Meta(max_length=200)]
Argument = Annotated[str, Meta(pattern=r"^\w{1,200}\Z")]

DISTRIBUTIONS = {distribution.__name__: distribution for distribution in get_args(Distribution)}


class Described(Struct, tag="described", frozen=True, forbid_unknown_fields=True):
    """What a submission is.

    Attributes:
        space: by hyper-parameter the name of its distribution, or `value`, and its arguments.
        origin: the full name of the submitted code, and the version of its package.
        hash: of its source, which can be computed elsewhere for files alone.
        arguments: the names of the arguments of its constructor: a task sets some of them.
        entrywise, notes: as in `LoadedSubmission`.
    """

    name: Word
    kind: Literal["optimizer", "architecture"]
    explicit: bool
    description: Text
    space: dict[Argument, tuple[Literal["LogUniform", "Uniform", "Choice", "value"], Any]]
    origin: tuple[Word, Word]
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    arguments: Annotated[tuple[Argument, ...], Meta(max_length=1_000)]
    method: Word | None
    entrywise: bool
    notes: Annotated[tuple[Text, ...], Meta(max_length=1_000)] = ()


def describe(text: str, trials: int) -> Described:
    """What the submission is that `text` names.

    Raises:
        InputError: there is none, or none of its first `trials` settings can be built.
    """
    loaded = load(text)
    submission = loaded.submission
    optimizer = check_settings(submission, trials)
    return Described(
        name=submission.name,
        kind="architecture" if submission.optimizer is None else "optimizer",
        explicit=submission.explicit,
        description=submission.description[:LONGEST_TEXT],
        space={name: _as_data(value) for name, value in submission.space.items()},
        origin=origin_of(submission),
        hash=loaded.source_hash,
        arguments=tuple(signature(submission.factory)),
        method=submission.method,
        entrywise=is_entrywise(optimizer),
        notes=tuple(note[:LONGEST_TEXT] for note in _notes(submission, text, trials)),
    )


def _notes(submission: Submission, text: str, trials: int) -> list[str]:
    """What the user should know of an optimizer; the files of the built-in ones say what they do."""
    settings = submission.settings(trials)[0]
    found = ignored_settings(submission, settings)
    if text.partition("[")[0] in builtin_files():
        return found
    return found + habits(submission, settings).sentences(submission.name)


def _as_data(value: Any) -> tuple[Any, Any]:
    """A distribution, or a plain value of a space, by its name and its arguments."""
    if isinstance(value, Choice):
        return "Choice", clean(value.options)
    return (type(value).__name__, clean(astuple(value))) if isinstance(value, Distribution) else ("value", clean(value))


@dataclass(frozen=True)
class _Elsewhere:
    """Stands for an optimizer or an architecture whose code runs in another process only.

    `inspect.signature` finds the arguments of what it stands for.
    """

    text: str
    __signature__: inspect.Signature

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise InputError(f"The code of {self.text!r} runs in a process of its own, never in this one.")


def described(
    answer: Described, text: str, trials: int, architecture: Callable[..., nn.Module] | None = None
) -> LoadedSubmission:
    """The submission that `text` names, of whose code there is nothing in this process.

    Args:
        answer: what `describe` said of it.
        trials: so many of its settings must be such as a record can hold.
        architecture: gives the networks of an architecture; None: none can be had here.

    Raises:
        InputError: the description is impossible, or a record cannot hold a setting.
        TypeError, ValueError: the arguments of a distribution or of the constructor are impossible.
    """
    arguments = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in answer.arguments]
    stand_in = _Elsewhere(text, inspect.Signature(arguments))
    optimizes = answer.kind == "optimizer"
    submission = Submission(
        name=answer.name,
        optimizer=stand_in if optimizes else None,
        architecture=None if optimizes else architecture or stand_in,
        space={name: _of_data(kind, content) for name, (kind, content) in answer.space.items()},
        explicit=answer.explicit,
        description=answer.description,
        # Elsewhere the file may be no built-in one: the sandbox may have the suite from another place.
        method=answer.method or builtin_method(text),
    )
    check_records(submission, trials)
    # A file is hashed here, from its bytes: its own process could claim any hash.
    digest = source_hash(text, answer.origin) if source_of(text) else answer.hash
    return LoadedSubmission(submission, text, digest, answer.entrywise, answer.notes)


def _of_data(kind: str, content: Any) -> Any:
    """What `_as_data` was given; a `TypeError` or an `InputError` if there is no such distribution."""
    arguments = as_settings(content)
    return arguments if kind == "value" else DISTRIBUTIONS[kind](*arguments)
