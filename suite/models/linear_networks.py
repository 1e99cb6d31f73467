"""Networks that compute linear functions: the same predictors, parametrised differently."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class LinearNetwork(nn.Module):
    """``x @ predictor()'``: inputs [n, …] are flattened to [n, d], outputs are [n, outputs].

    `layers` holds the hidden layers from the input on, `head` [outputs, d] the last one; with depth 1 there is the head
    alone. All layers are drawn with equal spread, so that the predictor's l2 norm per output is about `scale`.
    """

    hidden: ClassVar[int]
    """The number of dimensions of a hidden layer's weights: 2 for a matrix [d, d], 1 for a vector [d]."""

    def __init__(
        self,
        features: int,
        outputs: int = 1,
        depth: int = 2,
        scale: float = 1e-2,
        generator: torch.Generator | None = None,
    ) -> None:
        """A generator of None draws from torch's own.

        Raises:
            ValueError: the depth is below 1.
        """
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}.")
        # Each of a matrix's outputs sums d products, those of a vector have one factor each.
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
        product: Tensor = self.head
        for layer in reversed(list(self.layers)):
            product = product @ layer
        return product


class Diagonal(LinearNetwork):
    """``head * u_{depth-1} * … * u_1`` entry by entry, with vectors u [d]."""

    hidden = 1

    def predictor(self) -> Tensor:
        product: Tensor = self.head
        for layer in self.layers:
            product = product * layer
        return product


class Convolutional(LinearNetwork):
    """Circular convolutions with filters as wide as the input [d], then a fully connected head.

    A convolution is scaled by 1/sqrt(d), as in Gunasekar et al. (2018, arXiv:1806.00468), so that the predictor's
    unitary Fourier transform is the product of those of head and filters: a diagonal network in frequency.
    """

    hidden = 1

    def predictor(self) -> Tensor:
        product = torch.fft.rfft(self.head, norm="ortho")
        for layer in self.layers:
            product = product * torch.fft.rfft(layer, norm="ortho")
        predictor: Tensor = torch.fft.irfft(product, n=self.head.shape[-1], norm="ortho")
        return predictor


NETWORKS: dict[str, type[LinearNetwork]] = {
    "full": FullyConnected,
    "diagonal": Diagonal,
    "convolutional": Convolutional,
}


def steepness(network: str, depth: int, w: Tensor, hessian: Tensor) -> float:
    """The largest eigenvalue of the Hessian in the parameters of the balanced network that represents `w` [d].

    `hessian` [d, d] is that in the predictor itself, at a minimum of the loss. A layer's perturbation moves the
    predictor by itself times the other layers, |w|^(1 - 1/depth): entry by entry for a diagonal network, frequency by
    frequency for a convolutional one. In a fully connected one the first layer moves it in any direction and the
    others along w alone.
    """
    power = 1 - 1 / depth
    identity = torch.eye(len(w), dtype=w.dtype)
    if network == "full":
        norm = torch.linalg.vector_norm(w)
        along = torch.outer(w, w) / norm**2
        root = norm**power * (identity + (depth**0.5 - 1) * along)
    elif network == "diagonal":
        root = depth**0.5 * torch.diag(w.abs() ** power)
    else:
        unitary = torch.fft.fft(identity, norm="ortho")
        modulus = torch.fft.fft(w, norm="ortho").abs() ** power
        root = depth**0.5 * (unitary.conj().T @ (modulus[:, None] * unitary)).real
    return float(torch.linalg.matrix_norm(root @ hessian @ root, ord=2))
