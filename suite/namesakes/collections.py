"""The collections of optimizers that people install, by module. No torch import."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import suite
from suite.errors import InputError, unknown

COLLECTIONS: Mapping[str, str] = {
    "torch.optim": "torch",
    "pytorch_optimizer": "pytorch_optimizer",
    "heavyball": "heavyball",
    "torch_optimizer": "torch-optimizer",
    "timm.optim": "timm",
    "schedulefree": "schedulefree",
    "dadaptation": "dadaptation",
    "prodigyopt": "prodigyopt",
    "lion_pytorch": "lion-pytorch",
    "optax": "optax",
    "optax.contrib": "optax",
}
"""Module -> the package that brings it, as pip knows it. All but torch and pytorch_optimizer are the extra `zoo`."""


def module_of(name: str) -> str:
    """The collection of ``module:Class``."""
    return name.partition(":")[0]


def installed(module: str) -> str | None:
    """The version of the collection `module` that is installed, if one is."""
    return _version(COLLECTIONS[module])


@functools.cache  # every program that is trained asks, and the answer lies in files
def _version(package: str) -> str | None:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def source_package(made: type) -> str | None:
    """The package and version that a class comes from, such as ``torch 2.14.1``; None for one of a file."""
    if vars(sys.modules.get(made.__module__, object)).get(made.__name__) is not made:
        return None  # a class can say that it is of any module
    top = made.__module__.partition(".")[0]
    if top == suite.__name__:
        return f"lowlands {suite.__version__}"
    packages = {module.partition(".")[0]: package for module, package in COLLECTIONS.items()}
    package = packages.get(top, top)
    number = _version(package)
    return f"{package} {number}" if number else None


def find(name: str) -> Callable[..., Any]:
    """The optimizer ``module:Class`` of an installed collection; of optax, its transform as a torch optimizer.

    heavyball's compiler is switched off, for this process: it takes minutes for a class, and changes rounding alone.

    Raises:
        InputError: the collection has no such class, or cannot be imported.
    """
    module, _, attribute = name.partition(":")
    source = "suite.namesakes.transforms" if module.startswith("optax") else module
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            found = importlib.import_module(source)
        except ImportError as error:
            raise InputError(f"The collection {module} cannot be imported ({error}).") from error
        if module == "heavyball":
            vars(importlib.import_module("heavyball.utils"))["compile_mode"] = None
        made = getattr(found, attribute, None)
    if made is None:
        raise unknown("optimizer", attribute, dir(found), f"look into {module}.", f"in {module}")
    return made
