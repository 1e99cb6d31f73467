"""Norms of a solution, and margins over them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suite.measures.registry import CANONICAL, declare
from suite.measures.subject import Subject

MARGIN_QUANTILE = 0.1


@declare(unit="weight", scale="log", higher=False, cost=0, source="Neyshabur et al. 2015, arXiv:1503.00036")
@torch.no_grad()
def l2_norm(subject: Subject) -> float:
    """The l2 norm of all parameters."""
    return float(torch.linalg.vector_norm(torch.cat([p.reshape(-1) for p in subject.model.parameters()])))


@declare(
    unit="weight",
    scale="log",
    higher=False,
    cost=0,
    source="Nagarajan and Kolter 2019, arXiv:1901.01672",
    needs=("initial",),
)
@torch.no_grad()
def distance_from_initialization(subject: Subject) -> float:
    """The l2 distance of all parameters from where they started."""
    initial = subject.initial
    assert initial is not None
    moved = [(p - initial[name].to(p)).reshape(-1) for name, p in subject.model.named_parameters()]
    return float(torch.linalg.vector_norm(torch.cat(moved)))


def has_path_norm(model: nn.Module) -> bool:
    """Whether `model` is a plain chain of linear layers, ReLU and max pooling: normalisation has no path norm."""
    parts = (nn.Sequential, nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Identity)
    return all(isinstance(module, parts) for module in model.modules())


@torch.no_grad()
def l2_path_norm(model: nn.Module, input_shape: Sequence[int]) -> float:
    """Root of the sum over all paths of a ReLU network of the squared product of their weights.

    Computed as ``sqrt(sum f_{theta²}(1))`` in float64; a bias is a path from a constant unit.
    """
    squared = copy.deepcopy(model).double()
    for parameter in squared.parameters():
        parameter.square_()
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=next(squared.parameters()).device)
    return float(squared(ones).sum().sqrt())


@declare(
    unit="output / input",
    scale="log",
    higher=False,
    cost=0,
    source="Neyshabur et al. 2015, arXiv:1506.02617",
    invariances=CANONICAL,
)
def path_norm(subject: Subject) -> float:
    """The l2 path norm of a ReLU network, at matched training loss for classification."""
    return subject.logit_scale * l2_path_norm(subject.model, subject.train.x.shape[1:])


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the true class minus the largest other one, [n], for logits [n, classes] and labels [n]."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def _margin(subject: Subject) -> float:
    """The 10 % quantile of the training margins."""
    return torch.quantile(margins(subject.train_outputs.double(), subject.train.y), MARGIN_QUANTILE).item()


@declare(
    unit="input",
    scale="log",
    higher=True,
    cost=1 / 3,
    source="Neyshabur et al. 2017, arXiv:1706.08947",
    invariances=CANONICAL,
    needs=("labels",),
)
def path_margin(subject: Subject) -> float:
    """The 10 % quantile of the training margins over the l2 path norm."""
    return _margin(subject) / path_norm(subject)


@declare(
    unit="output / weight^layers",
    scale="log",
    higher=True,
    cost=1 / 3,
    source="Lyu and Li 2020, arXiv:1906.05890",
    needs=("labels",),
)
def l2_margin(subject: Subject) -> float:
    """The 10 % quantile of the training margins over the l2 norm to the power of the number of layers."""
    layers = sum(p.dim() > 1 for p in subject.model.parameters())
    return _margin(subject) / l2_norm(subject) ** layers
