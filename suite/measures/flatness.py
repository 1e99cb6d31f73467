"""Flatness of a solution. Losses are taken at matched training loss: see `temperature` in `generalization.py`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from suite.curvature import Hessian, hutchinson_trace, lanczos
from suite.seeding import torch_stream

ModelLoss = Callable[[nn.Module], Tensor]

NOISE = 0.2
DRAWS = 20
PROBES = 10


def curvature(model: nn.Module, loss: ModelLoss) -> dict[str, float]:
    """Largest eigenvalue and trace of the Hessian, and of ``D H D`` with ``D = diag |theta|`` (adaptive).

    The traces are Hutchinson's with 10 probes, the same for every solution of the same shape.
    """
    plain, adaptive = Hessian(model, loss), Hessian(model, loss, adaptive=True)
    return {
        "lambda_max": lanczos(plain, 1, torch_stream("lambda_max"))[0],
        "hessian_trace": hutchinson_trace(plain, PROBES, torch_stream("hessian_trace")).value,
        "adaptive_lambda_max": lanczos(adaptive, 1, torch_stream("lambda_max"))[0],
        "adaptive_trace": hutchinson_trace(adaptive, PROBES, torch_stream("hessian_trace")).value,
    }


@torch.no_grad()
def adaptive_sharpness(model: nn.Module, loss: ModelLoss, noise: float = NOISE, draws: int = DRAWS) -> float:
    """Mean rise of `loss` when every weight is multiplied by ``1 + noise * z``, z ~ N(0, 1).

    Average-case adaptive sharpness: relative noise commutes with every rescaling between layers or neurons (Kwon et al.
    2021, arXiv:2102.11600; Andriushchenko et al. 2023, arXiv:2302.07011). The draws are the same for every solution.
    """
    stream = torch_stream("adaptive_sharpness")
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    base = loss(model).item()
    total = 0.0
    try:
        for _ in range(draws):
            for name, parameter in model.named_parameters():
                z = torch.randn(parameter.shape, generator=stream).to(parameter)
                parameter.copy_(kept[name] * (1 + noise * z))
            total += loss(model).item() - base
    finally:
        for name, parameter in model.named_parameters():
            parameter.copy_(kept[name])
    return total / draws
