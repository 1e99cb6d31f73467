"""Folders that Hugging Face's `datasets` wrote (``save_to_disk``), as the arrays that an ``.npz`` file would hold.

They are Arrow tables: no code of theirs runs. The library is asked for only where there is such a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError, sentence

MARKS = ("dataset_dict.json", "dataset_info.json")
"""A folder with one of these holds a data set, of several splits or of one."""

TARGETS = ("y", "label", "labels", "target")
INPUTS = ("x", "image", "img", "features")
"""Columns of targets and of inputs; without one of the latter all other columns are the features of a table."""

PARTS = {"train": "_train", "test": "_test", "": ""}
"""Splits that are read, and how the names of their arrays end; the only split of a folder is called by no name."""


def folder_of(path: Path) -> Path | None:
    """The folder ``NAME`` of a data set in the place of the file ``NAME.npz``; None if there is none."""
    folder = path.with_suffix("")
    return folder if not path.exists() and any((folder / mark).is_file() for mark in MARKS) else None


def read_folder(folder: Path, choose: Callable[[list[str]], list[str]], max_bytes: int) -> dict[str, NDArray[Any]]:
    """Arrays x and y of the only split, or x_train, y_train, x_test and y_test of the splits ``train`` and ``test``.

    Args:
        folder: as `folder_of` gives it.
        choose: names of arrays -> those that are wanted; may raise InputError.
        max_bytes: how much the tables may take.

    Raises:
        InputError: the library is missing, the folder is damaged, too large, or has no targets, or a column holds no
            numbers of one shape.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(f"{folder} is a folder of Hugging Face's `datasets`, which is not installed.") from None
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # pyarrow and json report damage by errors of many types
        raise InputError(f"{folder} is damaged or no folder of a data set ({sentence(error)}).") from error
    splits = {"": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    splits = {name: split for name, split in splits.items() if name in PARTS}
    if (size := sum(split.data.nbytes for split in splits.values())) > max_bytes:
        raise InputError(f"{folder} holds {size:,} bytes, more than the {max_bytes:,} that may be read.")
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        inputs, targets = _columns(folder, list(split.column_names))
        rows = split.with_format("numpy")[:]
        features = [np.asarray(rows[column]) for column in inputs]
        arrays[f"x{PARTS[name]}"] = features[0] if inputs[0] in INPUTS else np.stack(features, axis=1)
        arrays[f"y{PARTS[name]}"] = np.asarray(rows[targets])
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{folder}: {name} must hold numbers, of one shape in all rows.")
    return {name: arrays[name] for name in choose(list(arrays))}


def _columns(folder: Path, names: list[str]) -> tuple[list[str], str]:
    """The columns of inputs, and that of targets."""
    targets = next((name for name in TARGETS if name in names), None)
    inputs = next(([name] for name in INPUTS if name in names), [name for name in names if name != targets])
    if targets is None or not inputs:
        raise InputError(
            f"{folder} has the columns {', '.join(names)}; it needs one of {', '.join(TARGETS)}, and inputs."
        )
    return inputs, targets
