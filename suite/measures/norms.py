"""Norms of a solution: of all weights, of layers, of paths, and of the predictor where there is one.

A layer's matrix is its weight with all axes but the first flattened: [outputs, inputs], for a convolution
[channels, patch].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from suite.errors import InputError
from suite.measures.context import MeasureContext
from suite.measures.registry import CANONICAL, LAYER_RESCALING, LOGIT_SCALE, declare

BARTLETT = "Bartlett et al. 2017, arXiv:1706.08498"
IMPLICIT_BIAS = "Gunasekar et al. 2018, arXiv:1802.08246"

declare_norm = partial(declare, kind="exact", cost=0)
declare_weight_norm = partial(declare_norm, unit="weight")
declare_product = partial(declare_norm, unit="output / input", invariances=(LAYER_RESCALING,))
declare_rank = partial(declare_norm, unit="rank", invariances=(LAYER_RESCALING, LOGIT_SCALE))
declare_predictor_norm = partial(
    declare_norm, unit="output / input", needs=("predictor",), invariances=CANONICAL - {LOGIT_SCALE}
)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.cat([tensor.reshape(-1) for tensor in tensors]).double()))


@declare_weight_norm(source="Neyshabur et al. 2015, arXiv:1503.00036")
@torch.no_grad()
def l2_norm(context: MeasureContext) -> float:
    """The l2 norm of all parameters."""
    return _norm(list(context.model.parameters()))


@declare_weight_norm(source="Nagarajan and Kolter 2019, arXiv:1901.01672", needs=("initial",))
@torch.no_grad()
def distance_from_initialization(context: MeasureContext) -> float:
    """The l2 distance of all parameters from where they started."""
    initial = context.initial
    assert initial is not None
    return _norm([p - initial[name].to(p) for name, p in context.model.named_parameters()])


@torch.no_grad()
def layer_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Every layer's matrix, in float64, by the parameter's name."""
    return {name: p.detach().double().flatten(1) for name, p in model.named_parameters() if p.dim() > 1}


def _of_layers(context: MeasureContext, norm: Callable[[Tensor], Tensor]) -> dict[str, float]:
    matrices = layer_matrices(context.model)
    if not matrices:
        raise InputError("The network has no parameter with two axes, so no layer to take the norm of.")
    return {name: float(norm(matrix)) for name, matrix in matrices.items()}


def _product(values: dict[str, float]) -> float:
    return float(torch.tensor(list(values.values()), dtype=torch.float64).prod())


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


@declare_weight_norm(source=BARTLETT)
def frobenius_norm(context: MeasureContext) -> dict[str, float]:
    """The Frobenius norm of every layer."""
    return _of_layers(context, torch.linalg.matrix_norm)


@declare_weight_norm(source=BARTLETT)
def spectral_norm(context: MeasureContext) -> dict[str, float]:
    """The largest singular value of every layer."""
    return _of_layers(context, lambda matrix: torch.linalg.matrix_norm(matrix, ord=2))


@declare_product(source="Neyshabur et al. 2015, arXiv:1503.00036")
def frobenius_product(context: MeasureContext) -> float:
    """The product of the layers' Frobenius norms."""
    return _product(frobenius_norm(context))


@declare_product(source=BARTLETT)
def spectral_product(context: MeasureContext) -> float:
    """The product of the layers' spectral norms: a bound of the network's Lipschitz constant."""
    return _product(spectral_norm(context))


def stable_rank_of(matrix: Tensor) -> Tensor:
    """The squared Frobenius norm over the squared spectral norm; 0 for the zero matrix."""
    top = torch.linalg.matrix_norm(matrix, ord=2)
    return (torch.linalg.matrix_norm(matrix) / top).square() if top > 0 else top


def effective_rank_of(matrix: Tensor) -> Tensor:
    """``exp`` of the entropy of the normalised singular values (Roy and Vetterli 2007); 0 for the zero matrix."""
    values = torch.linalg.svdvals(matrix)
    total = values.sum()
    shares = values / total
    return total if total == 0 else torch.exp(-torch.special.xlogy(shares, shares).sum())


@declare_rank(source="Arora et al. 2018, arXiv:1802.05296")
def stable_rank(context: MeasureContext) -> float:
    """The mean over layers of the stable rank."""
    return _mean(_of_layers(context, stable_rank_of))


@declare_rank(source="Roy and Vetterli 2007; Huh et al. 2023, arXiv:2103.10427")
def effective_rank(context: MeasureContext) -> float:
    """The mean over layers of the effective rank."""
    return _mean(_of_layers(context, effective_rank_of))


def linear_predictor(model: nn.Module) -> Tensor | None:
    """The end-to-end linear predictor, in float64: a vector [d] or a matrix; None if the network has none.

    It is what the model's `predictor()` or `matrix()` returns, or the weight of an `nn.Linear`.
    """
    for name in ("predictor", "matrix"):
        method = getattr(model, name, None)
        if callable(method):
            return method().detach().to(torch.float64)
    return model.weight.detach().to(torch.float64).squeeze(0) if isinstance(model, nn.Linear) else None


def _predictor(context: MeasureContext) -> Tensor:
    """The linear predictor, which a declared need has ensured."""
    predictor = linear_predictor(context.model)
    assert predictor is not None
    return predictor


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_l1(context: MeasureContext) -> float:
    """The l1 norm of the end-to-end linear predictor."""
    return float(_predictor(context).abs().sum())


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_l2(context: MeasureContext) -> float:
    """The l2 (Frobenius) norm of the end-to-end linear predictor."""
    return float(torch.linalg.vector_norm(_predictor(context)))


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_linf(context: MeasureContext) -> float:
    """The largest entry of the end-to-end linear predictor, in modulus."""
    return float(_predictor(context).abs().max())


@declare_predictor_norm(source="Gunasekar et al. 2017, arXiv:1705.09280")
def predictor_nuclear(context: MeasureContext) -> float:
    """The sum of the singular values of the end-to-end linear predictor; of a vector, its l2 norm."""
    predictor = _predictor(context)
    return float(torch.linalg.svdvals(predictor[None] if predictor.dim() == 1 else predictor).sum())
