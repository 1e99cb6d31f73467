"""Custom data sets: ``<name>.npz`` with the keys x_train, y_train, x_test, y_test (the convention of Keras)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from suite.data.archive import read_arrays
from suite.data.datasets_folder import folder_of
from suite.data.image_set import ImageSet
from suite.errors import InputError
from suite.task import Split

KEYS = ("x_train", "y_train", "x_test", "y_test")
MAX_CHANNELS = 4
"""A longer last axis is taken for a width: then the channels are not last."""


def read_npz(path: Path, name: str) -> ImageSet | None:
    """The data set in a file, or in a folder of `datasets` in its place, channels first; None if there is neither.

    Images are uint8 or floating point, [n, height, width] or [n, height, width, channels], labels are integers [n] or
    [n, 1]; every class from 0 to the largest label occurs in y_train. Other keys are ignored.

    Raises:
        InputError: the file is damaged or cannot be read, or its arrays are not such images and labels.
    """
    if not path.exists() and folder_of(path) is None:
        return None
    arrays = read_arrays(path, partial(_keys, path))
    images = {key: _images(arrays[key], key, path) for key in ("x_train", "x_test")}
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        shapes = [str(arrays[key].shape[1:]) for key in images]
        raise InputError(f"{path}: the images of x_train and x_test differ in shape ({' and '.join(shapes)}).")
    labels = {key: _labels(arrays[key], key, len(images[f"x{key[1:]}"]), path) for key in ("y_train", "y_test")}
    classes = _classes(labels["y_train"], labels["y_test"], path)
    train, test = (Split(images[f"x_{part}"], labels[f"y_{part}"]) for part in ("train", "test"))
    return ImageSet(name, train, test, classes)


def _keys(path: Path, names: list[str]) -> list[str]:
    """The four keys; an InputError if one is not among `names`."""
    missing = [key for key in KEYS if key not in names]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it needs {', '.join(KEYS)}.")
    return list(KEYS)


def _images(array: NDArray[np.generic], key: str, path: Path) -> torch.Tensor:
    """Images uint8 or float32, [n, channels, height, width]."""
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path}: {key} must be uint8 or floating point, not {array.dtype}.")
    if array.ndim not in (3, 4) or 0 in array.shape or (array.ndim == 4 and array.shape[3] > MAX_CHANNELS):
        raise InputError(
            f"{path}: {key} must be [n, height, width] or [n, height, width, channels] with at most {MAX_CHANNELS} "
            f"channels, not {list(array.shape)}."
        )
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {key} holds values that are not finite.")
    tensor = torch.from_numpy(array)
    return (tensor[:, None] if array.ndim == 3 else tensor.permute(0, 3, 1, 2)).contiguous()


def _labels(array: NDArray[np.generic], key: str, samples: int, path: Path) -> torch.Tensor:
    """Labels int64 [n], of `samples` images."""
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{path}: {key} must hold integers, not {array.dtype}.")
    if array.shape not in ((samples,), (samples, 1)):
        raise InputError(f"{path}: {key} must have one label for each of the {samples} images, not {array.shape}.")
    return torch.from_numpy(array.reshape(-1).astype(np.int64))


def _classes(train: torch.Tensor, test: torch.Tensor, path: Path) -> int:
    """The number of classes: labels are 0, 1, … without a gap, and no test label is missing from training."""
    labels = torch.unique(train)
    count = len(labels)
    if not torch.equal(labels, torch.arange(count)):
        raise InputError(
            f"{path}: the {count} classes in y_train must be labelled 0 to {count - 1}, "
            f"not {int(labels[0])} to {int(labels[-1])}."
        )
    if count < 2:
        raise InputError(f"{path}: y_train holds one class only.")
    low, high = int(test.min()), int(test.max())
    if low < 0 or high >= count:
        raise InputError(f"{path}: y_test has labels from {low} to {high}, y_train from 0 to {count - 1}.")
    return count
