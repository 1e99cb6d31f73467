"""Agreement with hessian-eigenthings, curvlinops and PyHessian on an MLP and a CNN (`pip install '.[peers]'`).

All data is one batch: hessian-eigenthings averages batches of unequal size equally. Seeds are numbers: its `seed=None`
draws the same vectors every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.curvature import GaussNewton, Hessian, Network, lanczos
from suite.curvature.operators import EmpiricalFisher, Operator, dense
from suite.seeding import torch_stream
from suite.task import Split
from tests.suite.curvature.helpers import classification, convolutional, images, network

CASES = [
    pytest.param(network(), classification(), id="mlp"),
    pytest.param(convolutional(), images(), id="cnn"),
]
PAIRS = {Hessian: "HessianLinearOperator", GaussNewton: "GGNLinearOperator", EmpiricalFisher: "EFLinearOperator"}


def vector(size: int) -> Tensor:
    return torch.randn(size, generator=torch_stream("peers"), dtype=torch.float64)


@pytest.mark.parametrize(("model", "data"), CASES)
@pytest.mark.parametrize("ours", PAIRS)
def test_curvlinops(model: nn.Module, data: Split, ours: type[Hessian]) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    parameters = list(model.parameters())
    operator = getattr(curvlinops, PAIRS[ours])(model, nn.CrossEntropyLoss(), parameters, [(data.x, data.y)])
    mine = ours(Network(model), data, cross_entropy)
    v = vector(mine.size)
    torch.testing.assert_close(mine @ v, operator @ v, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("model", "data"), CASES)
def test_hessian_eigenthings(model: nn.Module, data: Split) -> None:
    peer = pytest.importorskip("hessian_eigenthings")
    operator = peer.HessianOperator(model, [(data.x, data.y)], peer.supervised_loss(cross_entropy))
    mine = Hessian(Network(model), data, cross_entropy)
    v = vector(mine.size)
    torch.testing.assert_close(mine @ v, operator.matvec(v), rtol=1e-6, atol=1e-9)
    theirs = peer.lanczos(operator, k=3, max_iter=40, which="LA", seed=0).eigenvalues
    np.testing.assert_allclose(lanczos(mine, 3, torch_stream("peers")).values, theirs, rtol=1e-3)


def pyhessian_of(model: nn.Module, data: Split) -> Any:
    """PyHessian draws its vectors in torch's default dtype, so it is given float32."""
    peer = pytest.importorskip("pyhessian")
    return peer.hessian(model.float(), nn.CrossEntropyLoss(), data=(data.x.float(), data.y), cuda=False)


@pytest.mark.parametrize(("model", "data"), CASES)
def test_pyhessian(model: nn.Module, data: Split) -> None:
    """Its power iteration stops at a change of 1e-6; its trace is a mean of 100 probes at most."""
    mine: Operator = Hessian(Network(model), data, cross_entropy)
    matrix = dense(mine)
    largest = lanczos(mine, 1, torch_stream("peers")).values[0].item()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            peer = pyhessian_of(model, data)
            assert peer.eigenvalues(maxIter=2000, tol=1e-6)[0][0] == pytest.approx(largest, rel=5e-3)
            draws = np.array(peer.trace(maxIter=100, tol=0.0))
            assert len(draws) == 100  # a negative mean would end it after two, whatever the tolerance
    finally:
        model.double().zero_grad()
    error = draws.std(ddof=1) / len(draws) ** 0.5
    assert abs(draws.mean() - matrix.trace().item()) <= 5 * error
