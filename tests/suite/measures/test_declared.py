"""Every measure keeps the invariances that it declares, and declares what a reader must know."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from suite import seeding
from suite.curvature import network
from suite.errors import InputError
from suite.measures import Estimate, Measure, measure, measures
from suite.measures.registry import ALWAYS, INVARIANCES, LAYER_RESCALING, LOGIT_SCALE, NEURON_RESCALING
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Split

NEEDS_LAYERS = {"path_norm", "path_margin", "minimum_path_margin", "feature_dimension"}
TAKEN = [m for m in measures().values() if not m.needs & {"images", "predictor"}]
"""Corruptions of images have tests of their own; predictors too."""


def digits_like(n: int = 60) -> Split:
    x = torch.randn(n, 6, generator=torch_stream("declared", n), dtype=torch.float64)
    return Split(x, x[:, :3].argmax(1))


@pytest.fixture(scope="module")
def fitted() -> nn.Module:
    """A small network that classifies its training data rightly."""
    model = initialize(mlp((6,), 3, widths=(12, 10)).double(), torch_stream("declared", "init"))
    data = digits_like()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        cross_entropy(model(data.x), data.y).backward()
        optimizer.step()
    return model


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


@torch.no_grad()
def rescaled(model: nn.Module, factors: list[torch.Tensor]) -> nn.Module:
    """Every hidden neuron's input weights and bias times its factor, its output weights divided by it."""
    other = copy.deepcopy(model)
    for (before, after), factor in zip(itertools.pairwise(linear_layers(other)), factors, strict=True):
        before.weight.mul_(factor[:, None])
        before.bias.mul_(factor)
        after.weight.div_(factor)
    return other


def by_layer(model: nn.Module) -> nn.Module:
    return rescaled(model, [torch.full((12,), 5.0).double(), torch.full((10,), 0.5).double()])


def by_neuron(model: nn.Module) -> nn.Module:
    stream = torch_stream("neurons")
    return rescaled(model, [torch.randn(n, generator=stream, dtype=torch.float64).exp() for n in (12, 10)])


