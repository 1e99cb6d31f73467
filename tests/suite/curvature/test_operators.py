"""Products against matrices that were made by other means, on single models and on lanes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from suite.curvature import GaussNewton, Hessian, Network, Scaled
from suite.curvature import operators as module
from suite.curvature.losses import Tempered
from suite.curvature.operators import Combination, EmpiricalFisher, Fisher, NetworkCurvature, dense
from suite.errors import InputError
from suite.task import Loss, Split
from tests.suite.curvature.helpers import (
    classification,
    convolutional,
    drawn,
    flat_hessian,
    images,
    jacobian,
    network,
    regression,
)

CASES = [
    pytest.param(network(), classification(), cross_entropy, id="mlp"),
    pytest.param(network(), classification(), Tempered(cross_entropy, 2.5), id="tempered"),
    pytest.param(network(outputs=2), regression(), mse_loss, id="regression"),
    pytest.param(convolutional(), images(), cross_entropy, id="cnn"),
    pytest.param(
        drawn(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))), classification(), cross_entropy, id="tanh"
    ),
    pytest.param(network(), classification(1), cross_entropy, id="one sample"),
]


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("model", "data", "loss"), CASES)
@pytest.mark.parametrize("chunk", [None, 7, 1000])
def test_hessian(model: nn.Module, data: Split, loss: Loss, chunk: int | None) -> None:
    close(dense(Hessian(Network(model), data, loss, chunk=chunk)), flat_hessian(model, data, loss))


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(("model", "data", "loss"), CASES)
def test_graphs_that_are_not_kept_give_the_same(
    model: nn.Module, data: Split, loss: Loss, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Hessian(Network(model), data, loss, chunk=3)
    all_of_them = len(kept._kept)
    monkeypatch.setattr(module, "MAX_GRAPH_BYTES", int(share * all_of_them * 3 * kept._bytes_per_sample()))
    built = Hessian(Network(model), data, loss, chunk=3)
    assert (len(kept._rebuilt), len(built._kept)) == (0, int(share * all_of_them))
    vector = torch.randn(kept.size, dtype=kept.dtype)
    close(built @ vector, kept @ vector)
    rows = torch.arange(len(data))[::2]
    some = [Hessian(Network(model), data, loss, rows=rows, chunk=2, keep_graphs=keep) for keep in (True, False)]
    close(some[0] @ vector, some[1] @ vector)


def output_hessian(logits: Tensor) -> Tensor:
    shares = logits.softmax(1)
    return torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]


def test_gauss_newton_and_fisher_from_the_jacobian() -> None:
    model, data = network(), classification()
    rows = jacobian(model, data.x)
    expected = torch.einsum("ncp,ncd,ndq->pq", rows, output_hessian(model(data.x)), rows) / len(data)
    close(dense(GaussNewton(Network(model), data, cross_entropy)), expected.detach())
    # The Fisher information by its definition: the mean over the model's own labels of g g'.
    shares = model(data.x).softmax(1)
    gradients = torch.einsum("nkc,ncp->nkp", shares[:, None] - torch.eye(3, dtype=shares.dtype), rows)
    fisher = torch.einsum("nk,nkp,nkq->pq", shares, gradients, gradients) / len(data)
    close(dense(Fisher(Network(model), data, cross_entropy)), fisher.detach())


def test_gauss_newton_of_the_squared_error() -> None:
    model, data = network(outputs=2), regression()
    rows = jacobian(model, data.x).flatten(0, 1)
    close(dense(GaussNewton(Network(model), data, mse_loss)), 2 * rows.T @ rows / len(rows))
    with pytest.raises(InputError, match="cross-entropy and the squared error"):
        Fisher(Network(model), data, lambda z, y: (z - y).abs().mean())


def test_empirical_fisher_from_the_gradients() -> None:
    model, data = network(), classification()
    slopes = model(data.x).softmax(1) - one_hot(data.y, 3)
    gradients = torch.einsum("nc,ncp->np", slopes, jacobian(model, data.x)).detach()
    close(dense(EmpiricalFisher(Network(model), data, cross_entropy)), gradients.T @ gradients / len(data))


@pytest.mark.parametrize("kind", [Hessian, GaussNewton, NetworkCurvature, Fisher, EmpiricalFisher])
def test_lanes_are_the_single_models(kind: type[Hessian]) -> None:
    models = [network(seed) for seed in range(3)]
    data = [classification(20) for _ in range(3)]
    x = torch.stack([part.x + number for number, part in enumerate(data)])
    y = torch.stack([part.y for part in data])
    together = dense(kind(Network.stacked(models), Split(x, y), cross_entropy))
    for lane, model in enumerate(models):
        close(together[lane], dense(kind(Network(model), Split(x[lane], y[lane]), cross_entropy)))
    order = [2, 0, 1]
    shuffled = kind(Network.stacked([models[i] for i in order]), Split(x[order], y[order]), cross_entropy)
    close(dense(shuffled), together[order])


@pytest.mark.parametrize(("model", "data", "loss"), CASES)
def test_the_networks_own_curvature_is_what_is_left_of_the_hessian(model: nn.Module, data: Split, loss: Loss) -> None:
    net = Network(model)
    rest = dense(Hessian(net, data, loss)) - dense(GaussNewton(net, data, loss))
    close(dense(NetworkCurvature(net, data, loss, chunk=7)), rest)
    assert (
        dense(NetworkCurvature(Network(nn.Linear(6, 3).double()), classification(), cross_entropy)).count_nonzero() == 0
    )


def test_scaled_and_combined() -> None:
    model, data = network(), classification()
    net = Network(model)
    hessian, other = Hessian(net, data, cross_entropy), GaussNewton(net, data, cross_entropy)
    diagonal = net.weights()
    close(dense(Scaled(hessian, diagonal)), diagonal[:, None] * dense(hessian) * diagonal)
    close(dense(Combination((1.0, hessian), (-2.0, other))), dense(hessian) - 2 * dense(other))


def test_finite_differences() -> None:
    model, data = network(), classification()
    net = Network(model)
    vector = torch.randn(net.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(step: float) -> Tensor:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, piece in zip(moved.parameters(), net.split(vector), strict=True):
                p.add_(piece, alpha=step)
        loss = cross_entropy(moved(data.x), data.y)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(moved.parameters()))])

    expected = (gradient(1e-6) - gradient(-1e-6)) / 2e-6
    torch.testing.assert_close(Hessian(net, data, cross_entropy) @ vector, expected, rtol=1e-4, atol=1e-7)


def test_no_curvature_at_all() -> None:
    linear = nn.Linear(6, 1).double()
    data = Split(classification().x, torch.zeros(40, 1, dtype=torch.float64))
    assert not dense(Hessian(Network(linear), data, lambda z, y: (z - y).mean())).any()
    with pytest.raises(InputError, match="no parameters"):
        Network(linear.requires_grad_(False))
