"""The peak memory of curvature is at most three times that of one gradient on the same data."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from asv_bench.allocated import peak_bytes
from suite.curvature import GaussNewton, Hessian, Network, top_eigenpairs
from suite.curvature.ggn_diagonal import gauss_newton_diagonal
from suite.curvature.operators import EmpiricalFisher
from suite.models.images import cnn, mlp
from suite.seeding import torch_stream
from suite.task import Split

CASES = [
    pytest.param(mlp((50,), 10, (256, 256)), torch.randn(2000, 50), id="mlp"),
    pytest.param(cnn((3, 16, 16), 10), torch.randn(200, 3, 16, 16), id="cnn"),
]


def gradient_bytes(network: Network, data: Split) -> int:
    """The peak of one gradient on all samples at once."""
    return peak_bytes(
        lambda: torch.autograd.grad(cross_entropy(network.outputs(data.x), data.y), network.leaves)
    )  # fmt: skip


@pytest.mark.parametrize(("model", "x"), CASES)
@pytest.mark.parametrize("kind", [Hessian, GaussNewton, EmpiricalFisher])
def test_products(model: nn.Module, x: torch.Tensor, kind: type[Hessian]) -> None:
    network = Network(model)
    data = Split(x, torch.arange(len(x)) % 10)

    vector = torch.randn(network.size)
    assert peak_bytes(lambda: kind(network, data, cross_entropy) @ vector) <= 3 * gradient_bytes(network, data)


@pytest.mark.parametrize(("model", "x"), CASES)
def test_diagonals(model: nn.Module, x: torch.Tensor) -> None:
    network = Network(model)
    data = Split(x, torch.arange(len(x)) % 10)

    assert peak_bytes(lambda: gauss_newton_diagonal(network, data, cross_entropy)) <= 3 * gradient_bytes(network, data)


@pytest.mark.parametrize(("model", "x"), CASES)
def test_top_eigenvalues(model: nn.Module, x: torch.Tensor) -> None:
    """All memory except the Lanczos basis, which has as many vectors as there are products."""
    network = Network(model)
    data = Split(x, torch.arange(len(x)) % 10)

    def solve() -> object:
        return top_eigenpairs(network, data, cross_entropy, 1, torch_stream("memory"))

    products = top_eigenpairs(network, data, cross_entropy, 1, torch_stream("memory")).products
    basis = 4 * network.size * 2 * products
    assert peak_bytes(solve) <= 3 * gradient_bytes(network, data) + basis
