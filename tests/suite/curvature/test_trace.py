"""Traces and diagonals against dense matrices, and the condition under which the trace is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, mse_loss

from suite.curvature import GaussNewton, Hessian, Network, Tempered, hessian_trace, per_sample
from suite.curvature import trace as trace_module
from suite.curvature.ggn_diagonal import gauss_newton_diagonal, is_piecewise_multilinear
from suite.curvature.operators import NetworkCurvature, SampledCurvature, dense
from suite.curvature.trace import gauss_newton_trace, hutchinson
from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Loss, Split
from tests.suite.curvature.helpers import (
    Residual,
    TripleLinear,
    classification,
    convolutional,
    drawn,
    images,
    network,
    regression,
)
from tests.suite.curvature.test_lanczos import Matrix


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.both, self.last = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.both(self.both(self.first(x).relu()).relu()).relu()
        return self.last(hidden)


def alive(model: Tied) -> nn.Module:
    """Both uses of the shared layer let something through."""
    drawn(model)
    nn.init.constant_(model.both.bias, 0.5)
    return model


class Functional(nn.Module):
    """Weights that belong to no known layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.linspace(-1, 1, 24).view(4, 6).clone())
        self.last = nn.Parameter(torch.linspace(-1, 1, 12).sin().view(3, 4).clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.first.T).relu() @ self.last.T


def with_activation(activation: nn.Module) -> nn.Module:
    return drawn(nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 3)))


def partly_frozen() -> nn.Module:
    """A weight with a frozen bias, a bias with a frozen weight, and a convolution's weight alone."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip
    for name in ("1.bias", "4.weight", "6.bias"):
        model.get_parameter(name).requires_grad_(False)
    return drawn(model)


def few_patches() -> nn.Module:
    """Convolutions, one of them grouped, at few places for their size, a weight and a bias frozen."""
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 2, groups=2, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 2), nn.ReLU(), nn.Conv2d(16, 16, 2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    for name in ("4.bias", "6.weight"):
        model.get_parameter(name).requires_grad_(False)
    return drawn(model)


class Borrowing(nn.Module):
    """A weight that serves a layer, and once more outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu()) + linear(x, self.last.weight)


