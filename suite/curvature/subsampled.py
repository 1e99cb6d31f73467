"""The top eigenvalues of a network's Hessian, with a cheap operator to find them and the exact one to prove them.

At a solution of a classification problem few samples carry nearly all curvature: the cross-entropy of a sample that is
classified with confidence is flat. So Lanczos runs on the samples that carry 98 % of the curvature in the outputs, in
bfloat16 where the hardware multiplies it natively. Then the whole operator is applied to what was found, and
Rayleigh-Ritz gives values whose residuals bound their error, whatever the cheap operator did. If the bounds are too
wide, the span grows by the residuals, and then Lanczos runs on the whole operator.
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

CARRIED = 0.98
"""Share of the curvature in the outputs that the screened samples carry: residuals are then below 1 % as a rule."""


BLOCK = 256
"""Whole blocks of samples are screened: libraries keep a program and its buffers for every shape of matrix that they
meet (60 MB for every solution that was measured)."""


PROVING = 2 * BLOCK
"""Samples at once in a proof, twice as many where most of it is in bfloat16: as many as fit beside the finder into
three times the memory of a gradient."""


WORTHWHILE = 0.5
"""Screening pays if it leaves at most this share of the samples."""


ACCEPTED = 1e-2
"""Proved relative error up to which the found eigenvalues are taken; a hundredth of it is usual."""


FOUND = 1e-2
"""Residual, as a share of the value, up to which the cheap operator's pairs are found: the samples that it lacks turn
them off by as much."""


REFINEMENTS = 4
"""Times that a span grows by the residuals of what misses the proof, before Lanczos begins anew."""


def top_eigenpairs(
    network: Network,
    data: Split,
    loss: Loss,
    k: int,
    generator: torch.Generator,
    *,
    diagonal: Tensor | None = None,
) -> Eigenpairs:
    """The `k` largest eigenvalues of the Hessian of `network` (one model) on `data`, or of ``D H D`` for a diagonal D.

    `loss` is a mean over samples. Every error bound is at most `ACCEPTED` of its value, or Lanczos ran on the whole
    operator to its own stop.
    """

    def scaled(operator: Operator) -> Operator:
        return operator if diagonal is None else Scaled(operator, diagonal)

    most, others = screened(network, data, loss)
    if len(most) > WORTHWHILE * len(data):
        most, others = torch.arange(len(data)), torch.arange(0)
    low = network.dtype == torch.float32 and multiplies_bfloat16(network.device)
    chunk = network.chunk(data.x)
    proving = min(chunk, 2 * PROVING if low else PROVING)

    def part(kind: type[Hessian | LowPrecisionHessian], rows: Tensor | None, *, keep: bool = True) -> Operator:
        return kind(network, data, loss, rows=rows, chunk=chunk if keep else proving, keep=keep)

    def whole() -> Operator:
        return scaled(part(Hessian, None))

    if network.size <= k + 1 or (len(others) == 0 and not low):
        return lanczos(whole(), k, generator)
    finder = part(LowPrecisionHessian if low else Hessian, most)
    found = lanczos(scaled(finder), k + 1, generator, tolerance=FOUND, guards=GUARDS - 1)
    main = part(Hessian, most, keep=False) if low else finder
    del finder  # its graphs are not needed beside others
    spent = found.products
    # The rest carries 2 %: the rounding of its products to bfloat16 is another 0.4 % of that, which may be too much for
    # a proof; and a span that the rounding turned off may need to grow.
    stages = ((LowPrecisionHessian, 0), (Hessian, REFINEMENTS)) if low and len(others) else ((Hessian, REFINEMENTS),)
    for kind, refinements in stages:
        rest = [(1.0, part(kind, others, keep=False))] if len(others) else []
        proved = rayleigh_ritz(scaled(Combination((1.0, main), *rest)), found.vectors, k, spent, refinements)
        if proved.converged:
            return proved
        spent = proved.products
    return lanczos(whole(), k, generator)


@torch.no_grad()
def screened(network: Network, data: Split, loss: Loss, share: float = CARRIED) -> tuple[Tensor, Tensor]:
    """Indices of the fewest samples that carry `share` of the loss's slope and curvature in the outputs, and the rest.

    They are as many as whole blocks hold.

    A sample's part of the Hessian is ``J' S J`` plus its slopes times the network's own curvature: it is small where
    both its S and its slope are. S is felt with four random sign vectors.
    """
    outputs = torch.cat([network.outputs(part) for part in torch.split(data.x, network.chunk(data.x))]).requires_grad_()
    with torch.enable_grad():
        total = loss(outputs, data.y) * len(data)
        (slope,) = torch.autograd.grad(total, outputs, create_graph=True)
    carried = slope.detach().reshape(len(data), -1).norm(dim=1)
    stream = torch_stream("screened")
    for _ in range(4 if slope.requires_grad else 0):
        signs = (torch.randint(0, 2, slope.shape, generator=stream) * 2 - 1).to(slope)
        (curved,) = torch.autograd.grad(slope, outputs, signs, retain_graph=True)
        carried += curved.reshape(len(data), -1).norm(dim=1) / 4
    ordered, samples = carried.sort(descending=True)
    enough = BLOCK * (int((ordered.cumsum(0) < share * ordered.sum()).sum()) // BLOCK + 1)
    return samples[:enough], samples[enough:]


def rayleigh_ritz(operator: Operator, vectors: Tensor, k: int, spent: int = 0, refinements: int = 0) -> Eigenpairs:
    """The `k` largest Ritz pairs of `operator` on the span of `vectors` [K, P], K > k, with error bounds.

    Within its residual of every Ritz value lies an eigenvalue (Weinstein); and within ``|R|² / gap``, R the residuals
    of all K, if `gap` separates the value from the spectrum outside the span (Mathias 1998), for whose top the smallest
    of the K values stands. While a bound is above `ACCEPTED` of its value, the span grows by the residuals of the pairs
    that miss it, at most `refinements` times (Davidson 1975, without a preconditioner); `converged` says whether none
    does. `spent` products are added to the count.
    """
    guard = len(vectors) - 1
    basis = vectors if _orthonormal(vectors) else torch.linalg.qr(vectors.T).Q.T
    images = operator.products(basis)
    while True:
        small = (basis @ images.T).double().cpu().numpy()
        ascending, turns = np.linalg.eigh((small + small.T) / 2)
        values = torch.from_numpy(ascending[::-1].copy())
        turn = torch.from_numpy(turns[:, ::-1].T.copy()).to(basis)
        residuals = (turn @ images).addmm_(values.to(basis)[:, None] * turn, basis, alpha=-1)
        own = torch.linalg.vector_norm(residuals, dim=1).double().cpu()
        gaps = values - values[guard] - own[guard]
        squared = float(np.linalg.eigvalsh((residuals @ residuals.T).double().cpu().numpy())[-1])  # of the largest norm
        quadratic = torch.where(gaps > 0, squared / gaps, torch.inf)
        bounds = torch.minimum(own, quadratic)[:k]
        missed = ~(bounds <= ACCEPTED * values[:k].abs())
        if refinements == 0 or not missed.any():
            del images, residuals  # as large as what is made of the basis now
            proved = not bool(missed.any())
            return Eigenpairs(values[:k], turn[:k] @ basis, bounds, spent + len(basis), converged=proved)
        fresh = residuals[:k][missed.to(residuals.device)]
        for _ in range(2):
            fresh = fresh - (fresh @ basis.T) @ basis
            fresh = torch.linalg.qr(fresh.T).Q.T
        basis = torch.cat([basis, fresh])
        images = torch.cat([images, operator.products(fresh)])
        refinements -= 1


def _orthonormal(vectors: Tensor) -> bool:
    """Whether `vectors` [K, P] are orthonormal up to rounding that no bound can feel."""
    off = vectors @ vectors.T - torch.eye(len(vectors), dtype=vectors.dtype, device=vectors.device)
    return bool(off.abs().max() <= 1e-5)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 matrices; without them they are emulated slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
