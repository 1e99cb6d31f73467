"""Curvature matrices as operators: Hessian, Gauss-Newton, Fisher. Only products with vectors are ever formed.

Every operator is a mean over samples and is built chunk by chunk, from graphs that are kept: a product by a double
backward pass on a kept graph saves the forward and the first backward pass of every product.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature.network import Network, saved_bytes
from suite.errors import InputError
from suite.task import Loss, Split

MIN_CHUNKS = 4
"""A product works on a quarter of the samples at a time at most: its temporaries are then small next to the graphs."""

MAX_GRAPH_BYTES = 2**30
"""Graphs beyond this are rebuilt for every product (2 to 3 times slower)."""

Pieces = Sequence[Tensor]
Product = Callable[[Pieces], Pieces]


class Operator:
    """A symmetric matrix, or one for each of S lanes, of which only products with vectors are formed.

    A subclass defines `products` or ``@``: each is computed from the other.

    Attributes:
        size: P, the number of rows.
        lanes: S; None for a single matrix.
        dtype, device: of the vectors that it takes and returns.

    Example:
        The loss ``mean (x·w)²`` with X = diag(1, 2) has the Hessian diag(1, 4).

        >>> from suite.curvature import Hessian, Network
        >>> data = Split(torch.diag(torch.tensor([1.0, 2.0])), torch.zeros(2, 1))
        >>> hessian = Hessian(Network(torch.nn.Linear(2, 1, bias=False)), data, mse_loss)
        >>> hessian.shape
        (2, 2)
        >>> hessian @ torch.tensor([1.0, 1.0])
        tensor([1., 4.])
        >>> hessian.products(torch.eye(2))
        tensor([[1., 0.],
                [0., 4.]])
    """

    size: int
    lanes: int | None
    dtype: torch.dtype
    device: torch.device

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, P), or (S, P, P)."""
        return (self.size, self.size) if self.lanes is None else (self.lanes, self.size, self.size)

    def __matmul__(self, vector: Tensor) -> Tensor:
        """The product with a vector [P], or [S, P]; of the same shape."""
        return self.products(vector[None])[0]

    def products(self, vectors: Tensor) -> Tensor:
        """The products with several vectors [K, P], or [K, S, P]; of the same shape."""
        return torch.stack([self @ vector for vector in vectors])

    def like(self, other: Operator | Network) -> None:
        """Take size, lanes, dtype and device from `other`."""
        self.size, self.lanes, self.dtype, self.device = other.size, other.lanes, other.dtype, other.device