class PositionsFirst(nn.Module):
    """Samples along the second axis, of which there are as many as positions in a quarter of the data."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.Linear(3 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(x.view(-1, 3, 2).transpose(0, 1))
        return self.last(hidden.relu().transpose(0, 1).flatten(1))


def hooked() -> nn.Module:
    """A hook doubles what the first layer returns."""
    model = with_activation(nn.ReLU())
    model.get_submodule("0").register_forward_hook(lambda _, args, output: 2 * output)
    return model


def normalised(*layers: nn.Module) -> nn.Module:
    """`layers` between two linear ones, with scales and shifts that are not 1 and 0."""
    model = nn.Sequential(nn.Linear(6, 12), *layers, nn.Linear(12, 3)).double()
    stream = torch_stream("normalised")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=stream, dtype=p.dtype))
    return model


MULTILINEAR = [
    pytest.param(network(), classification(), cross_entropy, id="mlp"),
    pytest.param(network(), classification(), Tempered(cross_entropy, 3.0), id="tempered"),
    pytest.param(network(outputs=2), regression(), mse_loss, id="squared error"),
    pytest.param(network(outputs=2), regression(), lambda z, y: ((z - y) ** 4 - (z - y) ** 2).mean(), id="not convex"),
    pytest.param(convolutional(), images(), cross_entropy, id="cnn"),
    pytest.param(few_patches(), images(), cross_entropy, id="few patches"),
    pytest.param(Functional(), classification(), cross_entropy, id="functional"),
    pytest.param(with_activation(nn.LeakyReLU()), classification(), cross_entropy, id="leaky"),
    pytest.param(
        drawn(nn.Sequential(nn.Linear(6, 4), Residual(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), nn.Linear(4, 3))),
        classification(),
        cross_entropy,
        id="residual",
    ),
    pytest.param(
        drawn(nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Linear(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))),
        classification(),
        cross_entropy,
        id="positions",
    ),
    pytest.param(partly_frozen(), classification(), cross_entropy, id="partly frozen"),
    pytest.param(with_activation(nn.ReLU(inplace=True)), classification(), cross_entropy, id="in place"),
    pytest.param(
        drawn(nn.Sequential(TripleLinear(6, 5), nn.ReLU(), nn.Linear(5, 3))),
        classification(),
        cross_entropy,
        id="subclass",
    ),
    pytest.param(hooked(), classification(), cross_entropy, id="hook"),
    pytest.param(drawn(PositionsFirst(nn.Linear(2, 4), 4)), classification(12), cross_entropy, id="positions first"),
]

OTHERS = [
    pytest.param(alive(Tied()), classification(), cross_entropy, id="tied"),
    pytest.param(with_activation(nn.Tanh()), classification(), cross_entropy, id="tanh"),
    pytest.param(with_activation(nn.GELU()), classification(), cross_entropy, id="gelu"),
    pytest.param(with_activation(nn.Hardswish()), classification(), cross_entropy, id="hardswish"),
    pytest.param(normalised(nn.LayerNorm(12), nn.ReLU()), classification(), cross_entropy, id="layer norm"),
    pytest.param(
        normalised(nn.Unflatten(1, (2, 3, 2)), nn.LayerNorm((3, 2), bias=False), nn.ReLU(), nn.Flatten()),
        classification(),
        cross_entropy,
        id="layer norm of positions",
    ),
    pytest.param(
        normalised(nn.Unflatten(1, (3, 4)), nn.RMSNorm(4), nn.ReLU(), nn.Flatten()),
        classification(),
        cross_entropy,
        id="root mean square norm",
    ),
    pytest.param(
        normalised(nn.Unflatten(1, (4, 3)), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten()),
        classification(),
        cross_entropy,
        id="group norm",
    ),
    pytest.param(
        normalised(nn.Unflatten(1, (4, 3, 1)), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Flatten()),
        classification(),
        cross_entropy,
        id="an unknown normalisation",
    ),
]

DIAGONALS = [
    pytest.param(drawn(Borrowing()), classification(), cross_entropy, id="borrowed"),
    pytest.param(drawn(PositionsFirst(nn.LayerNorm(2), 2)), classification(12), cross_entropy, id="normalised first"),
]
"""Networks of which only the Gauss-Newton matrix is asked here."""


@pytest.mark.parametrize(("model", "data", "loss"), MULTILINEAR + OTHERS + DIAGONALS)
def test_gauss_newton_diagonal(model: nn.Module, data: Split, loss: Loss) -> None:
    net = Network(model.double())
    diagonal = net.flatten(gauss_newton_diagonal(net, data, loss))
    torch.testing.assert_close(diagonal, dense(GaussNewton(net, data, loss)).diagonal(), rtol=1e-9, atol=1e-12)
    trace, outputs = gauss_newton_trace(net, data, loss)
    assert trace == pytest.approx(diagonal.sum().item(), rel=1e-9)
    torch.testing.assert_close(outputs, net.outputs(data.x).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("model", "data", "loss"), MULTILINEAR)
def test_the_exact_diagonal_is_the_hessians(model: nn.Module, data: Split, loss: Loss) -> None:
    net = Network(model.double())
    assert is_piecewise_multilinear(net, data.x)
    diagonal = gauss_newton_diagonal(net, data, loss)
    hessian = Hessian(net, data, loss)
    torch.testing.assert_close(net.flatten(diagonal), dense(hessian).diagonal(), rtol=1e-9, atol=1e-12)
    estimate = hutchinson(hessian, torch_stream("test"), probes=100)[0]
    assert abs(estimate - net.flatten(diagonal).sum().item()) <= 5 * estimate.error + 1e-9


@pytest.mark.parametrize(("model", "data", "loss"), OTHERS)
def test_the_condition_is_not_claimed_where_it_fails(model: nn.Module, data: Split, loss: Loss) -> None:
    net = Network(model.double())
    assert not is_piecewise_multilinear(net, data.x)
    exact = dense(Hessian(net, data, loss)).diagonal()
    assert not torch.allclose(exact, dense(GaussNewton(net, data, loss)).diagonal(), rtol=1e-3)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("model", "data", "loss"), MULTILINEAR + OTHERS)
def test_the_trace_of_the_hessian(model: nn.Module, data: Split, loss: Loss, relative: bool) -> None:
    net = Network(model.double())
    diagonal = net.weights().abs() if relative else None
    entries = dense(Hessian(net, data, loss)).diagonal()
    exact = (entries if diagonal is None else entries * diagonal.square()).sum().item()
    trace = hessian_trace(net, data, loss, diagonal=diagonal)
    assert trace.kind == ("exact" if is_piecewise_multilinear(net, data.x) else "estimate")
    assert abs(trace - exact) <= 5 * trace.error + 1e-9 * abs(exact)


def test_the_trace_for_a_loss_that_is_no_mean() -> None:
    def log_mean_exp(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, reduction="none").exp().mean().log()

    net, data = Network(network()), classification()
    exact = dense(Hessian(net, data, log_mean_exp, chunk=len(data))).trace().item()
    trace = hessian_trace(net, data, log_mean_exp, chunk=len(data))
    assert trace.kind == "estimate"
    assert abs(trace - exact) <= 5 * trace.error


def test_what_traces_share_is_computed_once() -> None:
    net, data = Network(network()), classification()
    results: dict[str, object] = {}

    def once(name: str, compute: Callable[[], object]) -> object:
        assert name not in results
        results[name] = compute()
        return results[name]

    hessian_trace(net, data, cross_entropy, once=once)
    assert results.keys() == {"train_outputs", "is_piecewise_multilinear"}
    torch.testing.assert_close(results["train_outputs"], net.outputs(data.x).detach())


def test_within_the_standard_error() -> None:
    hessian = Hessian(Network(network()), classification(), cross_entropy)
    exact = dense(hessian).trace().item()
    draws = [hutchinson(hessian, torch_stream("trace", seed), probes=60)[0] for seed in range(20)]
    scores = [(float(draw) - exact) / draw.error for draw in draws]
    assert all(draw.kind == "estimate" for draw in draws)
    # Twenty standardised errors: none extreme, and their mean square is near 1.
    assert max(map(abs, scores)) < 5
    assert 0.2 < sum(score**2 for score in scores) / 20 < 3


def test_a_precision_is_reached() -> None:
    hessian = Hessian(Network(network()), classification(), cross_entropy)
    estimate = hutchinson(hessian, torch_stream("test"), precision=0.03, max_probes=2000)[0]
    assert estimate.error <= 0.03 * estimate


class Positions(nn.Module):
    """Tokens with an embedding of their places, a scale of each and a linear layer, as a transformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.scale, self.last = (
            nn.Parameter(torch.randn(2, 3)),
            nn.Parameter(torch.ones(2, 1)),
            nn.Linear(3, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(((x.view(-1, 2, 3) + self.places) * self.scale).tanh()).mean(1)


class Kept(Positions):
    """The same with a list of its own that the parameter is taken from."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.places]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(((x.view(-1, 2, 3) + self.kept[0]) * self.scale).tanh()).mean(1)


class Centred(Positions):
    """The same with places less their mean, which a copy for every sample would change."""

    def forward(self, x: Tensor) -> Tensor:
        places = self.places - self.places.mean(0)
        return self.last(((x.view(-1, 2, 3) + places) * self.scale).tanh()).mean(1)


@pytest.mark.parametrize(("kind", "is_by_layer"), [(Positions, True), (Kept, False), (Centred, False)])
def test_parameters_of_no_layer_are_copied_by_sample_where_the_network_takes_it(
    monkeypatch: pytest.MonkeyPatch, kind: type[Positions], is_by_layer: bool
) -> None:
    net, data = Network(drawn(kind()).double()), classification()
    by_vmap: list[object] = []
    slow = per_sample._by_vmap
    monkeypatch.setattr(per_sample, "_by_vmap", lambda *given: (by_vmap.append(given), slow(*given))[1])
    if kind is Kept:
        with pytest.raises(InputError, match="sample by sample"):
            gauss_newton_diagonal(net, data, cross_entropy)
        return
    found = gauss_newton_diagonal(net, data, cross_entropy)
    exact = dense(GaussNewton(net, data, cross_entropy)).diagonal()
    torch.testing.assert_close(net.flatten(found), exact, rtol=1e-9, atol=1e-12)
    assert (not by_vmap) == is_by_layer
    assert "places" not in vars(net.module), "the network is as it was"


class Products(nn.Module):
    """A product of matrices that inputs are multiplied by, and one by which they are multiplied from the other side."""

    def __init__(self) -> None:
        super().__init__()
        stream = torch_stream("products")
        shapes = ((5, 6), (4, 5), (4, 7))
        first, second, right = (nn.Parameter(torch.randn(shape, generator=stream)) for shape in shapes)
        self.layers, self.right = nn.ParameterList([first, second]), right
        self.last = nn.Linear(7, 3)

    def product(self) -> Tensor:
        return self.layers[1] @ self.layers[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x @ self.product().T).tanh() @ self.right)


class Penalised(Products):
    """The same with a product that is read by something else too."""

    def forward(self, x: Tensor) -> Tensor:
        product = self.product()
        return self.last((x @ product.T).tanh() @ self.right) * product.square().sum()


class OfSums(Products):
    """The same with matrices that are no plain product."""

    def product(self) -> Tensor:
        return self.layers[1] @ (self.layers[0] + self.layers[0].mean())


@pytest.mark.parametrize(("kind", "is_by_layer"), [(Products, True), (Penalised, False), (OfSums, False)])
def test_matrices_that_are_multiplied_before_inputs_meet_them_are_layers(
    monkeypatch: pytest.MonkeyPatch, kind: type[Products], is_by_layer: bool
) -> None:
    net, data = Network(drawn(kind()).double()), classification()
    by_vmap: list[object] = []
    slow = per_sample._by_vmap
    monkeypatch.setattr(per_sample, "_by_vmap", lambda *given: (by_vmap.append(given), slow(*given))[1])
    exact = dense(GaussNewton(net, data, cross_entropy)).diagonal()
    found = gauss_newton_diagonal(net, data, cross_entropy)
    torch.testing.assert_close(net.flatten(found), exact, rtol=1e-9, atol=1e-12)
    assert gauss_newton_trace(net, data, cross_entropy)[0] == pytest.approx(float(exact.sum()), rel=1e-9)
    assert (not by_vmap) == is_by_layer


@pytest.mark.parametrize("relative", [False, True])
def test_the_random_part_of_a_trace_is_taken_on_samples_that_are_drawn(
    monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    model = drawn(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))).double()
    net = Network(model)
    x = torch.randn(256, 4, generator=torch_stream("refined", 1), dtype=torch.float64)
    data = Split(x, torch.randint(0, 3, (256,), generator=torch_stream("refined", 2)))
    diagonal = net.weights().abs() if relative else None
    entries = dense(Hessian(net, data, cross_entropy)).diagonal()
    exact = float((entries if diagonal is None else entries * diagonal.square()).sum())
    monkeypatch.setattr(trace_module, "PRECISION", 0.01)
    draws: list[int] = []
    draw = SampledCurvature.__init__

    def noted(self: SampledCurvature, *args: Any, **options: Any) -> None:
        draw(self, *args, **options)
        draws.append(args[4])

    monkeypatch.setattr(SampledCurvature, "__init__", noted)
    found = hessian_trace(net, data, cross_entropy, diagonal=diagonal)
    assert draws == [16] * 120, "of 256 samples, twice a share's cost each, up to that of 15 products"
    assert found.kind == "estimate"
    assert abs(found - exact) <= 4 * found.error


def test_the_expectation_of_drawn_curvature_is_the_curvature(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = Network(network()), classification()
    vectors = torch.randn(4, net.size, generator=torch_stream("vectors"), dtype=net.dtype)
    with torch.no_grad():
        slopes = trace_module.sizes_of_slopes(cross_entropy, net.outputs(data.x), data.y)
    expectation = torch.zeros_like(vectors)
    for row, share in enumerate(slopes / slopes.sum()):
        monkeypatch.setattr(torch, "multinomial", lambda *_, row=row, **__: torch.tensor([row, row]))
        drawn_twice = SampledCurvature(net, data, cross_entropy, slopes, 2, torch_stream("drawn"))
        expectation += share * drawn_twice.products(vectors)
    exact = NetworkCurvature(net, data, cross_entropy).products(vectors)
    torch.testing.assert_close(expectation, exact, rtol=1e-9, atol=1e-12)


def test_few_parameters_are_counted_out() -> None:
    matrix = torch.diag(torch.arange(5.0, dtype=torch.float64))
    value = hutchinson(Matrix(matrix), torch_stream("test"), probes=10)[0]
    assert (value, value.kind) == (10.0, "exact")


def test_lanes_have_traces_of_their_own() -> None:
    matrices = torch.stack([scale * torch.eye(30, dtype=torch.float64) for scale in (1.0, 2.0)])
    assert [float(value) for value in hutchinson(Matrix(matrices), torch_stream("test"))] == pytest.approx([30, 60])
