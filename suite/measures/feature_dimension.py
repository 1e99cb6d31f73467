"""Simplicity of the last hidden layer's representation of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.errors import InputError
from suite.measures.context import MeasureContext
from suite.measures.registry import LAYER_RESCALING, LOGIT_SCALE, declare
from suite.models import is_scripted

NEIGHBOURS = 20
POINTS = 2_000


@torch.no_grad()
def last_features(context: MeasureContext) -> Tensor:
    """The inputs of the network's last linear layer, [n, features], in float64, for at most 2,000 samples."""
    layers = [module for module in context.model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        which = "A scripted network shows" if is_scripted(context.model) else "The network has"
        raise InputError(f"{which} no linear layer whose inputs could be taken as features.")
    size = context.network.chunk(context.train.x)  # runs the network, so before there is a hook
    features: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, args: features.append(args[0].detach()))
    try:
        for part in torch.split(context.train.x[:POINTS], size):
            context.network.outputs(part)
    finally:
        handle.remove()
    return torch.cat([part.flatten(1) for part in features]).double()


def intrinsic_dimension(points: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """The maximum-likelihood dimension of points [n, d] from their distances to their nearest neighbours.

    Levina and Bickel 2004, averaged as MacKay and Ghahramani 2005 have it: the inverse of the mean of
    ``log(T_k / T_j)`` over points and j < k, T_j the distance to the j-th neighbour. Points that coincide count once;
    0 for fewer than three different points.
    """
    different = torch.unique(points, dim=0)
    k = min(neighbours, len(different) - 1)
    if k < 2:
        return 0.0
    distances = torch.cdist(different, different)
    nearest = distances.topk(k + 1, largest=False).values[:, 1:].clamp_min(1e-300)
    logs = torch.log(nearest[:, -1:] / nearest[:, :-1])
    return float((k - 2) / (k - 1) / logs.mean()) if k > 2 else float(1 / logs.mean())


@declare(
    kind="estimate",
    unit="dimensions",
    cost=5,
    source="Levina and Bickel 2004; Ansuini et al. 2019, arXiv:1905.12784",
    invariances=(LAYER_RESCALING, LOGIT_SCALE),
)
def feature_dimension(context: MeasureContext) -> float:
    """Local intrinsic dimension of the training data in the last hidden layer, by 20 nearest neighbours.

    A maximum-likelihood estimate for points that are a random sample; its error is not known.
    """
    return intrinsic_dimension(last_features(context))
