"""Finds a submission by the text that names it. No torch import (a submission's own file may import it).

``load(text)``::

    NAME[a=1,b=(2,3)]  ->  load(NAME), with these hyper-parameters fixed (values: `suite.literals`)
    NAME[default]      ->  load(NAME), with all of them fixed (`Submission.fixed_setting`)
    a built-in name    ->  the file submissions/*/NAME.py
    a path to a file   ->  its variable `submission`, or the Submission that a file of `PICKLED` holds
    MODULE:CLASS       ->  the class as an optimizer with the default space, or a Submission of that name
    a plug-in's name   ->  the MODULE:CLASS that an installed package gives it (`suite.plugins`)
    anything else      ->  an InputError that suggests the nearest built-in name
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import suite
from suite import plugins
from suite.errors import InputError, sentence, unknown
from suite.literals import literal, split
from suite.predictions.methods import method_by_name, with_settings
from suite.signature import signature, wraps
from suite.submission import FIXED, LogUniform, Submission

MAX_STEP_SIZE = 1.0
"""Tasks with an oracle divide their loss by the Lipschitz constant L of its gradient: 1 is gradient descent's 1/L."""

STEP_SIZES_WITHOUT_DEFAULT = LogUniform(1e-4, MAX_STEP_SIZE)
"""The space of an optimizer that names no default step size."""

PICKLED = ".pickle"
"""Ends the name of a file with a pickled Submission, such as `lowlands.run` writes of one that has no source file.
Reading one runs code, as importing a submission's file does."""

STEP_SIZE_AS_FACTOR = 1.0
"""A default of exactly 1 is a factor on a step that the optimizer finds by itself (Prodigy, D-Adaptation, Adadelta,
quasi-Newton methods): it is not tuned."""


def default_space(optimizer: Callable[..., Any]) -> dict[str, Any]:
    """The space of `lr`: from a decade below the optimizer's default to 1, or to a decade above the default.

    Defaults are chosen for deep networks. On losses that are divided by their Lipschitz constant most optimizers reach
    the target loss with step sizes from their default to a hundred times it, SGD (default 0.001) with a thousand times
    it. Where there is also an `adamw_lr` (Muon's, for vectors), it is tuned alike.
    """
    arguments = signature(optimizer)
    names = [name for name in ("lr", "adamw_lr") if name in arguments]
    if not arguments or (not names and wraps(optimizer)):
        return {"lr": STEP_SIZES_WITHOUT_DEFAULT}
    space = {}
    for name in names:
        default = arguments[name].default
        if default is not None and (not isinstance(default, int | float) or default <= 0):
            space[name] = STEP_SIZES_WITHOUT_DEFAULT
        elif default not in (None, STEP_SIZE_AS_FACTOR):
            space[name] = LogUniform(default / 10, max(MAX_STEP_SIZE, 10 * default))
    return space


@dataclass(frozen=True)
class LoadedSubmission:
    """A submission, the text that names it, and its hash.

    Attributes:
        text: what `load` was called with; workers load the submission by this text.
        source_hash: 16 hex digits that change with its source, the code that it imports, and the settings it fixes.
        entrywise: whether it is known to be an optimizer of torch that steps every entry by itself: then one steps all
            seeds of a trial, and a further seed costs hardly anything.
        notes: what the user should know of it, a sentence each.
        skipped: the tasks of a plan whose inputs it does not take, by name.
    """

    submission: Submission
    text: str
    source_hash: str
    entrywise: bool = False
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def builtin_directory() -> Path:
    """The folder of the built-in submissions: inside the package if installed from a wheel, else beside it."""
    package = Path(suite.__file__).parent
    installed = package / "_submissions"
    return installed if installed.is_dir() else package.parent / "submissions"


def builtin_files() -> dict[str, Path]:
    """The file of every built-in submission by name; a new file needs no registration."""
    return {path.stem: path for path in sorted(builtin_directory().glob("*/*.py")) if path.stem != "__init__"}


def _version(module_name: str) -> str:
    """The version of the module's package; empty if it states none."""
    return str(getattr(sys.modules.get(module_name.partition(".")[0]), "__version__", ""))


def _hash(source: bytes, *more: str) -> str:
    """SHA-256 of all arguments, 16 hex digits."""
    return hashlib.sha256(b"\x1f".join([source, *(text.encode() for text in more)])).hexdigest()[:16]


def _parts(text: str) -> tuple[str, str | None]:
    """``sgd[betas=[0.9,0.99]]`` as ``sgd`` and ``betas=[0.9,0.99]``: from the bracket that the last one closes."""
    depth = 0
    for place in range(len(text) - 1, 0, -1) if text.endswith("]") else ():
        depth += {"]": 1, "[": -1}.get(text[place], 0)
        if not depth:
            options = text[place + 1 : -1]
            return (text[:place], options) if options.strip() else (text, None)
    return text, None


def source_of(text: str) -> Path | None:
    """The file that `text` names, by built-in name or path; None for an import path."""
    base, files = _parts(text)[0], builtin_files()
    if base in files:
        return files[base]
    return Path(base) if base.endswith(".py") or "/" in base else None


