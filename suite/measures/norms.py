"""Norms of a solution, and margins over them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def l2_norm(model: nn.Module) -> float:
    """The l2 norm of all parameters."""
    return float(torch.linalg.vector_norm(torch.cat([p.reshape(-1) for p in model.parameters()])))


@torch.no_grad()
def distance_from_initialization(model: nn.Module, initial: Mapping[str, Tensor]) -> float:
    """The l2 distance of all parameters from where they started."""
    moved = [(p - initial[name].to(p)).reshape(-1) for name, p in model.named_parameters()]
    return float(torch.linalg.vector_norm(torch.cat(moved)))


@torch.no_grad()
def path_norm(model: nn.Module, input_shape: Sequence[int]) -> float:
    """The l2 path norm of a ReLU network: root of the sum over all paths of the squared product of their weights.

    Computed as ``sqrt(sum f_{theta²}(1))``; a bias is a path from a constant unit (Neyshabur et al. 2015,
    arXiv:1506.02617). No rescaling between layers or neurons changes it.
    """
    squared = copy.deepcopy(model).double()
    for parameter in squared.parameters():
        parameter.square_()
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=next(squared.parameters()).device)
    return float(squared(ones).sum().sqrt())


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the true class minus the largest other one, [n], for logits [n, classes] and labels [n]."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)