@torch.no_grad()
def louder(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    linear_layers(other)[-1].weight.mul_(3)
    linear_layers(other)[-1].bias.mul_(3)
    return other


@torch.no_grad()
def permuted(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    for before, after in itertools.pairwise(linear_layers(other)):
        order = torch.randperm(before.out_features, generator=torch_stream("permuted"))
        before.weight.copy_(before.weight[order])
        before.bias.copy_(before.bias[order])
        after.weight.copy_(after.weight[:, order])
    return other


CHANGES: dict[str, Callable[[nn.Module], nn.Module]] = {
    LAYER_RESCALING: by_layer,
    NEURON_RESCALING: by_neuron,
    LOGIT_SCALE: louder,
}


def take(
    model: nn.Module, wanted: Measure, data: Split | None = None, test: Split | None = None
) -> dict[str, Estimate]:
    # From zero, so that the distance has the same meaning after a permutation.
    initial = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    return measure(model, data or digits_like(), [wanted.name], test=test or digits_like(40), initial=initial)


def same(before: dict[str, Estimate], after: dict[str, Estimate], tolerance: float, draws: float = 0.0) -> None:
    """Equal up to `tolerance` (relative), the proved errors, and `draws` standard errors of draws in weight space.

    Draws in the inputs are the same for every network, and an unknown error excuses nothing.
    """
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        module = measures()[name.partition("/")[0]].function.__module__
        deviations = draws if module.endswith(("flatness", "sharpness")) else 0.0
        errors = (
            0.0 if math.isnan(v.error) else (deviations if v.kind == "estimate" else 1.0) * v.error for v in (old, new)
        )
        slack = sum(errors)
        assert abs(new - old) <= tolerance * max(abs(old), 1e-9) + slack, (name, old, new)


@pytest.mark.parametrize(
    ("wanted", "change"),
    [(m, c) for m in TAKEN for c in CHANGES if c in m.invariances],
    ids=lambda v: getattr(v, "name", v),
)
def test_rescalings_that_are_declared_move_nothing(fitted: nn.Module, wanted: Measure, change: str) -> None:
    same(take(fitted, wanted), take(CHANGES[change](fitted), wanted), tolerance=1e-3)


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (m, c)
        for m in TAKEN
        for c in (LAYER_RESCALING, NEURON_RESCALING)
        if c not in m.invariances and m.function.__module__.rpartition(".")[2] in ("flatness", "sharpness", "norms")
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_rescalings_that_are_not_declared_do(fitted: nn.Module, wanted: Measure, change: str) -> None:
    """So that the declarations are no shorter than they must be."""
    before, after = take(fitted, wanted), take(CHANGES[change](fitted), wanted)
    assert any(abs(after[name] - value) > 0.05 * abs(value) for name, value in before.items())


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_neuron_permutation(fitted: nn.Module, wanted: Measure) -> None:
    same(take(fitted, wanted), take(permuted(fitted), wanted), tolerance=1e-3, draws=5)


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_evaluation_batch(fitted: nn.Module, wanted: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    before = take(fitted, wanted)
    monkeypatch.setattr(network, "MAX_CHUNK", 7)
    same(before, take(fitted, wanted), tolerance=1e-6)


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_other_lanes_and_their_order(fitted: nn.Module, wanted: Measure) -> None:
    """Whatever is measured in between, a solution's measures are the same to the last bit."""
    before = take(fitted, wanted)
    take(louder(fitted), wanted)
    assert take(fitted, wanted) == before


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_dtype(fitted: nn.Module, wanted: Measure) -> None:
    data = digits_like()
    low = Split(data.x.float(), data.y)
    same(take(fitted, wanted), take(copy.deepcopy(fitted).float(), wanted, low), tolerance=1e-2)


STRENGTH = ("exact", "bound", "estimate")


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_kinds_are_honest(fitted: nn.Module, wanted: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other random draws exact values and lower bounds are the same to the last bit, and proved errors hold."""
    data, test = digits_like(), digits_like(40)
    before = take(fitted, wanted, data, test)
    assert all(STRENGTH.index(value.kind) <= STRENGTH.index(wanted.kind) for value in before.values())
    original = seeding.seed_of
    monkeypatch.setattr(seeding, "seed_of", lambda *name: original("other draws", *name))
    after = take(fitted, wanted, data, test)
    for name, value in before.items():
        if value.kind == "estimate":
            assert after[name] != value or name == "feature_dimension", name
        else:
            slack = 0.0 if math.isnan(value.error) else value.error + after[name].error
            assert abs(after[name] - value) <= slack, name


@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_measuring_leaves_the_network_alone(fitted: nn.Module, wanted: Measure) -> None:
    model = copy.deepcopy(fitted).train()
    take(model, wanted)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fitted.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("wanted", list(measures().values()), ids=lambda m: m.name)
def test_declarations_are_complete(wanted: Measure) -> None:
    assert wanted.invariances >= ALWAYS
    assert wanted.invariances <= INVARIANCES.keys()
    assert wanted.unit
    assert wanted.source
    assert wanted.cost >= 0
    assert wanted.description.rstrip(".")


CANONICAL_MEASURES = [m.name for m in TAKEN if m.canonical]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs=st.lists(st.floats(-3, 3), min_size=22, max_size=22), loud=st.floats(-1, 2))
def test_no_rescaling_moves_a_canonical_measure(fitted: nn.Module, logs: list[float], loud: float) -> None:
    """Any factors between e^-3 and e^3 for the neurons, any for the logits: hypothesis looks for the worst."""
    factors = torch.tensor(logs, dtype=torch.float64).exp()
    other = rescaled(fitted, [factors[:12], factors[12:]])
    with torch.no_grad():
        for p in linear_layers(other)[-1].parameters():
            p.mul_(torch.tensor(loud).exp())
    cheap = [name for name in CANONICAL_MEASURES if measures()[name].cost <= 12]
    given = {"test": digits_like(40)}
    same(measure(fitted, digits_like(), cheap, **given), measure(other, digits_like(), cheap, **given), tolerance=2e-3)


class _InPlace(nn.Module):
    """The layers of a ReLU network, with activations in place that no module stands for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(linear_layers(copy.deepcopy(model)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x)
            x.relu_()
        return last(x)


class _Bare(nn.Module):
    """The same parameters without any layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.weights = nn.ParameterList(p.detach().clone() for p in model.parameters())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, weight, bias = self.weights
        for before, shift in zip(hidden[::2], hidden[1::2], strict=True):
            x = (x @ before.T + shift).relu()
        return x @ weight.T + bias


class _Sliced(_Bare):
    """Slices of a list of parameters wrap each anew: no others can be put in their place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, bias in zip(self.weights[:-2:2], self.weights[1:-2:2], strict=True):
            x = (x @ weight.T + bias).relu()
        return x @ self.weights[-2].T + self.weights[-1]


def _hooked(model: nn.Module) -> nn.Module:
    """Activations are hooks of the layers."""
    layers = linear_layers(copy.deepcopy(model))
    for layer in layers[:-1]:
        layer.register_forward_hook(lambda _, args, output: output.relu())
    return nn.Sequential(*layers)


def _activations_in_place(model: nn.Module) -> nn.Module:
    modules = copy.deepcopy(model).children()
    return nn.Sequential(*(nn.ReLU(inplace=True) if isinstance(each, nn.ReLU) else each for each in modules))


WRITTEN = [_activations_in_place, _InPlace, _hooked, _Bare, _Sliced]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.__name__.strip("_"))
@pytest.mark.parametrize("wanted", TAKEN, ids=lambda m: m.name)
def test_how_a_network_is_written_moves_nothing(
    fitted: nn.Module, wanted: Measure, written: Callable[[nn.Module], nn.Module]
) -> None:
    """Layers are recognised for speed alone; a value is refused where a measure needs layers that are not there."""
    before = take(fitted, wanted)
    try:
        after = take(written(fitted), wanted)
    except InputError:
        assert wanted.name in NEEDS_LAYERS | ({"gradient_noise"} if written is _Sliced else set())
        return
    # Names of parameters differ, their order does not.
    same(before, dict(zip(before, after.values(), strict=True)), tolerance=1e-6, draws=5)
    if written is not _Sliced:
        assert [value.kind for value in after.values()] == [value.kind for value in before.values()]