class SampleMean(Operator):
    """An operator that is a mean over samples; a subclass says how the product with one chunk is built."""

    def __init__(
        self,
        network: Network,
        data: Split,
        loss: Loss,
        *,
        rows: Tensor | None = None,
        chunk: int | None = None,
        keep_graphs: bool = True,
    ) -> None:
        """Build the graphs.

        Args:
            network: one model, or stacked lanes.
            data: samples x [n, ...] and targets y [n, ...]; [S, n, ...] for lanes.
            loss: ``loss(outputs, targets)``, a mean over samples (for another summary pass ``chunk=len(data)``).
            rows: the samples of `data` that the operator sums over (of one model), all by default; the sum is divided
                by the number of all samples either way.
            chunk: samples that are worked on at a time.
            keep_graphs: whether graphs are kept between products. An operator that is needed for one call of `products`
                takes as long without them, and the memory of one chunk.
        """
        self.network, self.loss = network, loss
        self.like(network)
        self._axis = 0 if network.lanes is None else 1
        self._data, self._total = data, data.x.shape[self._axis]
        self._rows, samples = rows, self._total if rows is None else len(rows)
        self._chunk = chunk or min(network.chunk(data.x), -(-samples // MIN_CHUNKS))
        chunks = range(0, samples, self._chunk)
        fitting = MAX_GRAPH_BYTES // max(1, self._chunk * self._bytes_per_sample()) if keep_graphs else 0
        self._kept = list(self._built(chunks[:fitting]))
        self._rebuilt = chunks[fitting:]

    @abstractmethod
    def build(self, x: Tensor, y: Tensor, weight: float) -> Product:
        """The product with `weight` times the mean over ``(x, y)``, as a function of vectors split like the leaves."""

    def _built(self, chunks: Sequence[int]) -> Iterator[Product]:
        """The products with the samples of `chunks`, each named by its first sample."""
        for begin in chunks:
            x, y = self._samples(slice(begin, begin + self._chunk))
            with torch.enable_grad():
                product = self.build(x, y, x.shape[self._axis] / self._total)
            yield product

    def _samples(self, part: slice) -> tuple[Tensor, Tensor]:
        rows = part if self._rows is None else self._rows[part]
        x, y = self._data.x, self._data.y
        return (x[rows], y[rows]) if self._axis == 0 else (x[:, rows], y[:, rows])

    def _bytes_per_sample(self) -> int:
        """What the graph of one sample stores, apart from the parameters themselves."""
        x, y = self._data.x.narrow(self._axis, 0, 1).clone(), self._data.y.narrow(self._axis, 0, 1).clone()
        with torch.enable_grad():
            return saved_bytes(lambda: self.build(x, y, 1.0), self.network.leaves)

    def products(self, vectors: Tensor) -> Tensor:
        """The products with several vectors [K, P], or [K, S, P]: a graph that is not kept is built once for all."""
        pieces = [self.network.split(vector) for vector in vectors]
        totals = torch.zeros_like(vectors, dtype=torch.promote_types(vectors.dtype, torch.float32))
        results = [self.network.split(total) for total in totals]
        for product in chain(self._kept, self._built(self._rebuilt)):
            for piece, result in zip(pieces, results, strict=True):
                for total, part in zip(result, product(piece), strict=True):
                    total.add_(part)
        if not torch.isfinite(totals).all():
            raise InputError("A product with the loss's curvature is not finite.")
        return totals


class Hessian(SampleMean):
    """The Hessian of the training loss (`docs/measures.md` says what a product costs)."""

    def build(self, x: Tensor, y: Tensor, weight: float) -> Product:
        leaves = self.network.leaves
        total = self._total_loss(self.network.twice_differentiable(x), y) * weight
        gradients = torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)
        # A gradient that no parameter enters (a linear network under a linear loss) has no graph to go back through.
        active = [gradient.requires_grad for gradient in gradients]
        return lambda pieces: _backward([*compress(gradients, active)], leaves, [*compress(pieces, active)])

    def _total_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.network.losses(self.loss, outputs, y).sum()


class NetworkCurvature(Hessian):
    """The Hessian minus the Gauss-Newton matrix: the network's second derivatives times the loss's slopes.

    It is the Hessian of ``slope · outputs`` with constant slopes, the loss without its own curvature: one product
    instead of two, and no difference of large numbers.
    """

    def _total_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs * self._slope(outputs.detach().requires_grad_(), y)).sum()

    def _slope(self, at: Tensor, y: Tensor) -> Tensor:
        """The loss's slopes in the outputs."""
        return torch.autograd.grad(super()._total_loss(at, y), at)[0]


class SampledCurvature(NetworkCurvature):
    """A random draw of `NetworkCurvature` whose expectation is that matrix, from some of the samples of one model.

    A sample's part is its slopes times second derivatives, so samples are drawn in proportion to the size of their
    slopes (with replacement), and each part is divided by the number of times that it is drawn on average.
    """

    def __init__(
        self, network: Network, data: Split, loss: Loss, slopes: Tensor, count: int, generator: torch.Generator
    ) -> None:
        """Draw `count` samples, in proportion to `slopes` [n], by `generator` on the CPU."""
        shares = slopes.double().cpu()
        shares = shares / shares.sum()
        rows = torch.multinomial(shares, count, replacement=True, generator=generator)
        factors = (1 / (count * shares[rows])).to(network.device, network.dtype)
        self._factors = self._present = factors
        # The samples are few: more, smaller chunks would only cost calls.
        chunk = min(network.chunk(data.x), count)
        super().__init__(network, data, loss, rows=rows.to(data.x.device), chunk=chunk, keep_graphs=False)

    def _samples(self, part: slice) -> tuple[Tensor, Tensor]:
        self._present = self._factors[part]
        return super()._samples(part)

    def _slope(self, at: Tensor, y: Tensor) -> Tensor:
        return super()._slope(at, y) * self._present.view(-1, *[1] * (at.dim() - 1))


def _backward(outputs: Pieces, leaves: Pieces, cotangents: Pieces) -> Pieces:
    """Vector-Jacobian product on a kept graph; zeros where there is no graph."""
    if not outputs:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True, materialize_grads=True)


def _forward(outputs: Tensor, leaves: Pieces) -> Callable[[Pieces], Tensor]:
    """Jacobian-vector products on kept graphs: the vector-Jacobian product is linear in its cotangent."""
    dummy = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, leaves, dummy, create_graph=True, materialize_grads=True)
    active = [piece.requires_grad for piece in pulled]
    graphs = [*compress(pulled, active)]
    return lambda pieces: torch.autograd.grad(graphs, dummy, [*compress(pieces, active)], retain_graph=True)[0]


