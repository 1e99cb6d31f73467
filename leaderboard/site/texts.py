"""What tasks, measures and built-in submissions say of themselves: their docstrings and declared facts.

The suite's registries are asked, so torch is imported when the first text is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.errors import InputError


@dataclass(frozen=True)
class Text:
    """The paragraphs of a docstring, each on one line, and what else is declared, such as a measure's unit, by name."""

    paragraphs: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first paragraph: what it is, in a sentence or a question."""
        return self.paragraphs[0] if self.paragraphs else ""


@functools.cache
def task_text(name: str) -> Text:
    """The text of the task `name`, whatever its variant; an empty one if the suite has no such task."""
    from suite.tasks import find_task

    try:
        task = find_task(name.partition("[")[0])
    except InputError:
        return Text()
    return Text(_paragraphs(task.description))


@functools.cache
def measure_text(name: str) -> Text:
    """The text of the measure `name`; an empty one for a measure that only a task defines."""
    from suite.measures.registry import measures

    measure = measures().get(name)
    if measure is None:
        return Text()
    return Text(measure.paragraphs, {fact: getattr(measure, fact) for fact in ("unit", "scale", "higher", "source")})


@functools.cache
def submission_text(name: str) -> Text:
    """The text of the built-in submission `name`; an empty one for any other submission."""
    from suite.entries.loading import builtin_files, load

    return Text(_paragraphs(load(name).submission.description)) if name in builtin_files() else Text()


def _paragraphs(docstring: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in docstring.split("\n\n") if part.strip())
