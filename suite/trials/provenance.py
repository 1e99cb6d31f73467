"""What a record says of where its numbers come from: source, versions, machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import suite
from suite.storage.cache import cached_on_disk
from suite.storage.log import many_records
from suite.task import Task

WORDS = ("behavior", "estimate", "literals", "optimizers", "seeding", "signature", "submission", "task")
"""The files beside the packages that decide numbers."""

PACKAGES = (
    "kernels", "data", "models", "curvature", "training", "oracles", "measures", "entries", "tasks", "trials",
)  # fmt: skip
"""The packages that decide numbers: not how records are stored, nor which process computes them."""


@functools.cache
def suite_hash() -> str:
    """SHA-256 (16 hex digits) of the code that decides numbers, and of the reference values of the image tasks."""
    return hash_of_source(Path(suite.__file__).parent)


def hash_of_source(root: Path) -> str:
    """The hash of the suite in the folder `root`: comments, docstrings and layout do not change it.

    Parsing takes a third of a second, so the result is cached on disk under a hash of the files.
    """
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in _files(root)}

    def compute() -> dict[str, np.ndarray[Any, Any]]:
        digest = hashlib.sha256()
        with many_records():  # syntax trees are trees too
            for name in sorted(files):
                text = repr(_code(ast.parse(files[name]))) if name.endswith(".py") else files[name].decode()
                digest.update(f"{name}\0{text}\0".encode())
        return {"hash": np.array(digest.hexdigest()[:16])}

    raw = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    return str(cached_on_disk("source", raw, compute)["hash"])


def _files(root: Path) -> Iterator[Path]:
    """The files that decide numbers."""
    yield from (root / f"{name}.py" for name in WORDS)
    for package in PACKAGES:
        for pattern in ("*.py", "*.json"):
            yield from (path for path in (root / package).rglob(pattern) if "templates" not in path.parts)


def _code(node: Any) -> Any:
    """A syntax tree as nested tuples, without docstrings; alike in all versions of Python, unlike `ast.dump`."""
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        return type(node).__name__, *((name, _code(value)) for name, value in fields if value not in (None, []))
    if isinstance(node, list):
        return tuple(_code(item) for item in node if not _is_docstring(item))
    return node


def _is_docstring(node: Any) -> bool:
    """Whether a statement is a text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def task_hash(task: Task) -> str:
    """What a task's numbers depend on: its name with variant, the suite's code, and the source of one of the user's."""
    own = f" {task.source}" if task.source else ""
    return hashlib.sha256(f"{task.name} {suite_hash()}{own}".encode()).hexdigest()[:16]


@functools.cache
def environment(device: str) -> Mapping[str, Any]:
    """The versions and the machine that a record names."""
    name = torch.cuda.get_device_name(device) if device != "cpu" and torch.cuda.is_available() else device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "device": name,
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()}-{platform.machine()}",
    }
