"""The parts of one seed: drawn anew for every seed, disjoint, normalised by the training part alone."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.data.digits import digits
from suite.data.image_set import PUBLISHED, ImageSet
from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Problem, Split

VALIDATION = 10
"""One in so many training images is kept for validation."""


def training_size(held: int) -> int:
    """How many of `held` training images are left when those for validation are taken."""
    return held - held // VALIDATION


def wrong_labels(labels: Tensor, classes: int, stream: torch.Generator) -> Tensor:
    """For every label another one, each of the other classes equally likely."""
    return (labels + torch.randint(1, classes, labels.shape, generator=stream)) % classes


def _noisy(labels: Tensor, share: float, classes: int, stream: torch.Generator) -> Tensor:
    """Labels of which exactly the share `share` (rounded) is wrong."""
    flipped = torch.randperm(len(labels), generator=stream)[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[flipped] = wrong_labels(labels[flipped], classes, stream)
    return noisy


def _normalised(train: Split, validation: Split, test: Split) -> Problem:
    """Inputs minus the training part's mean over its deviation, channel by channel; a constant channel is 0."""
    pixels = train.x.transpose(0, 1).flatten(1).float()
    shape = (1, -1, 1, 1)
    mean, deviation = pixels.mean(1).reshape(shape), pixels.std(1).reshape(shape)
    deviation = torch.where(deviation > 0, deviation, 1.0)

    def normalise(part: Split) -> Split:
        # Channels last in memory: convolutions on a CPU are 1.7 times faster than with channels first.
        return Split(((part.x - mean) / deviation).contiguous(memory_format=torch.channels_last), part.y)

    first, second, third = map(normalise, (train, validation, test))
    return Problem(train=first, validation=second, test=third)


def _draw(pool: Split, sizes: list[int], stream: torch.Generator) -> list[Split]:
    """Disjoint random parts of `pool`."""
    order = torch.randperm(len(pool), generator=stream)[: sum(sizes)]
    return [Split(pool.x[rows], pool.y[rows]) for rows in torch.split(order, sizes)]


def split_digits(task: str, seed: int, train: int, validation: int, test: int) -> Problem:
    """Parts of the embedded digits, which have no test part of their own."""
    return _normalised(*_draw(digits(), [train, validation, test], torch_stream(task, seed, "data")))


def split_images(images: ImageSet, task: str, seed: int, subset: int = 0, flipped: float = 0.0) -> Problem:
    """A tenth of the training images for validation, the rest or `subset` of it for training, the whole test part.

    flipped: the share of wrong labels in training and validation (nobody who has noisy labels has clean ones to select
    by); those of the test part are true.

    Raises:
        InputError: fewer images than the subset asks for; or none is asked for, and the data set is not whole.
    """
    held = len(images.train)
    known = PUBLISHED.get(images.name)
    if not subset and known is not None and held != known.samples:
        raise InputError(
            f"The {images.name} found here has {held} training images, not {known.samples}: name a subset, "
            f"for example {task}[subset={held // 2}]."
        )
    left = training_size(held)
    if not 0 <= subset <= left < held:
        raise InputError(
            f"{images.name} has {held} training images, {held - left} of them for validation: "
            f"{subset or 'a part'} of them cannot be trained on."
        )
    stream = torch_stream(task, seed, "data")
    train, held_out = _draw(images.train, [subset or left, held - left], stream)
    if flipped:
        train, held_out = (Split(p.x, _noisy(p.y, flipped, images.classes, stream)) for p in (train, held_out))
    return _normalised(train, held_out, images.test)
