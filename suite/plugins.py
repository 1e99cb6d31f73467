"""What installed packages add by entry points, without a change of Lowlands. No torch import.

A package names its tasks, measures and submissions in its ``pyproject.toml``::

    [project.entry-points."lowlands.tasks"]
    spirals = "my_package.tasks:spirals"

and ``--task spirals`` finds it. Names of the suite's own come first. A plug-in's module is imported when its name is
asked for, or all are listed.
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Any, Literal

from suite.errors import InputError, sentence

Group = Literal["tasks", "measures", "submissions"]


@functools.cache
def names(group: Group) -> dict[str, str]:
    """By name the ``module:object`` of every entry point of the group ``lowlands.GROUP``."""
    return {point.name: point.value.replace(" ", "") for point in entry_points(group=f"lowlands.{group}")}


def load(group: Group, name: str) -> Any:
    """The object of the entry point `name`; an `InputError` if it cannot be imported."""
    (point,) = [*entry_points(group=f"lowlands.{group}", name=name)][:1]
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The plug-in {name!r} ({point.value}, lowlands.{group}) cannot be imported ({sentence(error)})."
        ) from error
