"""The loss's Hessian in the outputs of one sample, ``S = sum of sign * b b'``, as vectors b."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature.network import Loss


@dataclass(frozen=True)
class TemperedCrossEntropy:
    """Cross-entropy (nats) of logits times `factor`."""

    factor: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.factor * logits, labels)


def output_factors(loss: Loss, outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Vectors b like `outputs` and signs [n], for a loss that is a mean; as many pairs as S has rank.

    For cross-entropy ``S = diag(p) - p p'``, the covariance of a draw from the classes. Drawn as a row of yes-or-no
    decisions (class 1 or a later one? class 2 or a later one?) it splits, by the law of total variance, into the C - 1
    parts ``b_c = sqrt(p_c r_c / (p_c + r_c)) (e_c - p_{later} / r_c)``, r_c the probability of all classes after c. For
    other losses they are the eigenvectors of every sample's S.
    """
    tempered = TemperedCrossEntropy(1.0) if loss is cross_entropy else loss
    if isinstance(tempered, TemperedCrossEntropy):
        yield from _softmax_factors(outputs, tempered.factor)
        return
    flat = outputs.detach().reshape(len(outputs), -1)
    values, vectors = torch.linalg.eigh(_output_hessians(loss, outputs, y))
    for index in range(flat.shape[1]):
        factor = values[:, index].abs().sqrt()[:, None] * vectors[:, :, index]
        yield factor.reshape(outputs.shape), values[:, index].sign()


def _softmax_factors(logits: Tensor, factor: float) -> Iterator[tuple[Tensor, Tensor]]:
    shares = torch.softmax(factor * logits.detach(), dim=1)
    signs = torch.ones_like(shares[:, 0])
    from_here = shares.flip(1).cumsum(1).flip(1)  # summed from the end: nothing cancels
    smallest = torch.finfo(shares.dtype).tiny
    for index in range(shares.shape[1] - 1):
        own, later = shares[:, index], from_here[:, index + 1]
        root = factor * (own * (later / from_here[:, index].clamp_min(smallest))).sqrt()
        away = torch.zeros_like(shares)
        away[:, index] = root
        away[:, index + 1 :] = shares[:, index + 1 :] * (-root / later.clamp_min(smallest))[:, None]
        yield away, signs


def _output_hessians(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """Every sample's S, [n, C, C]."""
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(at, y) * len(at), at, create_graph=True)
        rows = [
            torch.autograd.grad(part, at, retain_graph=True, materialize_grads=True)[0].reshape(len(at), -1)
            if slope.requires_grad
            else torch.zeros_like(at).reshape(len(at), -1)
            for part in slope.reshape(len(at), -1).sum(0)
        ]
    return torch.stack(rows, dim=1)
