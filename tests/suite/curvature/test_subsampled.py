"""The two-stage top eigenvalues: certified bounds hold, whatever the cheap operator was."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import Hessian, Network, Scaled, lanczos, subsampled, top_eigenpairs
from suite.curvature.operators import LowPrecisionHessian
from suite.curvature.subsampled import rayleigh_ritz, select_informative
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Split
from tests.suite.curvature.helpers import classification, network, regression
from tests.suite.curvature.test_lanczos import Matrix


@pytest.fixture(scope="module")
def fitted() -> tuple[nn.Module, Split]:
    """A network that classifies most of 400 samples with confidence."""
    data = classification(400, features=10, classes=4)
    data = Split(data.x.float(), data.y)
    model = initialize(mlp((10,), 4, widths=(32, 32)), torch_stream("fitted"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        cross_entropy(model(data.x), data.y).backward()
        optimizer.step()
    return model, data


def require_certified_values(net: Network, data: Split, k: int, adaptive: bool) -> None:
    """The largest eigenvalues are those of all samples, and their bounds as tight as they say."""
    diagonal = net.weights() if adaptive else None
    whole = Hessian(net, data, cross_entropy)
    expected = lanczos(whole if diagonal is None else Scaled(whole, diagonal), k, torch_stream("all"), tol=1e-5)
    pairs = top_eigenpairs(net, data, cross_entropy, k, torch_stream("test"), diagonal=diagonal)
    np.testing.assert_allclose(pairs.values, expected.values, rtol=1e-2)
    assert (pairs.bounds <= subsampled.CERTIFIED_ERROR * pairs.values).all()


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_subsampled_values_are_those_of_all_samples(
    fitted: tuple[nn.Module, Split], low: bool, adaptive: bool, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsampled, "multiplies_bfloat16", lambda device: low)
    monkeypatch.setattr(subsampled, "BLOCK", 50)
    model, data = fitted
    net = Network(model)
    informative, rest = select_informative(net, data, cross_entropy)
    assert len(informative) < 0.5 * len(data)
    assert sorted([*informative.tolist(), *rest.tolist()]) == list(range(len(data)))
    require_certified_values(net, data, k, adaptive)


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize(("k", "adaptive"), [(1, False), (1, True), (3, False)])
def test_values_of_a_network_whose_curvature_is_spread_are_those_of_all_samples(
    low: bool, k: int, adaptive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsampled, "multiplies_bfloat16", lambda device: low)
    monkeypatch.setattr(subsampled, "BLOCK", 50)
    parts: list[int] = []
    combine = subsampled.Combination.__init__

    def noted(self: subsampled.Combination, *given: tuple[float, Hessian]) -> None:
        combine(self, *given)
        parts.append(len(given))
        assert [weight for weight, _ in given] == [1.0, 350 / 50], "those that are drawn stand for the others"

    monkeypatch.setattr(subsampled.Combination, "__init__", noted)
    data = classification(400, features=10, classes=4)
    data = Split(data.x.float(), data.y)
    net = Network(initialize(mlp((10,), 4, widths=(32, 32)), torch_stream("spread")))
    assert len(select_informative(net, data, cross_entropy)[0]) > 0.5 * len(data)
    require_certified_values(net, data, k, adaptive)
    assert parts == [2]


def test_nothing_is_kept_of_a_network_that_was_measured(
    fitted: tuple[nn.Module, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsampled, "BLOCK", 50)
    model, data = fitted

    def alive() -> int:
        gc.collect()
        # By `type`: `isinstance` asks deprecated modules for their class, and they warn.
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    top_eigenpairs(Network(model), data, cross_entropy, 2, torch_stream("first"))
    before = alive()
    top_eigenpairs(Network(model), data, cross_entropy, 2, torch_stream("second"))
    assert alive() == before


def test_an_unfitted_regression_is_not_subsampled() -> None:
    net, data = Network(network(outputs=2)), regression()
    pairs = top_eigenpairs(net, data, mse_loss, 2, torch_stream("test"))
    expected = lanczos(Hessian(net, data, mse_loss), 2, torch_stream("test"))
    torch.testing.assert_close(pairs.values, expected.values, rtol=1e-12, atol=0)


def test_a_bad_selection_is_caught(fitted: tuple[nn.Module, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    """Selecting the wrong samples costs time, not correctness."""
    model, data = fitted
    net = Network(model)
    informative, rest = select_informative(net, data, cross_entropy)
    monkeypatch.setattr(subsampled, "select_informative", lambda *_: (rest[:100], torch.cat([rest[100:], informative])))
    pairs = top_eigenpairs(net, data, cross_entropy, 2, torch_stream("test"))
    expected = lanczos(Hessian(net, data, cross_entropy), 2, torch_stream("test"))
    np.testing.assert_allclose(pairs.values, expected.values, rtol=1e-3)


def test_rayleigh_ritz_bounds_hold() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.cat([torch.tensor([5.0, 4.0, 3.9, 2.0]), torch.rand(60, generator=generator)]).double()
    for noise in (1e-3, 1e-2, 0.1):
        disturbed = torch.eye(64, dtype=torch.float64)[:4] + noise * torch.randn(4, 64, generator=generator).double()
        pairs = rayleigh_ritz(Matrix(values), disturbed, 3)
        assert ((pairs.values - values[:3]).abs() <= pairs.bounds + 1e-12).all()


def test_low_precision_products_are_close(fitted: tuple[nn.Module, Split]) -> None:
    model, data = fitted
    net = Network(model)
    vector = torch.randn(net.size, generator=torch.Generator().manual_seed(0))
    exact = Hessian(net, data, cross_entropy) @ vector
    low = LowPrecisionHessian(net, data, cross_entropy) @ vector
    scale = lanczos(Hessian(net, data, cross_entropy), 1, torch_stream("test")).values[0] * vector.norm()
    assert 0 < (low - exact).norm() < 0.01 * scale
