"""The peak memory of a product is at most three times that of one gradient on the same data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from suite.curvature import EmpiricalFisher, GaussNewton, Hessian, Network
from suite.curvature.diagonal import gauss_newton_diagonal
from suite.models.images import cnn, mlp
from suite.task import Split


def peak_bytes(run: Callable[[], object]) -> int:
    """The most that tensors held at once while `run` ran, from the allocator's own events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


CASES = [
    pytest.param(mlp((50,), 10, (256, 256)), torch.randn(2000, 50), id="mlp"),
    pytest.param(cnn((3, 16, 16), 10), torch.randn(200, 3, 16, 16), id="cnn"),
]


@pytest.mark.parametrize(("model", "x"), CASES)
@pytest.mark.parametrize("kind", [Hessian, GaussNewton, EmpiricalFisher])
def test_products(model: nn.Module, x: torch.Tensor, kind: type[Hessian]) -> None:
    network = Network(model)
    data = Split(x, torch.arange(len(x)) % 10)

    def gradient() -> object:
        return torch.autograd.grad(cross_entropy(model(data.x), data.y), network.leaves)

    vector = torch.randn(network.size)
    assert peak_bytes(lambda: kind(network, data, cross_entropy) @ vector) <= 3 * peak_bytes(gradient)


@pytest.mark.parametrize(("model", "x"), CASES)
def test_diagonals(model: nn.Module, x: torch.Tensor) -> None:
    network = Network(model)
    data = Split(x, torch.arange(len(x)) % 10)

    def gradient() -> object:
        return torch.autograd.grad(cross_entropy(model(data.x), data.y), network.leaves)

    assert peak_bytes(lambda: gauss_newton_diagonal(network, data, cross_entropy)) <= 3 * peak_bytes(gradient)
