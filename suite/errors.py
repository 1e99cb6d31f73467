"""The one exception whose text is meant for the user, and errors as one line of text."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave cannot be used. The message is one clear sentence; the command exits with status 2."""


class ShapeError(InputError):
    """What inputs of a shape that it does not take make a network raise; whether it takes them, other inputs tell."""


def refusal(text: str, error: Exception) -> InputError:
    """The `InputError` of this text for what a network raised; a `ShapeError` where that may be the inputs' fault.

    So are a failed ``channels, height, width = input_shape``, an index that the shape lacks, a failed assertion, and
    what layers raise. A name, an attribute, a module or a type that is wrong is a mistake, whatever the inputs.
    """
    of_shapes = isinstance(error, ShapeError | ValueError | IndexError | RuntimeError | AssertionError)
    return ShapeError(text) if of_shapes and not isinstance(error, RecursionError) else InputError(text)


def sentence(error: BaseException) -> str:
    """An error on one line, at most 500 characters: its type and its text, or the text alone if it is for the user."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError) and text:
        return text[:500]
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


MAX_TRACE = 20_000
"""Characters of a traceback that are kept: its end, where the error was raised."""


class RunError(RuntimeError):
    """What ended a training run in another process, with the traceback there."""

    def __init__(self, text: str, trace: str) -> None:
        super().__init__(text)
        self.trace = trace


def trace_of(error: BaseException) -> str:
    """The traceback of an error, as Python prints it, or its end if it is long."""
    text = error.trace if isinstance(error, RunError) else "".join(traceback.format_exception(error))
    return text[-MAX_TRACE:]


def unknown(kind: str, name: str, names: Iterable[str], otherwise: str | None = None, where: str = "") -> InputError:
    """The error for a name that does not exist: it suggests the nearest of `names`, or lists them all.

    Args:
        kind: what the name should be of, such as ``track``.
        name, names: the unknown name, and the names that exist.
        otherwise: the hint where no name is near, in place of the list.
        where: where it was looked for, such as ``in the module 'math'``; empty if `kind` says it.
    """
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    listed = f"there are {', '.join(names)}." if names else "there is none."
    hint = f"did you mean {near[0]!r}?" if near else otherwise or listed
    return InputError(f"There is no {kind} {name!r}{where and ' '}{where}: {hint}")
