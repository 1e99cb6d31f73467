"""Flatness of a solution: curvature of the training loss, and its rise under perturbed weights."""

from __future__ import annotations

import torch

from suite.curvature import Estimate, Hessian, hutchinson_trace, lanczos
from suite.measures.registry import CANONICAL, declare
from suite.measures.subject import Subject
from suite.seeding import torch_stream
from suite.value import Value

NOISE = 0.2
DRAWS = 20
PROBES = 10


def _value(estimate: Estimate) -> Value:
    return Value(estimate.value, "estimate", estimate.standard_error)


@declare(
    unit="loss / weight²",
    scale="log",
    higher=False,
    cost=15,
    source="Keskar et al. 2017, arXiv:1609.04836; Lanczos as in Ghorbani et al. 2019, arXiv:1901.10159",
)
def lambda_max(subject: Subject) -> float:
    """Largest eigenvalue of the training loss's Hessian."""
    return lanczos(Hessian(subject.model, subject.training_loss), 1, torch_stream("lambda_max"))[0]


@declare(
    unit="loss / weight²",
    scale="log",
    higher=False,
    cost=10,
    source="Hutchinson 1990; as flatness: Blanc et al. 2020, arXiv:1904.09080",
)
def hessian_trace(subject: Subject) -> Value:
    """Trace of the training loss's Hessian."""
    return _value(
        hutchinson_trace(Hessian(subject.model, subject.training_loss), PROBES, torch_stream("hessian_trace"))
    )


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=15,
    source="Kwon et al. 2021, arXiv:2102.11600",
    invariances=CANONICAL,
)
def adaptive_lambda_max(subject: Subject) -> float:
    """Largest eigenvalue of ``D H D`` with ``D = diag |theta|``: the curvature in relative coordinates."""
    return lanczos(Hessian(subject.model, subject.training_loss, adaptive=True), 1, torch_stream("lambda_max"))[0]


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=10,
    source="Tsuzuku et al. 2020, arXiv:1901.04653; Kwon et al. 2021, arXiv:2102.11600",
    invariances=CANONICAL,
)
def adaptive_trace(subject: Subject) -> Value:
    """Trace of ``D H D`` with ``D = diag |theta|``."""
    hessian = Hessian(subject.model, subject.training_loss, adaptive=True)
    return _value(hutchinson_trace(hessian, PROBES, torch_stream("hessian_trace")))


@declare(
    unit="loss",
    scale="log",
    higher=False,
    cost=7,
    source="Kwon et al. 2021, arXiv:2102.11600; Andriushchenko et al. 2023, arXiv:2302.07011",
    invariances=CANONICAL,
)
@torch.no_grad()
def adaptive_sharpness(subject: Subject) -> Value:
    """Mean rise of the loss when every weight is multiplied by ``1 + 0.2 z``, z ~ N(0, 1): average-case sharpness.

    Relative noise commutes with every rescaling between layers or neurons. The 20 draws are the same for every solution
    of the same shape.
    """
    model, loss = subject.model, subject.training_loss
    stream = torch_stream("adaptive_sharpness")
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    base = loss(model).item()
    rises = []
    try:
        for _ in range(DRAWS):
            for name, parameter in model.named_parameters():
                z = torch.randn(parameter.shape, generator=stream).to(parameter)
                parameter.copy_(kept[name] * (1 + NOISE * z))
            rises.append(loss(model).item() - base)
    finally:
        for name, parameter in model.named_parameters():
            parameter.copy_(kept[name])
    spread = torch.tensor(rises, dtype=torch.float64)
    return Value(spread.mean().item(), "estimate", spread.std().item() / DRAWS**0.5)
