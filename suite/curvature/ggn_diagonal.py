"""The exact diagonal of the Gauss-Newton matrix, which for ReLU networks is that of the Hessian.

    diagonal = 0
    for every sample:
        f = outputs, J = df/dtheta, S = the loss's Hessian in f
        write S = sum_r sign_r b_r b_r'             at most C - 1 vectors for cross-entropy on C classes
        for every r:
            diagonal += sign_r (J' b_r)²            entry by entry: one backward pass for all samples
    diagonal /= number of samples

A network is piecewise multilinear in its weights if its activations are piecewise linear and no weight serves two
layers; convolutions and batch norm with fixed statistics are allowed. Then every output is linear in each parameter
tensor alone, the network's own curvature has a zero diagonal, and the Hessian's diagonal is that of the Gauss-Newton
matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature.losses import Tempered
from suite.curvature.network import Network, each_used_once
from suite.curvature.per_sample import squared_gradients
from suite.errors import InputError
from suite.models import in_double
from suite.seeding import torch_stream
from suite.task import Loss, Split

MAX_OUTPUTS = 1024
"""Every sample's S is formed for at most this many outputs, and takes as many backward passes."""


def output_factors(loss: Loss, outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Factors of every sample's S, the loss's Hessian in the outputs: ``S = sum over pairs (b, sign) of sign b b'``.

    Yields a vector b for every sample, like `outputs`, and its signs [n]; as many pairs as S has rank.

    For cross-entropy ``S = diag(p) - p p'``, the covariance of a draw from the classes. Drawn as a row of yes-or-no
    decisions (class 1 or a later one? class 2 or a later one?) it splits, by the law of total variance, into the C - 1
    parts ``b_c = sqrt(p_c r_c / (p_c + r_c)) (e_c - p_{later} / r_c)``, r_c the probability of all classes after c. For
    other losses the factors are the scaled eigenvectors of every sample's S.
    """
    tempered = loss if isinstance(loss, Tempered) else Tempered(loss, 1.0)
    if tempered.loss is cross_entropy and outputs.dim() == 2:
        yield from _softmax_factors(outputs, tempered.inverse_temperature)
        return
    values, vectors = torch.linalg.eigh(_output_hessians(loss, outputs, y))
    for index in range(values.shape[1]):
        factor = values[:, index].abs().sqrt()[:, None] * vectors[:, :, index]
        yield factor.reshape(outputs.shape), values[:, index].sign()


def _softmax_factors(logits: Tensor, inverse_temperature: float) -> Iterator[tuple[Tensor, Tensor]]:
    p = torch.softmax(inverse_temperature * logits.detach(), dim=1)
    signs = torch.ones_like(p[:, 0])
    tails = p.flip(1).cumsum(1).flip(1)  # summed from the end: nothing cancels
    tiny = torch.finfo(p.dtype).tiny
    for c in range(p.shape[1] - 1):
        later = tails[:, c + 1]
        root = inverse_temperature * (p[:, c] * (later / tails[:, c].clamp_min(tiny))).sqrt()
        b = torch.zeros_like(p)
        b[:, c] = root
        b[:, c + 1 :] = p[:, c + 1 :] * (-root / later.clamp_min(tiny))[:, None]
        yield b, signs


def _output_hessians(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """Every sample's S, [n, C, C]; `InputError` if it is too large."""
    if outputs[0].numel() > MAX_OUTPUTS:
        raise InputError(f"A sample has more than {MAX_OUTPUTS} outputs, too many to take one by one.")
    at = outputs.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(at, y) * len(at), at, create_graph=True)
        sums = slope.reshape(len(at), -1).sum(0)
        if not slope.requires_grad:
            return at.new_zeros(len(at), len(sums), len(sums))
        rows = [torch.autograd.grad(part, at, retain_graph=True, materialize_grads=True)[0] for part in sums]
    return torch.stack([row.reshape(len(at), -1) for row in rows], dim=1)


TESTED_SAMPLES = 32
"""Samples, spread over the data, on which second derivatives are tested."""

LINEAR = 1e-9
"""A slope that changes by at most this share, when the weights move by their own length, is constant up to rounding."""


def gauss_newton_diagonal(network: Network, data: Split, loss: Loss) -> list[Tensor]:
    """The diagonal of the Gauss-Newton matrix ``J' S J``, [*shape] for every leaf; errors are `squared_norms`'s."""
    squares = squared_gradients(network, data.x, data.y, lambda outputs, y: output_factors(loss, outputs, y))
    return [square / len(data) for square in squares]


def tested_samples(x: Tensor) -> Tensor:
    """Up to `TESTED_SAMPLES` of the samples, spread over all."""
    return x[torch.linspace(0, len(x) - 1, min(len(x), TESTED_SAMPLES)).round().long()]


def is_piecewise_multilinear(network: Network, x: Tensor) -> bool:
    """Whether the outputs are linear in each parameter tensor alone, near the present weights.

    No parameter may enter the outputs' graph twice. And for each tensor, a random direction v in it and random weights
    c of the outputs on up to `TESTED_SAMPLES` samples, ``(c·f)'' v`` is computed within the tensor, in float64. It is
    linear in v and in c, so it vanishes for random ones if and only if all these second derivatives vanish, with
    probability one. What cannot be tested, since the network does not run in float64, is not known to be linear.
    """
    samples = tested_samples(x)
    samples = samples.double() if samples.is_floating_point() else samples
    module, dtype = in_double(network.module, samples[:1])
    if dtype != torch.float64:
        return False
    leaves = [p for p in module.parameters() if p.requires_grad]
    stream = torch_stream("multilinear")

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=stream).to(like.device, torch.float64)

    with torch.enable_grad():
        outputs = Network(module).outputs(samples)
        if not each_used_once([outputs.grad_fn], leaves):
            return False
        slopes = torch.autograd.grad((outputs * draw(outputs)).sum(), leaves, create_graph=True, materialize_grads=True)
    return all(_is_linear(slope, leaf, draw(leaf)) for slope, leaf in zip(slopes, leaves, strict=True))


def _is_linear(slope: Tensor, leaf: Tensor, direction: Tensor) -> bool:
    """Whether `slope`, a gradient in `leaf`, does not change when `leaf` moves along `direction`."""
    if not slope.requires_grad:
        return True
    (change,) = torch.autograd.grad((slope * direction).sum(), leaf, retain_graph=True, materialize_grads=True)
    scale = torch.linalg.vector_norm(slope) * torch.linalg.vector_norm(direction)
    size = torch.linalg.vector_norm(leaf)
    return bool(torch.linalg.vector_norm(change) * size <= LINEAR * scale)
