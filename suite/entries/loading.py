"""Finding a submission: by built-in name, from a file, or by import path; ``sgd[lr=0.1]`` fixes its settings."""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import suite
from suite.errors import InputError, sentence
from suite.signature import signature, wraps
from suite.submission import LogUniform, Submission

LARGEST = 1.0
"""The tasks with an oracle divide their loss by its curvature: a step size of 1 is gradient descent's 1/L there."""


UNKNOWN = LogUniform(1e-4, LARGEST)
"""The step size of an optimizer that names no default of its own."""


FREE = 1.0
"""A default step size of exactly 1 is a factor on a step that the optimizer finds itself (Prodigy, D-Adaptation,
Adadelta, a quasi-Newton step): it is left alone."""


def default_space(optimizer: Callable[..., Any]) -> dict[str, Any]:
    """The space of `lr`: from a decade below the optimizer's default to 1, or to a decade above the default.

    Defaults are chosen for deep networks; on losses that are divided by their curvature most optimizers reach the stop
    with step sizes from their default to a hundred times it, SGD (default 0.001) with a thousand times it. An
    `adamw_lr` beside it (Muon's, for vectors) is tuned alike.
    """
    arguments = signature(optimizer)
    names = [name for name in ("lr", "adamw_lr") if name in arguments]
    if not arguments or (not names and wraps(optimizer)):
        return {"lr": UNKNOWN}
    return {name: space for name in names if (space := _space(arguments[name].default)) is not None}


def _space(default: Any) -> LogUniform | None:
    if default is None:  # it finds its step size itself
        return None
    if not isinstance(default, int | float) or default <= 0:
        return UNKNOWN
    return None if default == FREE else LogUniform(default / 10, max(LARGEST, 10 * default))


def decays_by_default(optimizer: Callable[..., Any]) -> bool:
    """Whether the optimizer decays weights unless it is told otherwise: then it regularises on purpose."""
    decay = signature(optimizer).get("weight_decay")
    return decay is not None and isinstance(decay.default, int | float) and decay.default > 0


@dataclass(frozen=True)
class LoadedSubmission:
    """A submission, the text that found it (workers load it again by that text), and the hash of its source."""

    submission: Submission
    text: str
    source_hash: str


def builtin_directory() -> Path:
    """Where the built-in submissions lie: inside the package if installed from a wheel, else beside it."""
    package = Path(suite.__file__).parent
    packed = package / "_submissions"
    return packed if packed.is_dir() else package.parent / "submissions"


def builtin_files() -> dict[str, Path]:
    """Name -> file of every built-in submission; a new file is found without registration."""
    return {path.stem: path for path in sorted(builtin_directory().glob("*/*.py")) if path.stem != "__init__"}


def _version(module_name: str) -> str:
    root = sys.modules.get(module_name.partition(".")[0])
    return str(getattr(root, "__version__", ""))


def _hash(source: bytes, *more: str) -> str:
    return hashlib.sha256(b"\x1f".join([source, *(text.encode() for text in more)])).hexdigest()[:16]


def _parts(text: str) -> tuple[str, str | None]:
    """``sgd[lr=0.1]`` as ``sgd`` and ``lr=0.1``."""
    match = re.fullmatch(r"(.+)\[(.+)\]", text)
    return (match[1], match[2]) if match else (text, None)


def source_of(text: str) -> Path | None:
    """The file that `text` names, by built-in name or path; None for an import path."""
    base, files = _parts(text)[0], builtin_files()
    if base in files:
        return files[base]
    return Path(base) if base.endswith(".py") or "/" in base else None


def origin_of(submission: Submission) -> tuple[str, str]:
    """Where the submitted code was defined, and the version of that package: the file may only import it."""
    made = submission.optimizer or submission.architecture
    module = getattr(made, "__module__", "") or ""
    return f"{module}.{getattr(made, '__qualname__', '')}", _version(module)


def source_hash(text: str, origin: tuple[str, str]) -> str:
    """The hash of the file that `text` names, of what it imports from where, and of the settings that `text` fixes.

    Raises:
        InputError: the file cannot be read.
    """
    path, options = source_of(text), _parts(text)[1]
    assert path is not None
    try:
        own = _hash(path.read_bytes(), *origin)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    return own if options is None else _hash(own.encode(), options)


def import_file(path: Path) -> ModuleType:
    """The module in the file `path`; InputError if it cannot be imported."""
    spec = importlib.util.spec_from_file_location(f"lowlands_submission_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up there
    try:
        # Not by `exec_module`, for which kept bytecode is current while the file has the same size and second.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported ({sentence(error)}).") from error
    return module


def _from_file(path: Path, text: str) -> LoadedSubmission:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    module = import_file(path)
    if not hasattr(module, "submission"):
        raise InputError(
            f"{path} defines no `submission`; it needs a line `submission = Submission(name=…, optimizer=…)`."
        )
    found = module.submission
    if not isinstance(found, Submission):
        raise InputError(f"{path}: `submission` must be a suite.Submission, not {type(found).__name__}.")
    if not found.description:
        found = replace(found, description=(inspect.getdoc(module) or "").strip())
    return LoadedSubmission(found, text, source_hash(text, origin_of(found)))


def _from_import_path(text: str) -> LoadedSubmission:
    module_name, _, class_name = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(f"The module {module_name!r} of {text!r} cannot be imported ({sentence(error)}).") from error
    made = getattr(module, class_name, None)
    if made is None:
        near = difflib.get_close_matches(class_name, dir(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise InputError(f"The module {module_name!r} has no {class_name!r}{hint}")
    if isinstance(made, Submission):
        submission: Submission = made
        made = submission.optimizer or submission.architecture
    else:
        if not callable(made):
            raise InputError(f"{text!r} is not a class or a function.")
        submission = Submission(
            name=class_name,
            optimizer=made,
            space=default_space(made),
            explicit=decays_by_default(made),
            description=(inspect.getdoc(made) or "").split("\n\n")[0],
        )
    try:
        source = inspect.getsource(inspect.getmodule(made) or module).encode()
    except (OSError, TypeError):
        source = b""
    return LoadedSubmission(submission, text, _hash(source, text, _version(module_name)))


def _fixed(text: str, options: str) -> LoadedSubmission:
    """The submission `text` with hyper-parameters fixed as ``lr=0.1,momentum=0.9`` says."""
    loaded = load(text)
    settings = {}
    for option in options.split(","):
        key, sign, value = (part.strip() for part in option.partition("="))
        if not (sign and key.isidentifier()):
            raise InputError(f"{text}[{options}]: {option.strip()!r} is not of the form name=value.")
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = value
    made = loaded.submission
    fixed = replace(made, name=f"{made.name}[{options}]", space={**made.space, **settings})
    return LoadedSubmission(fixed, f"{text}[{options}]", _hash(loaded.source_hash.encode(), options))


@functools.cache
def load(text: str) -> LoadedSubmission:
    """The submission that `text` names: a built-in name, a path to a file, or ``module:Class``.

    Each may be followed by settings to fix, ``sgd[lr=0.1]``: they leave the space that is tuned.

    Raises:
        InputError: nothing there, it cannot be imported, or it defines no usable submission.
    """
    base, options = _parts(text)
    if options is not None:
        return _fixed(base, options)
    if (path := source_of(text)) is not None:
        return _from_file(path, text)
    if ":" in text:
        return _from_import_path(text)
    files = builtin_files()
    near = difflib.get_close_matches(text, files, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(files)}."
    raise InputError(f"There is no submission {text!r}: {hint}")
