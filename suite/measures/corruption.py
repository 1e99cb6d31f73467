"""Generalization to images that are harder than the test data: corrupted, translated or rotated ones.

All are computed from the test data (no download), the same for every solution. Inputs are normalised images; distances
are pixels, noise is in standard deviations of the training pixels. Beyond the edge of an image its edge is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from suite.estimate import Estimate
from suite.measures.context import MeasureContext
from suite.measures.generalization import error_and_loss
from suite.measures.registry import OF_FUNCTION, declare
from suite.seeding import torch_stream

NOISE = 0.5
BLUR = 1.0
CONTRAST = 0.4
TRANSLATION = 2.0
ROTATION = 15.0
BLOCK = 256
"""Images that are changed at a time. A multiple of 16: torch draws noise in groups of so many."""


def noisy(images: Tensor, stream: Generator) -> Tensor:
    """Images [n, c, h, w] with Gaussian noise of standard deviation 0.5."""
    return images + NOISE * torch.randn(images.shape, generator=stream).to(images)


def blurred(images: Tensor, _: Generator | None = None) -> Tensor:
    """Images [n, c, h, w] after a Gaussian filter of standard deviation 1 pixel."""
    reach = math.ceil(3 * BLUR)
    weights = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * BLUR**2))
    shares: list[float] = (weights / weights.sum()).tolist()
    # Sums of shifted images: a convolution of one channel would be padded to sixteen.
    for axis, margin in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        padded, size = pad(images, margin, mode="replicate"), images.shape[axis]
        images = reduce(torch.add, (share * padded.narrow(axis, at, size) for at, share in enumerate(shares)))
    return images


def faint(images: Tensor, _: Generator | None = None) -> Tensor:
    """Images [n, c, h, w] whose contrast about each image's own mean is reduced to 40 %."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + CONTRAST * (images - mean)


def translated(images: Tensor, stream: Generator) -> Tensor:
    """Images [n, c, h, w], each moved by 2 pixels in its own random direction."""
    angle = 2 * math.pi * torch.rand(len(images), generator=stream)
    pixels = TRANSLATION * torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return _moved(images, torch.zeros(len(images)), pixels)


def rotated(images: Tensor, stream: Generator) -> Tensor:
    """Images [n, c, h, w], each turned by 15 degrees to the left or to the right."""
    signs = 2 * torch.randint(0, 2, (len(images),), generator=stream) - 1
    return _moved(images, math.radians(ROTATION) * signs, torch.zeros(len(images), 2))


def _moved(images: Tensor, angle: Tensor, pixels: Tensor) -> Tensor:
    """Images turned by `angle` [n] (radians) and moved by `pixels` [n, 2] (x, y), interpolated bilinearly."""
    (height, width), cosine, sine = images.shape[2:], torch.cos(angle), torch.sin(angle)
    # The grid runs from -1 to 1 on both axes whatever the sides are: an oblong image is turned in pixels.
    shift = -2 * pixels / torch.tensor([width, height])
    rows = [
        torch.stack([cosine, -sine * height / width, shift[:, 0]], 1),
        torch.stack([sine * width / height, cosine, shift[:, 1]], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1).to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


Change = Callable[[Tensor, Generator], Tensor]
CORRUPTIONS: dict[str, Change] = {"noise": noisy, "blur": blurred, "contrast": faint}
SHIFTS: dict[str, Change] = {"translation": translated, "rotation": rotated}
CHANGES = CORRUPTIONS | SHIFTS
DETERMINISTIC = (blurred, faint)

declare_error = partial(
    declare, kind="estimate", unit="share", needs=("labels", "test", "images"), invariances=OF_FUNCTION
)


@declare_error(cost=1, source="Hendrycks and Dietterich 2019, arXiv:1903.12261")
def corruption_error(context: MeasureContext) -> dict[str, float]:
    """Share of wrong predictions on test images under noise, blur and low contrast."""
    return {name: _error(context, name) for name in CORRUPTIONS}


@declare_error(cost=2 / 3, source="Engstrom et al. 2019, arXiv:1712.02779")
def shift_error(context: MeasureContext) -> dict[str, float]:
    """Share of wrong predictions on test images that are translated or rotated: their labels stay true."""
    return {name: _error(context, name) for name in SHIFTS}


@torch.no_grad()
def _error(context: MeasureContext, name: str) -> Estimate:
    """Share of wrong predictions under one change; images are changed in blocks that stay in the cache.

    Random changes are drawn once for each of the n images. The standard error over these draws is at most that of n
    equal coins, ``sqrt(share (1 - share) / n)``, which is stated.
    """
    test, change, stream = context.required_test, CHANGES[name], torch_stream("corruption", name)
    outputs = [context.predictions(change(block, stream)) for block in torch.split(test.x, BLOCK)]
    share, _ = error_and_loss(torch.cat(outputs), test.y)
    if change in DETERMINISTIC:
        return Estimate(share)
    return Estimate(share, "estimate", math.sqrt(share * (1 - share) / len(test)))
