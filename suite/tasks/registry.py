"""The tasks, one file per family. A new task is found without registration.

Every public function of a module in this package that is marked with `@task` is a task; its keyword
arguments are its variants. One whose argument `data` has no default is a task on any data set, ``name:data``.
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

import suite.tasks
from suite.errors import InputError
from suite.task import Task

TaskFunction = Callable[..., Task]


DATA = "data"


def task_name(function: TaskFunction, **variant: Any) -> str:
    """The name of the task that ``function(**variant)`` returns: arguments that have their default are left out."""
    defaults = _defaults(function)
    changed = {key: value for key, value in variant.items() if key in defaults and value != defaults[key]}
    options = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
    data = f":{variant[DATA]}" if _takes_data(function) else ""
    return f"{function.__name__}{data}" + (f"[{options}]" if options else "")


def _defaults(function: TaskFunction) -> dict[str, Any]:
    """The variants of a task, by name, with their defaults."""
    parameters = inspect.signature(function).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}


def _takes_data(function: TaskFunction) -> bool:
    return DATA in inspect.signature(function).parameters and DATA not in _defaults(function)


def task(function: TaskFunction) -> TaskFunction:
    """Mark `function` as a task: its name, docstring and arguments become the task's."""

    @functools.wraps(function)
    def build(**variant: Any) -> Task:
        return replace(
            function(**variant),
            name=task_name(function, **variant),
            description=inspect.getdoc(function) or "",
            variant=_defaults(function) | variant,
        )

    build.is_task = True  # type: ignore[attr-defined]
    return build


def task_functions() -> dict[str, TaskFunction]:
    """Every task by name, in the order of their files."""
    return {name: value for name, value in _functions().items() if not _takes_data(value)}


@functools.cache
def _functions() -> dict[str, TaskFunction]:
    """Tasks, and those that become one with a data set."""
    found: dict[str, TaskFunction] = {}
    for module_info in sorted(pkgutil.iter_modules(suite.tasks.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"suite.tasks.{module_info.name}")
        for name, value in vars(module).items():
            if getattr(value, "is_task", False) and value.__module__ == module.__name__:
                found[name] = value
    return found


def find_task(text: str) -> Task:
    """The task named `text`, for example ``max_margin``, ``sparse_regression[alpha=0.01]`` or ``image:mine``.

    Raises:
        InputError: no such task, or no such variant; the message suggests the nearest name.
    """
    match = re.fullmatch(r"(\w+)(?::([\w.-]+))?(?:\[(.*)\])?", text.strip())
    name, data, options = (match[1], match[2], match[3] or "") if match else (text, None, "")
    functions = _functions()
    if name not in functions or (data is not None and not _takes_data(functions[name])):
        near = difflib.get_close_matches(name, functions, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(functions)}."
        raise InputError(f"There is no task {f'{name}:{data}' if data else name!r}: {hint}")
    function = functions[name]
    if data is None and _takes_data(function):
        raise InputError(f"Task {name!r} needs a data set: {name}:NAME.")
    variant = _variant(function, options) | ({} if data is None else {DATA: data})
    try:
        return function(**variant)
    except ValueError as error:
        raise InputError(f"Task {text!r}: {error}") from None


def _variant(function: TaskFunction, options: str) -> dict[str, Any]:
    """The arguments that ``key=value,key=value`` gives to `function`."""
    defaults, variant = _defaults(function), {}
    for option in filter(None, (part.strip() for part in options.split(","))):
        key, _, value = option.partition("=")
        if key not in defaults:
            known = ", ".join(defaults) or "none"
            raise InputError(f"Task {function.__name__!r} has no variant {key!r} (its variants: {known}).")
        kind = type(defaults[key])
        try:
            variant[key] = kind(value)
        except ValueError:
            problem = f"{key} must be of type {kind.__name__}, not {value!r}"
            raise InputError(f"Task {function.__name__!r}: {problem}.") from None
    return variant
