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
from suite.measures.registry import LAYER_RESCALING, LOGIT_SCALE, RESCALING, declare

BARTLETT = "Bartlett et al. 2017, arXiv:1706.08498"


IMPLICIT_BIAS = "Gunasekar et al. 2018, arXiv:1802.08246"


declare_predictor_norm = partial(
    declare, unit="output / input", scale="log", higher=False, cost=0, needs=("predictor",), invariances=RESCALING
)


declare_rank = partial(
    declare, unit="rank", scale="log", higher=False, cost=0, invariances=(LAYER_RESCALING, LOGIT_SCALE)
)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.cat([tensor.reshape(-1) for tensor in tensors]).double()))


@declare(unit="weight", scale="log", higher=False, cost=0, source="Neyshabur et al. 2015, arXiv:1503.00036")
@torch.no_grad()
def l2_norm(subject: MeasureContext) -> float:
    """The l2 norm of all parameters."""
    return _norm(list(subject.model.parameters()))


@declare(
    unit="weight",
    scale="log",
    higher=False,
    cost=0,
    source="Nagarajan and Kolter 2019, arXiv:1901.01672",
    needs=("initial",),
)
@torch.no_grad()
def distance_from_initialization(subject: MeasureContext) -> float:
    """The l2 distance of all parameters from where they started."""
    initial = subject.initial
    assert initial is not None
    return _norm([p - initial[name].to(p) for name, p in subject.model.named_parameters()])


@torch.no_grad()
def layer_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Every layer's matrix, in float64, by the parameter's name."""
    return {name: p.detach().double().flatten(1) for name, p in model.named_parameters() if p.dim() > 1}


def _of_layers(subject: MeasureContext, norm: Callable[[Tensor], Tensor]) -> dict[str, float]:
    matrices = layer_matrices(subject.model)
    if not matrices:
        raise InputError("The network has no parameter with two axes, so no layer to take the norm of.")
    return {name: float(norm(matrix)) for name, matrix in matrices.items()}


def _product(values: dict[str, float]) -> float:
    return float(torch.tensor(list(values.values()), dtype=torch.float64).prod())


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


@declare(unit="weight", scale="log", higher=False, cost=0, source=BARTLETT)
def frobenius_norm(subject: MeasureContext) -> dict[str, float]:
    """The Frobenius norm of every layer."""
    return _of_layers(subject, torch.linalg.matrix_norm)


@declare(unit="weight", scale="log", higher=False, cost=0, source=BARTLETT)
def spectral_norm(subject: MeasureContext) -> dict[str, float]:
    """The largest singular value of every layer."""
    return _of_layers(subject, lambda matrix: torch.linalg.matrix_norm(matrix, ord=2))


@declare(
    unit="output / input",
    scale="log",
    higher=False,
    cost=0,
    source="Neyshabur et al. 2015, arXiv:1503.00036",
    invariances=(LAYER_RESCALING,),
)
def frobenius_product(subject: MeasureContext) -> float:
    """The product of the layers' Frobenius norms."""
    return _product(frobenius_norm(subject))


@declare(unit="output / input", scale="log", higher=False, cost=0, source=BARTLETT, invariances=(LAYER_RESCALING,))
def spectral_product(subject: MeasureContext) -> float:
    """The product of the layers' spectral norms: a bound of the network's Lipschitz constant."""
    return _product(spectral_norm(subject))


def stable_rank_of(matrix: Tensor) -> Tensor:
    """The squared Frobenius norm over the squared spectral norm; 0 for the zero matrix."""
    top = torch.linalg.matrix_norm(matrix, ord=2)
    rank: Tensor = (torch.linalg.matrix_norm(matrix) / top).square() if top > 0 else top
    return rank


def effective_rank_of(matrix: Tensor) -> Tensor:
    """``exp`` of the entropy of the normalised singular values (Roy and Vetterli 2007); 0 for the zero matrix."""
    values = torch.linalg.svdvals(matrix)
    total: Tensor = values.sum()
    shares = values / total
    return total if total == 0 else torch.exp(-torch.special.xlogy(shares, shares).sum())


@declare_rank(source="Arora et al. 2018, arXiv:1802.05296")
def stable_rank(subject: MeasureContext) -> float:
    """The mean over layers of the stable rank."""
    return _mean(_of_layers(subject, stable_rank_of))


@declare_rank(source="Roy and Vetterli 2007; Huh et al. 2023, arXiv:2103.10427")
def effective_rank(subject: MeasureContext) -> float:
    """The mean over layers of the effective rank."""
    return _mean(_of_layers(subject, effective_rank_of))


def _predictor(subject: MeasureContext) -> Tensor:
    """The end-to-end linear predictor: a vector [d] or a matrix, from the model's `predictor()` or `matrix()`."""
    model = subject.model
    for name in ("predictor", "matrix"):
        method = getattr(model, name, None)
        if callable(method):
            found: Tensor = method()
            return found.detach().to(torch.float64)
    if isinstance(model, nn.Linear):
        return model.weight.detach().to(torch.float64).squeeze(0)
    raise InputError("The network has no linear predictor: neither predictor() nor matrix(), and it is no nn.Linear.")


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_l1(subject: MeasureContext) -> float:
    """The l1 norm of the end-to-end linear predictor."""
    return float(_predictor(subject).abs().sum())


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_l2(subject: MeasureContext) -> float:
    """The l2 (Frobenius) norm of the end-to-end linear predictor."""
    return float(torch.linalg.vector_norm(_predictor(subject)))


@declare_predictor_norm(source=IMPLICIT_BIAS)
def predictor_linf(subject: MeasureContext) -> float:
    """The largest entry of the end-to-end linear predictor, in modulus."""
    return float(_predictor(subject).abs().max())


@declare_predictor_norm(source="Gunasekar et al. 2017, arXiv:1705.09280")
def predictor_nuclear(subject: MeasureContext) -> float:
    """The sum of the singular values of the end-to-end linear predictor; of a vector, its l2 norm."""
    predictor = _predictor(subject)
    return float(torch.linalg.svdvals(predictor[None] if predictor.dim() == 1 else predictor).sum())
