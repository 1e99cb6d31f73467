"""Values as they are written on the command line: ``lr=0.1,nesterov=false,betas=(0.9,0.95)``. No torch import."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from suite.errors import InputError

WORDS = {"true": True, "false": False, "null": None, "none": None}
"""As TOML, JSON and Python write them, whatever the case."""

NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?", re.IGNORECASE)

QUOTED = re.compile(r"""'[^'\\]*'|"[^"\\]*\"""")

CLOSING = {")": "(", "]": "[", "}": "{"}


def split(text: str) -> list[str]:
    """The parts of `text` between commas, without those inside brackets or quotes; no parts for an empty text.

    Raises:
        InputError: a bracket is not closed, or was not opened.
    """
    parts, start, open_brackets = [], 0, []
    for match in re.finditer(rf"{QUOTED.pattern}|[,()\[\]{{}}]", text):
        mark = match[0]
        if mark in CLOSING.values():
            open_brackets.append(mark)
        elif mark in CLOSING and (not open_brackets or open_brackets.pop() != CLOSING[mark]):
            raise InputError(f"{text!r} closes a bracket that it did not open.")
        elif mark == "," and not open_brackets:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    if open_brackets:
        raise InputError(f"{text!r} lacks the end of a bracket.")
    last = text[start:].strip()
    return [*parts, last] if parts or last else []


def literal(text: str) -> Any:
    """The value that `text` writes: a number, true, false, null, a text in quotes, or several in brackets (a tuple).

    Raises:
        InputError: it is none of these, or a number that is not finite.
    """
    text = text.strip()
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if text[:1] + text[-1:] in ("()", "[]"):
        parts = split(text[1:-1])
        if text[0] == "(" and len(parts) == 1:
            return literal(parts[0])  # brackets that only group, as in Python
        return tuple(map(literal, parts[:-1] if parts and not parts[-1] else parts))
    if QUOTED.fullmatch(text):
        return text[1:-1]
    if NUMBER.fullmatch(text):
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):  # such as 007 and 1__0
            value = math.inf
        if math.isfinite(value):
            return value
    raise InputError(
        f"{text!r} is no value: numbers, true, false, null, texts in quotes, and several of them in brackets are."
    )
