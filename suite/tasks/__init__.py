"""The tasks, one file per family. A new task is found without registration.

Every public function of a module in this package that is marked with `@task` is a task; its keyword
arguments are its variants.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from suite.errors import InputError
from suite.task import Task

TaskFunction = Callable[..., Task]


def task(function: TaskFunction) -> TaskFunction:
    """Mark `function` as a task: its name, docstring and arguments become the task's."""

    @functools.wraps(function)
    def build(**variant: Any) -> Task:
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        changed = {name: value for name, value in variant.items() if value != defaults[name]}
        options = ",".join(f"{name}={value}" for name, value in sorted(changed.items()))
        return replace(
            function(**variant),
            name=function.__name__ + (f"[{options}]" if options else ""),
            description=inspect.getdoc(function) or "",
            variant=defaults | variant,
        )

    build.is_task = True  # type: ignore[attr-defined]
    return build


@functools.cache
def task_functions() -> dict[str, TaskFunction]:
    """Every task function by name, in the order of their files."""
    found: dict[str, TaskFunction] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for name, value in vars(module).items():
            if getattr(value, "is_task", False) and value.__module__ == module.__name__:
                found[name] = value
    return found


def find_task(text: str) -> Task:
    """The task named `text`, for example ``max_margin`` or ``sparse_regression[alpha=0.01]``.

    Raises:
        InputError: no such task, or no such variant; the message suggests the nearest name.
    """
    match = re.fullmatch(r"(\w+)(?:\[(.*)\])?", text.strip())
    name, options = (match[1], match[2] or "") if match else (text, "")
    functions = task_functions()
    if name not in functions:
        near = difflib.get_close_matches(name, functions, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(functions)}."
        raise InputError(f"There is no task {name!r}: {hint}")
    function = functions[name]
    parameters = inspect.signature(function).parameters
    variant = {}
    for option in filter(None, (part.strip() for part in options.split(","))):
        key, _, value = option.partition("=")
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise InputError(f"Task {name!r} has no variant {key!r} (its variants: {known}).")
        kind = type(parameters[key].default)
        try:
            variant[key] = kind(value)
        except ValueError:
            raise InputError(f"Task {name!r}: {key} must be of type {kind.__name__}, not {value!r}.") from None
    try:
        return function(**variant)
    except ValueError as error:
        raise InputError(f"Task {text!r}: {error}") from None
