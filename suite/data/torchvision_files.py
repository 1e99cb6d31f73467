"""Data sets as torchvision lays them out in a directory, checked against the checksums of what was published.

torchvision itself loads a damaged MNIST silently: it checks the archives that it downloads, not what it reads.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import pickle
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from suite.data.image_set import ImageSet
from suite.errors import InputError
from suite.task import Split

if TYPE_CHECKING:
    from typing import Any


PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


MNIST = dict(
    zip(
        PARTS,
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
        strict=True,
    )
)
"""MD5 of the four uncompressed files."""


FASHION_MNIST = dict(
    zip(
        PARTS,
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        strict=True,
    )
)


def _whole(path: Path, md5: str) -> bytes:
    """The bytes of `path`, or of `path` with .gz uncompressed (Debian's archives have other bytes than the published).

    Raises:
        InputError: they are not the published ones.
    """
    packed = path.with_name(f"{path.name}.gz")
    if path.is_file():
        data = path.read_bytes()
    else:
        path = packed
        try:
            data = gzip.decompress(packed.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{packed} is damaged ({error}).") from error
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise InputError(f"{path} is damaged: its MD5 is {found}, not {md5}; delete it to have it downloaded again.")
    return data


def _idx(root: Path, folder: str, sums: Mapping[str, str], name: str) -> ImageSet | None:
    raw = root / folder / "raw"
    if not raw.is_dir():
        return None
    missing = [part for part in PARTS if not any((raw / f"{part}{end}").is_file() for end in ("", ".gz"))]
    if missing:
        raise InputError(f"{raw} lacks {', '.join(missing)}.")
    # Checked bytes need no parsing: headers of 16 and 8 bytes, then the pixels or the labels.
    train_x, train_y, test_x, test_y = (
        torch.from_numpy(np.frombuffer(_whole(raw / part, sums[part]), np.uint8, offset=header).copy())
        for part, header in zip(PARTS, (16, 8, 16, 8), strict=True)
    )
    train, test = (Split(x.reshape(-1, 1, 28, 28), y.long()) for x, y in ((train_x, train_y), (test_x, test_y)))
    return ImageSet(name, train, test, classes=10)


def _cifar10(root: Path) -> ImageSet | None:
    """The batches, which torchvision checks against its own MD5 sums."""
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
"""Data set -> reader of a directory; None where the directory does not hold it."""