def builtin_method(text: str) -> str | None:
    """The method of the built-in submission that `text` names, by name or path, with its settings; None of another."""
    path, (_, options) = source_of(text), _parts(text)
    if path is None or path.resolve() not in map(Path.resolve, builtin_files().values()):
        return None
    return method_by_name(path.stem if options is None else f"{path.stem}[{options}]")


def origin_of(submission: Submission) -> tuple[str, str]:
    """The full name of the submitted code, and the version of its package: the submission's file may only import it."""
    module = getattr(submission.factory, "__module__", "") or ""
    return f"{module}.{getattr(submission.factory, '__qualname__', '')}", _version(module)


def source_hash(text: str, origin: tuple[str, str]) -> str:
    """The hash of the file that `text` names, of the `origin_of` its code, and of the settings that `text` fixes.

    Raises:
        InputError: the file cannot be read.
    """
    path, options = source_of(text), _parts(text)[1]
    assert path is not None
    try:
        file_hash = _hash(path.read_bytes(), *origin)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    return file_hash if options is None else _hash(file_hash.encode(), options)


FILE_MODULE = "lowlands_submission_"
"""Begins the name of the module of a file that is no part of a package."""


def import_file(path: Path) -> ModuleType:
    """The module in the file `path`; an `InputError` if it cannot be imported."""
    spec = importlib.util.spec_from_file_location(f"{FILE_MODULE}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
    try:
        # `exec_module` would take cached bytecode for current if the file changed within a second and kept its size.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported ({sentence(error)}).") from error
    return module


def _from_file(path: Path, text: str) -> LoadedSubmission:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    submission, description = _unpickled(path) if path.suffix == PICKLED else _imported(path)
    if not isinstance(submission, Submission):
        raise InputError(f"{path}: `submission` must be a lowlands.Submission, not {type(submission).__name__}.")
    if not submission.description:
        submission = replace(submission, description=description)
    if submission.method is None:
        submission = replace(submission, method=builtin_method(text))
    return LoadedSubmission(submission, text, source_hash(text, origin_of(submission)))


def _imported(path: Path) -> tuple[Any, str]:
    """The variable `submission` of a file, and the file's docstring."""
    module = import_file(path)
    if not hasattr(module, "submission"):
        raise InputError(
            f"{path} defines no `submission`; it needs a line `submission = Submission(name=…, optimizer=…)`."
        )
    return module.submission, (inspect.getdoc(module) or "").strip()


def _unpickled(path: Path) -> tuple[Any, str]:
    """What a file of `PICKLED` holds, and no description."""
    try:
        return pickle.loads(path.read_bytes()), ""
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be read ({sentence(error)}).") from error


def of_factory(factory: Callable[..., Any], name: str) -> Submission:
    """The submission of an optimizer that comes without a space: the default one; explicit if it decays by default."""
    decay = getattr(signature(factory).get("weight_decay"), "default", None)
    explicit = isinstance(decay, int | float) and decay > 0  # it decays weights unless told not to
    description = (inspect.getdoc(factory) or "").split("\n\n")[0]
    return Submission(name, factory, space=default_space(factory), explicit=explicit, description=description)


def _from_import_path(text: str) -> LoadedSubmission:
    module_name, _, class_name = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(f"The module {module_name!r} of {text!r} cannot be imported ({sentence(error)}).") from error
    submission = getattr(module, class_name, None)
    if submission is None:
        raise unknown("class", class_name, dir(module), "no name there is similar.", f"in the module {module_name!r}")
    if not isinstance(submission, Submission):
        if not callable(submission):
            raise InputError(f"{text!r} is not a class or a function.")
        submission = of_factory(submission, class_name)
    try:
        source = inspect.getsource(inspect.getmodule(submission.factory) or module).encode()
    except (OSError, TypeError):
        source = b""
    return LoadedSubmission(submission, text, _hash(source, text, _version(module_name)))


def _with_settings(text: str, options: str) -> LoadedSubmission:
    """The submission `text` with hyper-parameters fixed as ``lr=0.1,momentum=0.9`` or `FIXED` says."""
    loaded = load(text)
    submission = loaded.submission
    settings = submission.fixed_setting() if options == FIXED else _settings(text, options)
    submission = replace(
        submission,
        name=f"{submission.name}[{options}]",
        space={**submission.space, **settings},
        method=with_settings(submission.method, settings),
    )
    return LoadedSubmission(submission, f"{text}[{options}]", _hash(loaded.source_hash.encode(), options))


def _settings(text: str, options: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    try:
        for option in split(options):
            key, sign, value = (part.strip() for part in option.partition("="))
            if not (sign and key.isidentifier()) or key in settings:
                raise InputError(f"{option!r} is not of the form name=value, or names a setting twice.")
            settings[key] = literal(value)
    except InputError as error:
        raise InputError(f"{text}[{options}]: {error}") from None
    return settings


@functools.cache
def load(text: str) -> LoadedSubmission:
    """The submission that `text` names; see the head of this file.

    Raises:
        InputError: there is none, it cannot be imported, or it defines no usable submission.
    """
    base, options = _parts(text)
    if options is not None:
        return _with_settings(base, options)
    if (path := source_of(text)) is not None:
        return _from_file(path, text)
    if ":" in text:
        return _from_import_path(text)
    if text in (found := plugins.names("submissions")):
        return replace(_from_import_path(found[text]), text=text)
    raise unknown("submission", text, [*builtin_files(), *found])
