"""How tasks are found by name: every function marked `@task` in a module of this package is one.

Its keyword arguments are the task's variants. One whose argument `data` has no default is a task on any data set,
``name:data``. Names need the tasks' modules alone: no data are built before `Task.problem` is called.

``my_task.py:name`` is the function of that name in a file, and further names are those of plug-ins (`suite.plugins`).
The code of a file runs if the user has named it (`open_task`), never because a log or another file says so.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite import plugins
from suite.entries.loading import FILE_MODULE, import_file
from suite.errors import InputError, sentence, unknown
from suite.literals import literal, split
from suite.task import Task
from suite.tasks.own_references import file_of_data, file_of_task, referenced
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
        if not isinstance(bare, Task):
            raise InputError(f"The task {function.__name__!r} must return a lowlands.Task, not {type(bare).__name__}.")
        return replace(
            bare,
            papers=_papers("; ".join((*bare.papers, description))),
            family=bare.family or _family(function),
            name=task_name(function, **variant),
            description=description,
            variant=_defaults(function) | variant,
        )

    build.is_task = True  # type: ignore[attr-defined]
    return build


def _family(function: TaskFunction) -> str:
    """The family of a task that states none: the first word of its file's name; of the user's own file, its name."""
    module = function.__module__.rpartition(".")[2]
    own = module.removeprefix(FILE_MODULE)
    return module.partition("_")[0] if own == module else own


def _papers(text: str) -> tuple[str, ...]:
    """The papers that `text` cites, each once, as ``authors year, arXiv:number``."""
    papers: dict[str, str] = {}
    for authors, number in CITATION.findall(" ".join(text.split())):
        papers.setdefault(number, f"{authors}, {number}")
    return tuple(papers.values())


def task_functions() -> dict[str, TaskFunction]:
    """Every task by name, in the order of their files; those on any data set are left out."""
    return {name: function for name, function in _functions().items() if not _takes_data(function)}


def data_functions() -> dict[str, TaskFunction]:
    """The tasks on any data set, ``name:data``, by name."""
    return {name: function for name, function in _functions().items() if _takes_data(function)}


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


OWN_TASK = re.compile(r"(.+\.py):([^\W\d]\w*)(?:\[(.*)\])?")
"""A task in a file: the file, the function, and the variant."""

_named: set[str] = set()
"""The files of tasks that the user has named."""


def own_file(text: str) -> str | None:
    """The file of the task `text`; None for a task of the suite or of a plug-in."""
    match = OWN_TASK.fullmatch(text.strip())
    return match[1] if match else None


def open_task(text: str) -> Task:
    """The task that the user names `text`: as `find_task`, and its file may be run from now on."""
    if (file := own_file(text)) is not None:
        _named.add(file)
    return find_task(text)


def find_task(text: str) -> Task:
    """The task named `text`: ``max_margin``, ``sparse_regression[alpha=0.01]``, ``image:mine``, ``max_margin~5d1c``.

    What follows the ``~`` is the number of a twin (`suite.tasks.twins`). ``my_task.py:name`` is found if the file was
    named before (`open_task`).

    Raises:
        InputError: no such task, or no such variant; the message suggests the nearest name.
    """
    if (own := OWN_TASK.fullmatch(text.strip())) is not None:
        return _own_task(text, own[1], own[2], own[3] or "")
    base, mark, number = text.strip().partition(MARK)
    if mark:
        try:
            return twin(find_task(base), number)
        except ValueError as error:
            raise InputError(f"Task {text!r}: {error}.") from None
    match = re.fullmatch(r"(\w+)(?::([\w.-]+))?(?:\[(.*)\])?", text.strip())
    name, data, options = (match[1], match[2], match[3] or "") if match else (text, None, "")
    functions = _functions()
    if name not in functions and data is None and name in plugins.names("tasks"):
        return _plugin_task(text, name, options)
    if name not in functions or (data is not None and not _takes_data(functions[name])):
        raise unknown("task", f"{name}:{data}" if data else name, [*functions, *plugins.names("tasks")])
    function = functions[name]
    if data is None and _takes_data(function):
        raise InputError(f"Task {name!r} needs a data set: {name}:NAME.")
    return _build(text, function, _variant(function, options) | ({} if data is None else {"data": data}))


def _build(text: str, function: TaskFunction, variant: dict[str, Any]) -> Task:
    """The task of a function; an `InputError` if it does not take the values of its variant."""
    try:
        return function(**variant)
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"Task {text!r}: {error}") from None


def _own_task(text: str, file: str, name: str, options: str) -> Task:
    """The task of the function `name` in a file of the user's."""
    if file not in _named:
        raise InputError(f"The task {text!r} is code in a file, which runs only if you name it (--task).")
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    source = hashlib.sha256(content).hexdigest()[:16]
    module = _module_of_file(file, source)
    function = getattr(module, name, None)
    if function is None:
        tasks = [key for key, value in vars(module).items() if getattr(value, "is_task", False)]
        raise unknown("task", name, tasks, "it defines no task.", f"in {file}")
    built = _foreign(text, function, options, f"{file}:", source)
    return referenced(built, built.axes, file_of_task(file), built.name.removeprefix(f"{file}:"))


def place_of_references(task: Task) -> tuple[Path, str]:
    """The file that holds the references of a task of the user's, and what the task is called there.

    Raises:
        InputError: it is a task of the suite or of a plug-in, or there is no directory of data sets.
    """
    if (file := own_file(task.name)) is not None:
        return file_of_task(file), task.name.removeprefix(f"{file}:")
    data = task.variant.get("data")
    if data is None or not task.name.startswith(tuple(f"{name}:" for name in data_functions())):
        raise InputError(f"The references of {task.name} are frozen: only those of tasks of your own can be made.")
    path = file_of_data(data)
    if path is None:
        raise InputError("References of data lie beside them: name their directory (--data or $LOWLANDS_DATA).")
    return path, task.name


@functools.lru_cache(maxsize=64)
def _module_of_file(file: str, source: str) -> Any:
    """The module of a file; imported anew where its source has changed."""
    return import_file(Path(file))


def _plugin_task(text: str, name: str, options: str) -> Task:
    """The task of a plug-in: its function, which tables call as the entry point does."""
    function = plugins.load("tasks", name)
    module = inspect.getmodule(inspect.unwrap(function))
    try:
        content = inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        content = ""
    task = _foreign(text, function, options, "", hashlib.sha256(content.encode()).hexdigest()[:16])
    return replace(task, name=name + task.name.removeprefix(inspect.unwrap(function).__name__))


def _foreign(text: str, function: Any, options: str, prefix: str, source: str) -> Task:
    """A task that is not of the suite: the function need not be marked."""
    if not callable(function):
        raise InputError(f"Task {text!r} is no function that returns a lowlands.Task.")
    marked = function if getattr(function, "is_task", False) else task(function)
    try:
        built = _build(text, marked, _variant(marked, options))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"Task {text!r} cannot be built ({sentence(error)}).") from error
    return replace(built, name=f"{prefix}{built.name}", source=source)


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
