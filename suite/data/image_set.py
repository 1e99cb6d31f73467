"""What an image data set is, and what is known of the published ones."""

from __future__ import annotations

from dataclasses import dataclass

from suite.task import Split


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: `x` is uint8 or float32 [n, channels, height, width], `y` is int64 [n] in 0 .. classes - 1."""

    name: str
    train: Split
    test: Split
    classes: int


@dataclass(frozen=True)
class Published:
    """What a published data set is known to be: its number of training images, an image's shape, its classes."""

    samples: int
    shape: tuple[int, int, int]
    classes: int


PUBLISHED = {
    "mnist": Published(60_000, (1, 28, 28), 10),
    "fashion_mnist": Published(60_000, (1, 28, 28), 10),
    "cifar10": Published(50_000, (3, 32, 32), 10),
}
