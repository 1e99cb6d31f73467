"""The temperature that makes classification solutions comparable: equal training loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@torch.no_grad()
def matching_factor(logits: Tensor, labels: Tensor, target: float) -> float:
    """The factor on the logits [n, classes] that brings their cross-entropy to `target` (nats), by bisection.

    Cross-entropy and its curvature shrink when logits merely grow: solutions are compared at equal training loss. For
    samples that are all classified rightly the loss falls monotonically from log(classes) to 0, so the
    factor is unique. NaN if some sample is misclassified so that no factor reaches the target.
    """
    exact = logits.double()
    low, high = -12.0, 12.0

    def loss(log_factor: float) -> float:
        return cross_entropy(exact * math.exp(log_factor), labels).item()

    if loss(high) > target or loss(low) < target:
        # Beyond the loss's minimum over factors it may rise again: search the first crossing on a grid.
        grid = torch.linspace(low, high, 97).tolist()
        below = [factor for factor in grid if loss(factor) <= target]
        if not below:
            return math.nan
        high = below[0]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) > target else (low, middle)
    return math.exp(high)
