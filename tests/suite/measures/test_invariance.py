"""Curvature against dense matrices, and the invariances that scored measures must have."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.curvature import Hessian, dense, hutchinson_trace, lanczos
from suite.measures.matching import matching_factor
from suite.measures.norms import l2_path_norm, margins
from suite.models.images import initialise, mlp
from suite.seeding import torch_stream
from suite.task import Oracle, Problem, Solution, Split
from suite.tasks.images import STOP_LOSS, image_measures

SCORED = ("adaptive_sharpness", "path_margin", "test_error")
SHOWN_INVARIANT = ("adaptive_lambda_max", "adaptive_trace")


def _digits_like(n: int = 60) -> Split:
    stream = torch_stream("measures", n)
    x = torch.randn(n, 6, generator=stream, dtype=torch.float64)
    return Split(x, x[:, :3].argmax(1))


@pytest.fixture(scope="module")
def fitted() -> nn.Module:
    """A small network that classifies its training data rightly."""
    model = initialise(mlp((6,), 3, widths=(12, 10)).double(), torch_stream("measures", "init"))
    data = _digits_like()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        cross_entropy(model(data.x), data.y).backward()
        optimizer.step()
    return model


def loss_on(data: Split) -> Callable[[nn.Module], Tensor]:
    return lambda model: cross_entropy(model(data.x), data.y)


def test_products_are_those_of_the_dense_hessian(fitted: nn.Module) -> None:
    data = _digits_like()
    names = [name for name, _ in fitted.named_parameters()]
    shapes = [p.shape for p in fitted.parameters()]

    def flat_loss(theta: Tensor) -> Tensor:
        pieces = torch.split(theta, [math.prod(shape) for shape in shapes])
        weights = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        return cross_entropy(torch.func.functional_call(fitted, weights, (data.x,)), data.y)

    theta = torch.cat([p.detach().flatten() for p in fitted.parameters()])
    expected = torch.autograd.functional.hessian(flat_loss, theta)
    torch.testing.assert_close(dense(Hessian(fitted, loss_on(data))), expected, rtol=1e-9, atol=1e-12)
    scale = theta.abs()
    adaptive = dense(Hessian(fitted, loss_on(data), adaptive=True))
    torch.testing.assert_close(adaptive, scale[:, None] * expected * scale, rtol=1e-9, atol=1e-12)


def test_lanczos_finds_the_top_eigenvalues(fitted: nn.Module) -> None:
    hessian = Hessian(fitted, loss_on(_digits_like()))
    exact = np.linalg.eigvalsh(dense(hessian).numpy())[::-1][:4]
    found = lanczos(hessian, 4, torch_stream("test"), tolerance=1e-6)
    np.testing.assert_allclose(found, exact, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_lanczos_on_fresh_models(seed: int) -> None:
    model = initialise(mlp((6,), 3, widths=(8,)).double(), torch_stream("fresh", seed))
    hessian = Hessian(model, loss_on(_digits_like()))
    exact = np.linalg.eigvalsh(dense(hessian).numpy())[-1]
    assert lanczos(hessian, 1, torch_stream("test", seed))[0] == pytest.approx(exact, rel=1e-3)


def test_trace_within_its_standard_error(fitted: nn.Module) -> None:
    hessian = Hessian(fitted, loss_on(_digits_like()))
    estimate = hutchinson_trace(hessian, 400, torch_stream("test"))
    assert abs(estimate.value - dense(hessian).trace().item()) < 4 * estimate.standard_error


def test_a_dead_network_has_no_curvature() -> None:
    model = mlp((6,), 3, widths=(4,)).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    hessian = Hessian(model, loss_on(_digits_like()), adaptive=True)
    assert lanczos(hessian, 1, torch_stream("test")) == [0.0]
    assert hutchinson_trace(hessian, 3, torch_stream("test")).value == 0


def layer_wise(model: nn.Module) -> nn.Module:
    """First layer times 10, second divided by 10; biases follow."""
    other = copy.deepcopy(model)
    first, second = other[0], other[2]  # type: ignore[index]
    with torch.no_grad():
        first.weight.mul_(10)
        first.bias.mul_(10)
        second.weight.div_(10)
    return other


def neuron_wise(model: nn.Module) -> nn.Module:
    """Every hidden neuron's input and output weights by its own random factor."""
    other = copy.deepcopy(model)
    stream = torch_stream("neurons")
    linear = [module for module in other if isinstance(module, nn.Linear)]  # type: ignore[union-attr]
    with torch.no_grad():
        for before, after in itertools.pairwise(linear):
            factor = torch.randn(before.out_features, generator=stream, dtype=torch.float64).exp()
            before.weight.mul_(factor[:, None])
            before.bias.mul_(factor)
            after.weight.div_(factor)
    return other


def louder(model: nn.Module) -> nn.Module:
    """Logits times 3."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[-1].weight.mul_(3)  # type: ignore[index]
        other[-1].bias.mul_(3)  # type: ignore[index]
    return other


def _measures(model: nn.Module) -> dict[str, float]:
    data = _digits_like()
    problem = Problem(train=data, test=_digits_like(40))
    initial = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    return image_measures(Solution(model, initial, problem, Oracle(), 0))


@pytest.mark.parametrize("change", [layer_wise, neuron_wise, louder])
def test_scored_measures_cannot_be_moved(fitted: nn.Module, change: Callable[[nn.Module], nn.Module]) -> None:
    before, after = _measures(fitted), _measures(change(fitted))
    for name in SCORED + SHOWN_INVARIANT:
        assert after[name] == pytest.approx(before[name], rel=1e-4), name


@pytest.mark.parametrize("change", [layer_wise, neuron_wise])
def test_raw_measures_can(fitted: nn.Module, change: Callable[[nn.Module], nn.Module]) -> None:
    before, after = _measures(fitted), _measures(change(fitted))
    for name in ("lambda_max", "hessian_trace", "l2_norm"):
        assert after[name] > 1.5 * before[name], name


def test_measuring_leaves_the_weights_alone(fitted: nn.Module) -> None:
    before = copy.deepcopy(fitted.state_dict())
    _measures(fitted)
    assert all(torch.equal(before[name], value) for name, value in fitted.state_dict().items())


def test_temperature_matches_the_loss(fitted: nn.Module) -> None:
    data = _digits_like()
    logits = fitted(data.x).detach()
    for target in (STOP_LOSS, 0.3, 1e-4):
        assert cross_entropy(matching_factor(logits, data.y, target) * logits, data.y).item() == pytest.approx(target)
    # Everything wrong: no factor helps.
    assert math.isnan(matching_factor(logits, (data.y + 1) % 3, STOP_LOSS))


def test_path_norm_by_enumeration() -> None:
    model = mlp((2,), 1, widths=(3,)).double()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    first, second = model[0], model[2]
    total = sum(
        float(second.weight[0, j]) ** 2 * (float(first.weight[j].square().sum()) + float(first.bias[j]) ** 2)
        for j in range(3)
    )
    total += float(second.bias) ** 2
    assert l2_path_norm(model, (2,)) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_margins() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margins(logits, torch.tensor([0, 2])).tolist() == [1.0, -4.0]
