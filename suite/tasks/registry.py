"""How tasks are found by name: every function marked `@task` in a module of this package is one.

Its keyword arguments are the task's variants. One whose argument `data` has no default is a task on any data set,
``name:data``. Names need the tasks' modules alone: no data are built before `Task.problem` is called.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.errors import InputError, unknown
from suite.literals import literal, split
from suite.task import Task
from suite.tasks.twins import MARK, twin

TaskFunction = Callable[..., Task]

CITATION = re.compile(
    r"((?:[A-Z][\w-]+, )*[A-Z][\w-]+(?: and [A-Z][\w-]+| et al\.)? \d{4}),? \(?(arXiv:\d{4}\.\d{4,5})"
)
"""Authors and year, and number, as in "Liu, Papailiopoulos and Achlioptas 2020, arXiv:1906.02613"."""


def task_name(function: TaskFunction, **variant: Any) -> str:
    """The name of the task that ``function(**variant)`` returns: arguments that have their default are left out."""
    defaults = _defaults(function)
    changed = {key: value for key, value in variant.items() if key in defaults and value != defaults[key]}
    options = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
    data = f":{variant['data']}" if _takes_data(function) else ""
    return f"{function.__name__}{data}" + (f"[{options}]" if options else "")


def _defaults(function: TaskFunction) -> dict[str, Any]:
    """The variants of a task, by name, with their defaults."""
    parameters = inspect.signature(function).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}


def _takes_data(function: TaskFunction) -> bool:
    """Whether the task is one on any data set."""
    return "data" in inspect.signature(function).parameters and "data" not in _defaults(function)


def task(function: TaskFunction) -> TaskFunction:
    """Mark `function` as a task: its name, docstring, citations, arguments and file become the task's."""

    @functools.wraps(function)
    def build(**variant: Any) -> Task:
        bare, description = function(**variant), inspect.getdoc(function) or ""
        return replace(
            bare,
            papers=_papers("; ".join((*bare.papers, description))),
            family=function.__module__.rpartition(".")[2].partition("_")[0],
            name=task_name(function, **variant),
            description=description,
            variant=_defaults(function) | variant,
        )

    build.is_task = True  # type: ignore[attr-defined]
    return build


def _papers(text: str) -> tuple[str, ...]:
    """The papers that `text` cites, each once, as ``authors year, arXiv:number``."""
    papers: dict[str, str] = {}
    for authors, number in CITATION.findall(" ".join(text.split())):
        papers.setdefault(number, f"{authors}, {number}")
    return tuple(papers.values())


def task_functions() -> dict[str, TaskFunction]:
    """Every task by name, in the order of their files; those on any data set are left out."""
    return {name: function for name, function in _functions().items() if not _takes_data(function)}


@functools.cache
def _functions() -> dict[str, TaskFunction]:
    """Every function that is marked as a task, by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return {
        name: value
        for module in (importlib.import_module(f"{__package__}.{name}") for name in modules)
        for name, value in vars(module).items()
        if getattr(value, "is_task", False) and value.__module__ == module.__name__
    }


def find_task(text: str) -> Task:
    """The task named `text`: ``max_margin``, ``sparse_regression[alpha=0.01]``, ``image:mine``, ``max_margin~5d1c``.

    What follows the ``~`` is the number of a twin (`suite.tasks.twins`).

    Raises:
        InputError: no such task, or no such variant; the message suggests the nearest name.
    """
    base, mark, number = text.strip().partition(MARK)
    if mark:
        try:
            return twin(find_task(base), number)
        except ValueError as error:
            raise InputError(f"Task {text!r}: {error}.") from None
    match = re.fullmatch(r"(\w+)(?::([\w.-]+))?(?:\[(.*)\])?", text.strip())
    name, data, options = (match[1], match[2], match[3] or "") if match else (text, None, "")
    functions = _functions()
    if name not in functions or (data is not None and not _takes_data(functions[name])):
        raise unknown("task", f"{name}:{data}" if data else name, functions)
    function = functions[name]
    if data is None and _takes_data(function):
        raise InputError(f"Task {name!r} needs a data set: {name}:NAME.")
    variant = _variant(function, options) | ({} if data is None else {"data": data})
    try:
        return function(**variant)
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"Task {text!r}: {error}") from None


def _variant(function: TaskFunction, options: str) -> dict[str, Any]:
    """The arguments that ``key=value,key=value`` gives to `function`."""
    defaults, variant = _defaults(function), {}
    for option in filter(None, split(options)):
        key, _, value = option.partition("=")
        if key not in defaults:
            variants = ", ".join(defaults) or "none"
            raise InputError(f"Task {function.__name__!r} has no variant {key!r} (its variants: {variants}).")
        kind = type(defaults[key])
        try:
            variant[key] = literal(value) if kind is bool else kind(value)
            if not isinstance(variant[key], kind) or (kind is float and not math.isfinite(variant[key])):
                raise ValueError
        except (ValueError, InputError):
            raise InputError(
                f"Task {function.__name__!r}: {key} must be of type {kind.__name__}, not {value!r}."
            ) from None
    return variant
