"""The one exception whose text is meant for the user, and errors as one line of text."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used. The message is one clear sentence; the command exits with status 2."""


def sentence(error: BaseException) -> str:
    """An error on one line, at most 500 characters: its type and its text, or the text alone if it is for the user."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError) and text:
        return text[:500]
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
