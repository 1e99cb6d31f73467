"""Networks that compute linear functions: the same predictors, parametrised differently.

Single layers; the products that theory studies, from a scale that decides the regime (kernel or rich); and networks of
any depth, from one distribution of predictors. All weights are float64; n is the number of samples, d of features.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn


class LinearPredictor(nn.Module):
    """``x @ w`` without bias, from ``w = start`` [d] or zero: x [n, d] -> [n]."""

    def __init__(self, features: int, start: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, dtype=torch.float64) if start is None else start.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class LinearClassifier(nn.Module):
    """``x @ W'`` without bias, from ``W = 0`` [classes, d]: x [n, d] -> [n, classes]."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


class MatrixPredictor(nn.Module):
    """``<x, W>`` without bias, from ``W = 0`` [rows, columns]: x [n, rows, columns] -> [n]."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, columns, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.flatten()


class FactoredPredictor(nn.Module):
    """``<x, U V'>`` for matrices x, with factors u [rows, r] and v [columns, r]: x [n, rows, columns] -> [n]."""

    def __init__(self, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(u.clone()), nn.Parameter(v.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x * (self.u @ self.v.T)).sum((1, 2))


class DiagonalNetwork(nn.Module):
    """``x @ (u² - v²)``, a diagonal network of depth 2, from ``u = v = alpha`` [d], so from zero. x [n, d] -> [n]."""

    def __init__(self, features: int, alpha: float) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.full((features,), alpha, dtype=torch.float64))
        self.v = nn.Parameter(torch.full((features,), alpha, dtype=torch.float64))

    def predictor(self) -> Tensor:
        """The end-to-end linear predictor, [d]."""
        return self.u.square() - self.v.square()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.predictor()


class MatrixProduct(nn.Module):
    """Entries of ``W_depth … W_1``, square matrices [d, d]. The input [n, 2] holds their rows and columns; -> [n].

    Factors are drawn so that the product has entries of about ``scale * N(0, 1/d)``, with d = `size`.
    """

    def __init__(self, size: int, depth: int, scale: float, generator: Generator) -> None:
        super().__init__()
        spread = scale ** (1 / depth) / size**0.5
        self.factors = nn.ParameterList(
            nn.Parameter(spread * torch.randn(size, size, generator=generator, dtype=torch.float64))
            for _ in range(depth)
        )

    def matrix(self) -> Tensor:
        """The product, [d, d]."""
        return reduce(lambda product, factor: factor @ product, self.factors)

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix()[x[:, 0], x[:, 1]]


class InnerProduct(nn.Module):
    """``u · v`` from given u and v [k]: a scalar that a manifold of weights represents. Ignores x [n, 1]; -> [n]."""

    def __init__(self, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(u.clone()), nn.Parameter(v.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (self.u @ self.v).expand(x.shape[0])


class LinearNetwork(nn.Module):
    """``x @ predictor()'``: inputs [n, …] are flattened to [n, d], outputs are [n, outputs].

    Attributes:
        hidden: the number of dimensions of a hidden layer's weights: 2 for a matrix [d, d], 1 for a vector [d].
        layers: the hidden layers, from the input on; none with depth 1.
        head: the last layer, [outputs, d].
    """

    hidden: ClassVar[int]

    def __init__(
        self, features: int, outputs: int = 1, depth: int = 2, scale: float = 1e-2, generator: Generator | None = None
    ) -> None:
        """Draw all layers with equal standard deviation.

        Args:
            features: d.
            outputs: rows of the predictor.
            depth: the number of layers, with the head.
            scale: about the l2 norm of the predictor per output.
            generator: what the layers are drawn from; None for torch's global generator.

        Raises:
            ValueError: the depth is below 1.
        """
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}.")
        # An output of a matrix sums d products; one of a vector is a single product.
        spread = scale ** (1 / depth) * features ** (-0.5 if self.hidden == 2 else -0.5 / depth)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(spread * torch.randn(shape, generator=generator, dtype=torch.float64))

        self.layers = nn.ParameterList(draw(*[features] * self.hidden) for _ in range(depth - 1))
        self.head = draw(outputs, features)

    def predictor(self) -> Tensor:
        """The end-to-end linear map, [outputs, d]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.predictor().T


class FullyConnected(LinearNetwork):
    """``head W_{depth-1} … W_1`` with square matrices [d, d]."""

    hidden = 2

    def predictor(self) -> Tensor:
        return reduce(operator.matmul, reversed(list(self.layers)), self.head)


class Diagonal(LinearNetwork):
    """``head * u_{depth-1} * … * u_1`` entry by entry, with vectors u [d]."""

    hidden = 1

    def predictor(self) -> Tensor:
        return reduce(operator.mul, self.layers, self.head)


class Convolutional(LinearNetwork):
    """Circular convolutions with filters as wide as the input [d], then a fully connected head.

    A convolution is scaled by 1/sqrt(d), as in Gunasekar et al. (2018, arXiv:1806.00468), so that the predictor's
    unitary Fourier transform is the product of those of head and filters: a diagonal network in frequency.
    """

    hidden = 1

    def predictor(self) -> Tensor:
        spectra = (torch.fft.rfft(factor, norm="ortho") for factor in (self.head, *self.layers))
        return torch.fft.irfft(reduce(operator.mul, spectra), n=self.head.shape[-1], norm="ortho")


NETWORKS = {"full": FullyConnected, "diagonal": Diagonal, "convolutional": Convolutional}


def steepness(network: str, depth: int, w: Tensor, hessian: Tensor) -> float:
    """The largest eigenvalue of the Hessian in the parameters of the balanced network that represents a predictor.

    A layer's perturbation moves the predictor by itself times the other layers, |w|^(1 - 1/depth): entry by entry for a
    diagonal network, frequency by frequency for a convolutional one. In a fully connected one the first layer moves it
    in any direction, the others along w only.

    Args:
        network: a key of `NETWORKS`.
        depth: the number of layers.
        w: the predictor [d], at a minimum of the loss.
        hessian: of the loss in the predictor, [d, d].
    """
    power = 1 - 1 / depth
    identity = torch.eye(len(w), dtype=w.dtype)
    if network == "full":
        norm = torch.linalg.vector_norm(w)
        root = norm**power * (identity + (depth**0.5 - 1) * (torch.outer(w, w) / norm**2))
    elif network == "diagonal":
        root = depth**0.5 * torch.diag(w.abs() ** power)
    else:
        unitary = torch.fft.fft(identity, norm="ortho")
        modulus = torch.fft.fft(w, norm="ortho").abs() ** power
        root = depth**0.5 * (unitary.conj().T @ (modulus[:, None] * unitary)).real
    return float(torch.linalg.matrix_norm(root @ hessian @ root, ord=2))
