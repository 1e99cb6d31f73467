"""Oracles on disk: a problem that takes a solver seconds is solved once per data set, not once per process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from suite.storage.cache import Arrays, cached_on_disk
from suite.task import Oracle


def cached_oracle(key: str, solve: Callable[[], Oracle]) -> Oracle:
    """The oracle that `solve` computes, read from disk if an earlier process has stored it.

    Args:
        key: names everything that decides the answer: the task with its variant, the fingerprint of the data, and the
            hash of the source that solves.
        solve: computes the oracle. What it raises is passed on, and nothing is stored.
    """
    arrays = cached_on_disk("oracles", key, lambda: _arrays(solve()))
    solutions, values = (
        {name.partition(":")[2]: array for name, array in arrays.items() if name.startswith(f"{kind}:")}
        for kind in ("solution", "value")
    )
    return Oracle(
        {name: torch.from_numpy(array) for name, array in solutions.items()},
        {name: float(array) for name, array in values.items()},
    )


def _arrays(oracle: Oracle) -> Arrays:
    """Solutions and values under the names that `cached_oracle` reads."""
    solutions = {f"solution:{name}": tensor.detach().cpu().numpy() for name, tensor in oracle.solutions.items()}
    return solutions | {f"value:{name}": np.array(value) for name, value in oracle.values.items()}
