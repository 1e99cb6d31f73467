"""Image data sets, and the sizes of the published ones."""

from __future__ import annotations

from dataclasses import dataclass

from suite.task import Split


@dataclass(frozen=True)
class ImageSet:
    """A data set: x uint8 or float32 [n, channels, height, width], y int64 [n] in 0 … classes - 1."""

    name: str
    train: Split
    test: Split
    classes: int


@dataclass(frozen=True)
class Published:
    """The size of a published data set."""

    samples: int  # in training
    shape: tuple[int, int, int]  # channels, height, width
    classes: int


PUBLISHED = {
    "mnist": Published(60_000, (1, 28, 28), 10),
    "fashion_mnist": Published(60_000, (1, 28, 28), 10),
    "cifar10": Published(50_000, (3, 32, 32), 10),
}
"""Name -> size of the data sets that can be downloaded."""
