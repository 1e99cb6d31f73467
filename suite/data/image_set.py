"""Image data sets, and the sizes of the published ones."""

from __future__ import annotations

from dataclasses import dataclass

from suite.task import Split


@dataclass(frozen=True)
class ImageSet:
    """Labelled images.

    Attributes:
        name: of the data set.
        train, test: x uint8 or float32 [n, channels, height, width], y int64 [n] in 0 .. classes - 1.
        classes: their number.
    """

    name: str
    train: Split
    test: Split
    classes: int


@dataclass(frozen=True)
class Published:
    """The size of a published data set.

    Attributes:
        samples: training images.
        shape: (channels, height, width) of an image.
        classes: their number.
    """

    samples: int
    shape: tuple[int, int, int]
    classes: int


PUBLISHED = {
    "mnist": Published(60_000, (1, 28, 28), 10),
    "fashion_mnist": Published(60_000, (1, 28, 28), 10),
    "cifar10": Published(50_000, (3, 32, 32), 10),
}
"""Name -> size of the data sets that can be downloaded."""
