"""The invariances that scored measures must have."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite.measures.matching import matching_factor
from suite.measures.paths import l2_path_norm, margins
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
