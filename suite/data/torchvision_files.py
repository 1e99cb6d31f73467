"""Data sets in torchvision's directory layout, checked against the published checksums.

torchvision itself loads a damaged MNIST silently: it checks the archives that it downloads, not the files it reads.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suite.data.image_set import ImageSet
from suite.errors import InputError
from suite.task import Split

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MNIST = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
"""MD5 of the four uncompressed files."""
FASHION_MNIST = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)


def _checked(path: Path, md5: str) -> bytes:
    """The bytes of `path`, or those packed in `path` with .gz (Debian's archives differ), if they have the checksum."""
    packed = path.with_name(f"{path.name}.gz")
    if path.is_file():
        data = path.read_bytes()
    else:
        path = packed
        try:
            data = gzip.decompress(packed.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{packed} is damaged ({error}).") from error
    actual = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise InputError(f"{path} is damaged: its MD5 is {actual}, not {md5}; delete it to have it downloaded again.")
    return data


def _idx(root: Path, folder: str, sums: Sequence[str], name: str) -> ImageSet | None:
    """MNIST, or a data set in its format; None if the directory does not hold it."""
    raw = root / folder / "raw"
    if not raw.is_dir():
        return None
    missing = [part for part in IDX_FILES if not any((raw / f"{part}{end}").is_file() for end in ("", ".gz"))]
    if missing:
        raise InputError(f"{raw} lacks {', '.join(missing)}.")
    # Bytes with the right checksum need no parsing: headers of 16 and 8 bytes, then pixels or labels.
    train_x, train_y, test_x, test_y = (
        torch.from_numpy(np.frombuffer(_checked(raw / part, md5), np.uint8, offset=header).copy())
        for part, md5, header in zip(IDX_FILES, sums, (16, 8, 16, 8), strict=True)
    )
    train, test = (Split(x.reshape(-1, 1, 28, 28), y.long()) for x, y in ((train_x, train_y), (test_x, test_y)))
    return ImageSet(name, train, test, classes=10)


def _cifar10(root: Path) -> ImageSet | None:
    """The batches, which torchvision checks against its own MD5 sums; None if the directory does not hold them."""
    if not (root / "cifar-10-batches-py").is_dir():
        return None
    from torchvision.datasets import CIFAR10

    def part(train: bool) -> Split:
        try:
            data: Any = CIFAR10(root, train=train)
        except (RuntimeError, pickle.UnpicklingError) as error:
            raise InputError(f"{root / 'cifar-10-batches-py'} is damaged or incomplete ({error}).") from error
        return Split(torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets))

    return ImageSet("cifar10", part(True), part(False), classes=10)


LAYOUTS: Mapping[str, Callable[[Path], ImageSet | None]] = {
    "mnist": functools.partial(_idx, folder="MNIST", sums=MNIST, name="mnist"),
    "fashion_mnist": functools.partial(_idx, folder="FashionMNIST", sums=FASHION_MNIST, name="fashion_mnist"),
    "cifar10": _cifar10,
}
"""Data set -> reader of a directory, which returns None if the directory does not hold it."""
