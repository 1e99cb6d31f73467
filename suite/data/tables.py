"""Samples of the user's own in ``.npz`` files: x and y, or x_train and y_train, and perhaps x_test and y_test."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.data.archive import read_arrays
from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Problem, Split

MAX_CLASSES = 10**6
"""A network of more outputs would not be built for the classes of a file."""

SHARE = 5
"""Of the samples one in five is for the test where the file has no test part, and then one in five for validation."""


def read_samples(path: Path, max_bytes: int | None = None) -> tuple[Split, Split | None]:
    """The training samples of a file, and its test samples if it has some.

    Inputs are real or integer [n, ...]; targets are real, or classes from 0.

    Args:
        path: the file.
        max_bytes: how large its arrays may be; see `suite.data.archive.read_arrays`.

    Raises:
        InputError: the file cannot be read, or its arrays are no samples: of different numbers, or none, or not finite,
            or of negative classes.
    """
    arrays = read_arrays(path, partial(_keys, path), max_bytes)
    train = _pair(path, arrays, "x", "y") if "x" in arrays else _pair(path, arrays, "x_train", "y_train")
    return train, _pair(path, arrays, "x_test", "y_test") if "x_test" in arrays else None


def _keys(path: Path, names: Sequence[str]) -> list[str]:
    """Those of `names` that hold training data, and test data where there are some; others are not read."""
    pairs = [pair for pair in (("x", "y"), ("x_train", "y_train")) if {*pair} <= {*names}]
    if not pairs:
        content = ", ".join(names) or "nothing"
        raise InputError(f"{path} holds {content}; it must hold x and y, or x_train and y_train.")
    test = ("x_test", "y_test")
    return [*pairs[0], *(test if {*test} <= {*names} else ())]


def _pair(path: Path, arrays: Mapping[str, NDArray[Any]], x: str, y: str) -> Split:
    """The arrays named `x` and `y` as real or integer inputs and targets."""
    inputs, targets = arrays[x], arrays[y]
    for name, array in ((x, inputs), (y, targets)):
        if array.ndim == 0 or not len(array):
            raise InputError(f"{path}: {name} must hold at least one sample, and its shape is {array.shape}.")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds values that are not finite.")
    if len(inputs) != len(targets):
        raise InputError(f"{path}: {x} holds {len(inputs)} samples and {y} {len(targets)}.")
    if targets.dtype.kind == "f":
        return Split(torch.from_numpy(_numbers(inputs)), torch.from_numpy(targets))
    if targets.size and not 0 <= targets.min() <= targets.max() < MAX_CLASSES:
        raise InputError(
            f"{path}: {y} must hold real targets, or classes from 0 to at most {MAX_CLASSES - 1:,}, "
            f"not {targets.min()} to {targets.max()}."
        )
    return Split(torch.from_numpy(_numbers(inputs)), torch.from_numpy(targets.astype(np.int64)))


def _numbers(inputs: NDArray[Any]) -> NDArray[Any]:
    return inputs if inputs.dtype.kind == "f" else inputs.astype(np.int64)


@dataclass(frozen=True)
class Table:
    """Rows of features, x float64 [n, d], and targets: y int64 [n] in 0 … classes - 1, or float64 [n, outputs].

    `classes` is None for real targets; `test` is None where the file has no test part.
    """

    name: str
    train: Split
    test: Split | None
    classes: int | None

    @property
    def outputs(self) -> int:
        """Of a network: the classes, or the targets of a row."""
        return self.classes or self.train.y.shape[1]

    @property
    def training_size(self) -> int:
        """How many rows there are to train on."""
        rest = len(self.train) - (len(self.train) // SHARE if self.test is None else 0)
        return rest - rest // SHARE


def load_table(name: str) -> Table:
    """The table in ``NAME.npz`` in ``$LOWLANDS_DATA``; the last two are cached.

    Raises:
        InputError: there is no such file or directory, or it holds no rows of features with targets.
    """
    return _load(name, os.environ.get("LOWLANDS_DATA") or None)


@functools.lru_cache(maxsize=2)
def _load(name: str, directory: str | None) -> Table:
    if directory is None:
        raise InputError(f"There is no table {name!r}: no directory is given (--data or $LOWLANDS_DATA).")
    path = Path(directory) / f"{name}.npz"
    train, test = read_samples(path)
    parts = [part for part in (train, test) if part is not None]
    for part in parts:
        if part.x.dim() != 2 or part.x.shape[1] != train.x.shape[1] or not part.x.shape[1]:
            raise InputError(f"{path}: x must be [rows, features], alike in all parts, not {list(part.x.shape)}.")
        if part.y.is_floating_point() != train.y.is_floating_point():
            raise InputError(f"{path}: the targets of one part are classes, and those of the other are real.")
        if part.y.dim() != 1 and not (part.y.is_floating_point() and part.y.shape[1:] == train.y.shape[1:]):
            raise InputError(f"{path}: y must be [rows], or real and [rows, targets], not {list(part.y.shape)}.")
    if len(train) < 2 * SHARE:
        raise InputError(f"{path} has {len(train)} rows; it takes {2 * SHARE}.")
    classes = None if train.y.is_floating_point() else 1 + max(int(part.y.max()) for part in parts)
    if classes == 1:
        raise InputError(f"{path}: y holds one class only.")

    def numbers(part: Split) -> Split:
        return Split(part.x.double(), part.y if classes else part.y.double().reshape(len(part), -1))

    return Table(name, numbers(train), None if test is None else numbers(test), classes)


def split_table(table: Table, task: str, seed: int) -> Problem:
    """Training, validation and test part, drawn for the seed; features and real targets standardized by the first.

    Where the file has a test part, it is taken whole. A constant column becomes 0.
    """
    order = torch.randperm(len(table.train), generator=torch_stream(task, seed, "data"))
    tested = len(order) // SHARE if table.test is None else 0
    checked = (len(order) - tested) // SHARE
    rows = {"test": order[:tested], "validation": order[tested : tested + checked], "train": order[tested + checked :]}
    parts = {name: Split(table.train.x[chosen], table.train.y[chosen]) for name, chosen in rows.items()}
    if table.test is not None:
        parts["test"] = table.test
    inputs, targets = _standardizer(parts["train"].x), _standardizer(parts["train"].y)
    return Problem(
        **{name: Split(inputs(part.x), part.y if table.classes else targets(part.y)) for name, part in parts.items()}  # type: ignore[arg-type]
    )


def _standardizer(columns: Tensor) -> Any:
    """What maps columns to mean 0 and deviation 1 in `columns` [n, d]; a constant one becomes 0."""
    if not columns.is_floating_point():
        return lambda values: values
    mean, deviation = columns.mean(0), columns.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return lambda values: (values - mean) / deviation