class GaussNewton(SampleMean):
    """``J' S J``: J the outputs' Jacobian in the parameters, S the loss's Hessian in the outputs (Schraudolph 2002).

    It is the Hessian without the curvature of the network itself. For losses that are convex in the outputs it is
    positive semi-definite.
    """

    def build(self, x: Tensor, y: Tensor, weight: float) -> Product:
        leaves = self.network.leaves
        outputs = self.network.twice_differentiable(x)
        pushed = _forward(outputs, leaves)
        at = outputs.detach().requires_grad_()
        losses = self.network.losses(self.loss, at, y)
        (slope,) = torch.autograd.grad(losses.sum() * weight, at, create_graph=True, materialize_grads=True)

        def product(pieces: Pieces) -> Pieces:
            curved = _backward([slope] if slope.requires_grad else [], [at], [pushed(pieces)])
            return _backward([outputs], leaves, curved)

        return product


class Fisher(GaussNewton):
    """The Fisher information of the model whose negative log-likelihood is the loss.

    For cross-entropy (a categorical distribution) and the squared error (a normal one) it equals the Gauss-Newton
    matrix (Martens 2020, arXiv:1412.1193), which is how it is computed.
    """

    def __init__(self, network: Network, data: Split, loss: Loss, **options: Any) -> None:
        """Take the arguments of `SampleMean`; InputError for another loss."""
        if loss not in (cross_entropy, mse_loss):
            raise InputError("The Fisher information is known for cross-entropy and the squared error alone.")
        super().__init__(network, data, loss, **options)


class EmpiricalFisher(SampleMean):
    """The mean over samples of ``g g'``, where g is the gradient of one sample's loss at its label."""

    def build(self, x: Tensor, y: Tensor, weight: float) -> Product:
        leaves = self.network.leaves
        losses = self.network.sample_losses(self.loss, self.network.twice_differentiable(x), y)
        pushed = _forward(losses, leaves)
        share = weight / losses.shape[-1]
        return lambda pieces: _backward([losses], leaves, [pushed(pieces) * share])


class Scaled(Operator):
    """``D A D`` for a diagonal D [P], or [S, P].

    With ``D = diag |theta|`` this is curvature in relative coordinates: no rescaling between the layers or neurons of a
    ReLU network can change it (Dinh et al. 2017, arXiv:1703.04933; Kwon et al. 2021, arXiv:2102.11600).
    """

    def __init__(self, operator: Operator, diagonal: Tensor) -> None:
        """Scale `operator` by `diagonal`, in its dtype and on its device."""
        self._operator, self._diagonal = operator, diagonal
        self.like(operator)

    def products(self, vectors: Tensor) -> Tensor:
        return self._operator.products(vectors * self._diagonal).mul_(self._diagonal)


class Combination(Operator):
    """A weighted sum of operators, for example of the contributions of different samples."""

    def __init__(self, *parts: tuple[float, Operator]) -> None:
        """Take pairs of a weight and an operator, all of one shape."""
        self._parts = parts
        self.like(parts[0][1])

    def products(self, vectors: Tensor) -> Tensor:
        result = torch.zeros_like(vectors)
        for weight, part in self._parts:
            result.add_(part.products(vectors), alpha=weight)
        return result


class LowPrecisionHessian(Operator):
    """The Hessian of one model with products in bfloat16; vectors are in the network's dtype.

    Every entry of every matrix is rounded to 8 bits (relative error up to ``2^-9``); sums are in float32.
    """

    def __init__(self, network: Network, data: Split, loss: Loss, **options: Any) -> None:
        """Take the arguments of `Hessian`."""
        self.like(network)
        x = data.x.bfloat16() if data.x.is_floating_point() else data.x
        if network.device.type == "cpu":
            x = x.contiguous()  # channels first: products with convolutions take 10 to 40 % less
        low = network.converted(torch.bfloat16)
        self._hessian = Hessian(low, Split(x, data.y), lambda z, y: loss(z.float(), y), **options)

    def products(self, vectors: Tensor) -> Tensor:
        return self._hessian.products(vectors.bfloat16()).to(self.dtype)


def dense(operator: Operator) -> Tensor:
    """The whole matrix [P, P], or [S, P, P], column by column: for small models and tests.

    Example:
        The loss ``mean (x·w)²`` with the rows (1, 1) and (1, -2) in X has the Hessian ``X'X``.

        >>> from suite.curvature import Hessian, Network
        >>> data = Split(torch.tensor([[1.0, 1.0], [1.0, -2.0]]), torch.zeros(2, 1))
        >>> dense(Hessian(Network(torch.nn.Linear(2, 1, bias=False)), data, mse_loss))
        tensor([[ 2., -1.],
                [-1.,  5.]])
    """
    columns = torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
    lane_columns = columns if operator.lanes is None else columns[:, None].expand(-1, operator.lanes, -1)
    return torch.stack([operator @ column for column in lane_columns], dim=-1)
