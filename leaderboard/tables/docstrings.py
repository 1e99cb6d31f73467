"""What tasks, measures and submissions say of themselves, read from their source.

Importing the suite would import torch; its docstrings and the literals of its declarations are plain data in it,
and a copy of them in another file would grow old. So the source is parsed, never run.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import suite
from suite.entries.loading import builtin_files

SUITE = Path(suite.__file__).parent


@dataclass(frozen=True)
class Explanation:
    """A docstring's paragraphs, and the declared literals (a measure's unit, source, …)."""

    paragraphs: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def first(self) -> str:
        """The first paragraph: what it is, in a sentence or a question."""
        return self.paragraphs[0] if self.paragraphs else ""


NOTHING = Explanation((), {})


def task(name: str) -> Explanation:
    """The task `name`, whatever its variant; `NOTHING` if the suite has none."""
    return _marked("tasks", "task").get(name.partition("[")[0], NOTHING)


def measure(name: str) -> Explanation:
    """The measure `name`; `NOTHING` for one that only a task defines."""
    return _marked("measures", "declare").get(name, NOTHING)


def submission(name: str) -> Explanation:
    """The built-in submission `name`; `NOTHING` for anyone's own."""
    path = builtin_files().get(name)
    return NOTHING if path is None else Explanation(_paragraphs(_parsed(path)), {})


@functools.cache
def _marked(folder: str, mark: str) -> dict[str, Explanation]:
    """Name -> the functions under ``suite/<folder>`` that carry the decorator `mark`."""
    return {
        function.name: Explanation(_paragraphs(function), facts)
        for path in sorted((SUITE / folder).rglob("*.py"))
        for function in _parsed(path).body
        if isinstance(function, ast.FunctionDef)
        for facts in _decorations(function, mark)
    }


def _decorations(function: ast.FunctionDef, mark: str) -> Iterator[dict[str, Any]]:
    """The literal arguments of the decorator `mark`, if the function has it."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Name) and called.id == mark:
            keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
            yield {
                keyword.arg: keyword.value.value
                for keyword in keywords
                if keyword.arg and isinstance(keyword.value, ast.Constant)
            }


def _paragraphs(node: ast.Module | ast.FunctionDef) -> tuple[str, ...]:
    text = ast.get_docstring(node) or ""
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
