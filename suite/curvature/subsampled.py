"""The top eigenvalues of a network's Hessian: found on the informative samples, then certified on all of them.

    informative, others = the samples with 98 % of the curvature in the outputs, and the rest
    if these are most samples:
        informative = the first eighth of them, and a random eighth of all others that stands for these
    V = Lanczos vectors of the Hessian on `informative`, in bfloat16 where the hardware multiplies it natively
    repeat up to five times:
        Ritz pairs of the exact Hessian on span(V), with error bounds from their residuals
        if every bound is at most 1 % of its value: return them
        V = V and the residuals of the pairs that miss it
    return the result of Lanczos on the exact Hessian

At a solution of a classification problem few samples carry nearly all curvature: the cross-entropy of a sample that is
classified with confidence is flat. The bounds hold whatever the cheap operator was.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suite.curvature.lanczos import GUARDS, Eigenpairs, lanczos
from suite.curvature.network import Network
from suite.curvature.operators import Combination, Hessian, LowPrecisionHessian, Operator, Scaled
from suite.seeding import torch_stream
from suite.task import Loss, Split

CURVATURE_SHARE = 0.98
"""Share of the curvature in the outputs that the informative samples have: residuals are then usually below 1 %."""

BLOCK = 256
"""Samples are selected in whole blocks: libraries cache a program and its buffers for every new shape of matrix (60 MB
for every solution that was measured)."""

CERTIFYING_CHUNK = 2 * BLOCK
"""Samples at once while values are certified, twice as many where most of it is in bfloat16: as many as fit, together
with the subsampled operator, into three times the memory of a gradient."""

MAX_SUBSAMPLE = 0.5
"""If more than this share of the samples is informative, the less informative of them are drawn."""

DRAWN_SHARE = 8
"""Then an eighth of the samples is taken for itself, and another is drawn from the rest."""

MORE_VECTORS = 1
"""The span that is certified has so many more vectors then: the first ones may be in another order."""

CERTIFIED_ERROR = 1e-2
"""Relative error that the bounds must prove; a hundredth of it is usual."""

SUBSAMPLED_TOL = 1e-2
"""Tolerance for pairs of the subsampled operator: the samples that it lacks rotate them by as much."""

MAX_REFINEMENTS = 4
"""How often the span grows by residuals before Lanczos runs on the exact Hessian."""


def top_eigenpairs(
    network: Network,
    data: Split,
    loss: Loss,
    k: int,
    generator: torch.Generator,
    *,
    diagonal: Tensor | None = None,
) -> Eigenpairs:
    """The `k` largest eigenvalues of the Hessian H of a network's loss, or of ``D H D`` for a diagonal D.

    Args:
        network: one model, at a solution.
        data: samples [n, ...] and targets.
        loss: a mean over samples.
        k: how many eigenvalues.
        generator: what Lanczos draws its starts from, on the CPU.
        diagonal: D [P]; None for the identity.

    Returns:
        The pairs. Either every bound is at most `CERTIFIED_ERROR` of its value, or they come from `lanczos` on the
        whole operator with its own stopping rule.
    """

    def scaled(operator: Operator) -> Operator:
        return operator if diagonal is None else Scaled(operator, diagonal)

    informative, others = select_informative(network, data, loss)
    low = network.dtype == torch.float32 and multiplies_bfloat16(network.device) and _runs_low(network, data, loss)
    chunk = network.chunk(data.x)
    certifying_chunk = min(chunk, 2 * CERTIFYING_CHUNK if low else CERTIFYING_CHUNK)
    kind = LowPrecisionHessian if low else Hessian

    def part(kind: type[Hessian | LowPrecisionHessian], rows: Tensor | None, *, keep_graphs: bool = True) -> Operator:
        size = chunk if keep_graphs else certifying_chunk
        return kind(network, data, loss, rows=rows, chunk=size, keep_graphs=keep_graphs)

    def whole() -> Operator:
        return scaled(part(Hessian, None))

    def found(cheap: Operator, count: int) -> Eigenpairs:
        return lanczos(scaled(cheap), count, generator, tol=SUBSAMPLED_TOL, guards=GUARDS - 1)

    few = BLOCK * max(1, len(data) // (DRAWN_SHARE * BLOCK))
    is_spread = len(informative) > MAX_SUBSAMPLE * len(data)
    if network.size <= k + 1 or (is_spread and not low and len(data) < 4 * few):
        return lanczos(whole(), k, generator)
    if is_spread and len(data) >= 4 * few:
        ordered = torch.cat([informative, others])
        rest = ordered[few:]
        drawn = rest[torch.randperm(len(rest), generator=generator)[:few].to(rest.device)]
        cheap: Operator = Combination((1.0, part(kind, ordered[:few])), (len(rest) / few, part(kind, drawn)))
        candidates = found(cheap, k + 1 + MORE_VECTORS)
        del cheap  # frees its graphs
        exact = scaled(Hessian(network, data, loss, chunk=min(chunk, CERTIFYING_CHUNK), keep_graphs=False))
        certified = rayleigh_ritz(exact, candidates.vectors, k, candidates.products, MAX_REFINEMENTS)
        return certified if certified.converged else lanczos(whole(), k, generator)
    if is_spread:
        informative, others = torch.arange(len(data)), torch.arange(0)
    cheap = part(kind, informative)
    candidates = found(cheap, k + 1)
    main = part(Hessian, informative, keep_graphs=False) if low else cheap
    del cheap  # frees its graphs, unless they are those of `main`
    products = candidates.products
    # The other samples have 2 % of the curvature. In bfloat16 their products are off by 0.4 % of that, which may be too
    # much for the bounds; so they are exact at the second attempt, where the span may also grow.
    attempts = ((LowPrecisionHessian, 0), (Hessian, MAX_REFINEMENTS))
    for precision, refinements in attempts if low and len(others) else attempts[1:]:
        more = [(1.0, part(precision, others, keep_graphs=False))] if len(others) else []
        certified = rayleigh_ritz(scaled(Combination((1.0, main), *more)), candidates.vectors, k, products, refinements)
        if certified.converged:
            return certified
        products = certified.products
    return lanczos(whole(), k, generator)


@torch.no_grad()
def select_informative(
    network: Network, data: Split, loss: Loss, share: float = CURVATURE_SHARE
) -> tuple[Tensor, Tensor]:
    """The fewest samples that have `share` of the loss's slope and curvature in the outputs, rounded up to blocks.

    Their indices, the most informative first, and those of the other samples.

    A sample's part of the Hessian is ``J' S J`` plus its slopes times the network's own curvature: it is small where
    both its S and its slope are. The size of S is estimated by products with four random sign vectors.
    """
    outputs = torch.cat([network.outputs(part) for part in torch.split(data.x, network.chunk(data.x))]).requires_grad_()
    with torch.enable_grad():
        total = loss(outputs, data.y) * len(data)
        (slope,) = torch.autograd.grad(total, outputs, create_graph=True)
    weights = slope.detach().reshape(len(data), -1).norm(dim=1)
    stream = torch_stream("screened")
    for _ in range(4 if slope.requires_grad else 0):
        signs = (torch.randint(0, 2, slope.shape, generator=stream) * 2 - 1).to(slope)
        (curved,) = torch.autograd.grad(slope, outputs, signs, retain_graph=True)
        weights += curved.reshape(len(data), -1).norm(dim=1) / 4
    ordered, samples = weights.sort(descending=True)
    count = BLOCK * (int((ordered.cumsum(0) < share * ordered.sum()).sum()) // BLOCK + 1)
    return samples[:count], samples[count:]


def rayleigh_ritz(operator: Operator, vectors: Tensor, k: int, products: int = 0, refinements: int = 0) -> Eigenpairs:
    """The `k` largest Ritz pairs of an operator on the span of K > k vectors, with error bounds.

    Within its residual of every Ritz value lies an eigenvalue (Weinstein); and within ``|R|² / gap``, R the residuals
    of all K, if `gap` separates the value from the spectrum outside the span (Mathias 1998), whose top is estimated by
    the smallest of the K values. While a bound is above `CERTIFIED_ERROR` of its value, the span grows by the residuals
    of the pairs that miss it (Davidson 1975, without a preconditioner), at most `refinements` times; `converged` is
    False if a bound misses it still. The `vectors` [K, P] need not be orthonormal; `products`, the number that was
    spent before, is added to the count.
    """
    guard = len(vectors) - 1
    basis = vectors if _orthonormal(vectors) else torch.linalg.qr(vectors.T).Q.T
    images = operator.products(basis)
    while True:
        small = (basis @ images.T).double().cpu().numpy()
        ascending, columns = np.linalg.eigh((small + small.T) / 2)
        values = torch.from_numpy(ascending[::-1].copy())
        rotation = torch.from_numpy(columns[:, ::-1].T.copy()).to(basis)
        residuals = (rotation @ images).addmm_(values.to(basis)[:, None] * rotation, basis, alpha=-1)
        norms = torch.linalg.vector_norm(residuals, dim=1).double().cpu()
        gaps = values - values[guard] - norms[guard]
        squared = float(np.linalg.eigvalsh((residuals @ residuals.T).double().cpu().numpy())[-1])  # of the largest norm
        quadratic = torch.where(gaps > 0, squared / gaps, torch.inf)
        bounds = torch.minimum(norms, quadratic)[:k]
        missed = ~(bounds <= CERTIFIED_ERROR * values[:k].abs())
        converged = not bool(missed.any())
        if refinements == 0 or converged:
            del images, residuals  # as large as the vectors that are formed next
            return Eigenpairs(values[:k], rotation[:k] @ basis, bounds, products + len(basis), converged)
        directions = residuals[:k][missed.to(residuals.device)]
        for _ in range(2):
            directions = directions - (directions @ basis.T) @ basis
            directions = torch.linalg.qr(directions.T).Q.T
        basis = torch.cat([basis, directions])
        images = torch.cat([images, operator.products(directions)])
        refinements -= 1


def _orthonormal(vectors: Tensor) -> bool:
    """Whether `vectors` [K, P] are orthonormal, up to rounding that is far below every bound."""
    difference = vectors @ vectors.T - torch.eye(len(vectors), dtype=vectors.dtype, device=vectors.device)
    return bool(difference.abs().max() <= 1e-5)


def _runs_low(network: Network, data: Split, loss: Loss) -> bool:
    """Whether the Hessian has finite products in bfloat16, tried on two samples.

    Not every function has a kernel for bfloat16 (Fourier transforms, solvers), and a module may convert to single
    precision itself, and then meets weights that were converted.
    """
    try:
        hessian = LowPrecisionHessian(network, data, loss, rows=torch.arange(min(2, len(data))), keep_graphs=False)
        return bool(torch.isfinite(hessian @ torch.ones_like(network.weights())).all())
    except Exception:  # a network that is broken as such says so in its own precision
        return False


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for products of bfloat16 matrices (their emulation is slow)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
