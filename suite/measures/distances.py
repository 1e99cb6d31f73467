"""Distances of weights from a reference."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_distance(weights: Tensor, reference: Tensor) -> float:
    """``|weights - reference| / |reference|`` in the l2 norm over all entries."""
    return float(torch.linalg.vector_norm(weights - reference) / torch.linalg.vector_norm(reference))
