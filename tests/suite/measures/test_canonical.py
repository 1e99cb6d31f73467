"""The canonical form against closed forms and scipy, and for networks as people write them."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils import parametrizations

from suite.entries import builtin_files
from suite.errors import InputError
from suite.estimate import uncertainties
from suite.measures import Estimate, measure, measure_all
from suite.measures.canonical import OBSERVED, canonical_form
from suite.measures.context import MeasureContext
from suite.measures.registry import LOGIT_SHIFT
from suite.models import FullyConnected, LinearPredictor, mlp
from suite.seeding import torch_stream
from suite.task import Split
from tests.suite.measures.symmetries import CHANGES, LIKE_MLP, PERMUTATIONS, READS_TOKENS, changed, fitted

FEATURES, CLASSES, TOKENS, WIDTH, HEADS = 6, 3, 4, 8, 2
NAMES = ("adaptive_sharpness", "canonical_sharpness")


def normal(*shape: int, name: str = "canonical") -> Tensor:
    return torch.randn(*shape, generator=torch_stream(name, *shape), dtype=torch.float64)


def built(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double().eval()


def labelled(model: nn.Module, x: Tensor) -> Split:
    """Data that the network classifies rightly."""
    with torch.no_grad():
        return Split(x, model(x).argmax(1))


def sharpness(model: nn.Module, data: Split, name: str = "adaptive_sharpness", **given: Any) -> Estimate:
    return measure(model, data, [name], **given)[name]


def assert_same(model: nn.Module, other: nn.Module, data: Split, tolerance: float = 1e-6) -> None:
    with torch.no_grad():
        assert torch.allclose(model(data.x), other(data.x), rtol=1e-8, atol=1e-8)
    value = sharpness(model, data)
    assert not value.note
    assert sharpness(other, data) == pytest.approx(value, rel=tolerance)
    assert sharpness(other, data, "elementwise_sharpness") != pytest.approx(
        sharpness(model, data, "elementwise_sharpness"), rel=1e-3
    )


# -- an adversary -----------------------------------------------------------------------------------------------------

NETWORKS: dict[str, tuple[nn.Module, Split]] = {}


def network(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Split]:
    key = f"{name} {dtype}"
    if key not in NETWORKS:
        NETWORKS[key] = fitted(name, dtype)
    return NETWORKS[key]


def scored(name: str) -> tuple[str, ...]:
    """Of tokens no margin is taken."""
    return (
        "adaptive_sharpness",
        "canonical_sharpness",
        *(() if name in READS_TOKENS else ("input_margin", "test_error")),
    )


def single(data: Split) -> Split:
    return Split(data.x.float() if data.x.is_floating_point() else data.x, data.y)


@functools.cache
def at_the_start(name: str) -> dict[str, Estimate]:
    model, data = network(name)
    return measure(model, data, scored(name), test=data)


def attack(name: str, seed: int, log_condition: float, rounds: int, shifts: bool) -> nn.Module:
    """Random changes of every kind and other orders, one after the other: no scored measure moves by 1 %."""
    model, data = network(name)
    stream = torch_stream("adversary", seed)
    kinds = [changes for kind, changes in CHANGES[name].items() if shifts or kind != LOGIT_SHIFT]
    changes = [PERMUTATIONS[name], *(change for kind in kinds for change in kind)] * rounds
    order = torch.randperm(len(changes), generator=stream).tolist()
    other = changed(model, [changes[at] for at in order], stream, 10**log_condition)
    after = measure(other, data, scored(name)[1:] if shifts else scored(name), test=data)
    for key, value in after.items():
        assert not value.note
        assert value == pytest.approx(at_the_start(name)[key], rel=0.01, abs=1e-12), key
    return other


adversary = given(
    seed=st.integers(0, 10**6), log_condition=st.floats(0, 3), rounds=st.integers(1, 2), shifts=st.booleans()
)
quiet = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def test_every_built_in_architecture_is_attacked() -> None:
    assert CHANGES.keys() == {name for name, path in builtin_files().items() if path.parent.name == "architectures"}


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in LIKE_MLP])
@settings(max_examples=2, **quiet)  # type: ignore[arg-type]
@adversary
def test_an_adversary_moves_nothing(name: str, seed: int, log_condition: float, rounds: int, shifts: bool) -> None:
    attack(name, seed, log_condition, rounds, shifts)


@pytest.mark.parametrize("name", LIKE_MLP)
@settings(max_examples=1, **quiet)  # type: ignore[arg-type]
@adversary
def test_an_adversary_moves_nothing_of_its_kin(
    name: str, seed: int, log_condition: float, rounds: int, shifts: bool
) -> None:
    attack(name, seed, log_condition, rounds, shifts)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
@settings(max_examples=25, **quiet)  # type: ignore[arg-type]
@adversary
def test_an_adversary_moves_nothing_in_many_cases(
    name: str, seed: int, log_condition: float, rounds: int, shifts: bool
) -> None:
    """In single precision too, within the stated error, or refused: outputs may have become rounding."""
    other, before = attack(name, seed, log_condition, rounds, shifts).float(), at_the_start(name)
    data = network(name)[1]
    with contextlib.suppress(InputError):
        low = sharpness(other, single(data), "canonical_sharpness")
        assert abs(low - before["canonical_sharpness"]) <= low.error


@pytest.mark.parametrize("name", ["deep_linear", "layernorm_mlp", "vit", "gru", "sine_mlp"])
def test_single_precision_stays_within_the_stated_error(name: str) -> None:
    model, data = network(name)
    changes = [change for kind in CHANGES[name].values() for change in kind]
    other = changed(model, changes, torch_stream("single"), 100.0).float()
    low = sharpness(other, single(data), "canonical_sharpness")
    value = sharpness(model, data, "canonical_sharpness")
    assert abs(low - value) <= 2 * math.hypot(low.error, value.error)


# -- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gauge", [1.0, 7.0, -0.1])
def test_two_scalar_factors(gauge: float) -> None:
    """At a minimum of ``(u v - p)²`` the rise is ``0.04 p²``, wherever on the hyperbola (u, v) is.

    That of the factors as they are has a term ``0.04² p²`` more, and is twice as large: each has noise of its own.
    """
    model = built(lambda: nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)))
    with torch.no_grad():
        model[0].weight.fill_(0.5 * gauge)
        model[1].weight.fill_(3 / gauge)
    data = Split(torch.ones(3, 1).double(), torch.full((3, 1), 1.5).double())
    value, raw = (sharpness(model, data, name) for name in ("adaptive_sharpness", "elementwise_sharpness"))
    assert not value.note
    assert abs(value - 0.04 * 1.5**2) <= 4 * value.error
    assert abs(raw - (2 * 0.04 + 0.04**2) * 1.5**2) <= 4 * raw.error


def test_two_matrix_factors() -> None:
    """Least squares with a product P: the rise is ``0.04 sum_oi P_oi² mean x_i²``, over the number of outputs."""
    model = FullyConnected(FEATURES, CLASSES, generator=torch_stream("factors"), scale=3.0)
    x = normal(50, FEATURES)
    product = model.predictor().detach()
    data = Split(x, x @ product.T)
    expected = 0.04 * float((product.square() @ x.square().mean(0)).sum()) / CLASSES
    value = sharpness(model, data)
    assert abs(value - expected) <= 4 * value.error
    other = copy.deepcopy(model)
    mix = normal(FEATURES, FEATURES, name="mix")
    with torch.no_grad():
        other.layers[0].copy_(mix @ other.layers[0])
        other.head.copy_(other.head @ torch.linalg.inv(mix))
    assert_same(model, other, data)


def test_a_vector_of_weights_is_its_own_form() -> None:
    model = LinearPredictor(FEATURES, normal(FEATURES, name="w"))
    x = normal(20, FEATURES)
    data = Split(x, x @ model.weight.detach())
    values = measure(model, data, ["adaptive_sharpness", "elementwise_sharpness"])
    assert not values["adaptive_sharpness"].note
    assert values["adaptive_sharpness"] == values["elementwise_sharpness"]


def test_a_product_is_measured_as_one_layer() -> None:
    """However many linear layers it is written in, and with biases."""
    deep = built(lambda: nn.Sequential(nn.Linear(FEATURES, 9), nn.Linear(9, 7), nn.Linear(7, CLASSES)))
    flat = nn.Linear(FEATURES, CLASSES).double()
    first, second, third = deep
    with torch.no_grad():
        flat.weight.copy_(third.weight @ second.weight @ first.weight)
        flat.bias.copy_(deep(torch.zeros(1, FEATURES).double())[0])
    data = labelled(deep, normal(60, FEATURES))
    one, other = sharpness(deep, data), sharpness(flat, data)
    assert abs(one - other) <= 4 * math.hypot(one.error, other.error)
    assert one.error < 0.5 * one


SIZES = (1e-2, 1e-4, 1e-6, 1e-8)


def narrow(first: float = 1.0) -> nn.Module:
    """A layer of two units between two larger ones, of singular values 1 and `first`."""
    model = built(lambda: nn.Sequential(nn.Linear(FEATURES, 2, bias=False), nn.Linear(2, CLASSES, bias=False)))
    u, _, v = torch.linalg.svd(normal(CLASSES, FEATURES, name="narrow"), full_matrices=False)
    with torch.no_grad():
        model[0].weight.copy_(v[:2])
        model[1].weight.copy_(u[:, :2] * torch.tensor([1.0, first]).double())
    return model


def test_balancing_against_scipy() -> None:
    """The Gram matrix of balanced factors is ``W1' G W1``, G the geometric mean of ``(W1 W1')^-1`` and ``W2' W2``."""
    model = narrow(first=0.3)
    mix = normal(2, 2, name="gram")
    with torch.no_grad():
        model[0].weight.copy_(mix @ model[0].weight)
        model[1].weight.copy_(model[1].weight @ torch.linalg.inv(mix))
    x = normal(OBSERVED, FEATURES)
    form = canonical_form(MeasureContext(model, labelled(model, x)))
    first, second = (form.parts[number].weight[:, :, 0].numpy() for number in sorted(form.parts))  # type: ignore[index]
    with torch.no_grad():
        into, out = (values.square().mean(0).sqrt().numpy() for values in (x, model(x)))
    assert first @ np.diag(into**2) @ first.T == pytest.approx(second.T @ np.diag(out**-2.0) @ second, abs=1e-10)
    w1, w2 = (layer.weight.detach().numpy() for layer in model)
    gram = (w1 * into) @ (w1 * into).T
    root, inverse = scipy.linalg.sqrtm(gram), scipy.linalg.inv(scipy.linalg.sqrtm(gram))
    other = (w2 / out[:, None]).T @ (w2 / out[:, None])
    mean = inverse @ scipy.linalg.sqrtm(root @ other @ root) @ inverse
    assert first.T @ first == pytest.approx(w1.T @ mean @ w1, abs=1e-8)
    assert second @ first == pytest.approx(w2 @ w1, abs=1e-10)


def expected_change(model: nn.Module, x: Tensor) -> Tensor:
    """The mean square of the noise in the product of two layers, entry by entry, from the form that is perturbed."""
    form = canonical_form(MeasureContext(model, labelled(model, x)))
    (first, noise), (second, other) = [(getattr(p, name)[..., 0], size[..., 0]) for p, name, size in form.scales]
    return second.square() @ noise.square() + other.square() @ first.square()


def test_it_is_continuous_where_the_rank_falls() -> None:
    """The law of the noise is; the draws of the estimate change with the directions, by less than its error."""
    x = normal(60, FEATURES)
    model = narrow(first=0.0)
    limit, value = expected_change(model, x), sharpness(model, labelled(model, x))
    gaps = [float((expected_change(narrow(first=size), x) - limit).norm() / limit.norm()) for size in SIZES]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3
    near = sharpness(narrow(first=SIZES[-1]), labelled(model, x))
    assert abs(near - value) <= value.error


def test_hidden_directions_that_the_next_map_ignores_count_for_nothing() -> None:
    """Without a point in the orbit that has none of them."""
    model = built(lambda: nn.Sequential(nn.Linear(FEATURES, 7), nn.Linear(7, CLASSES)))
    with torch.no_grad():
        model[1].weight[:, 3:] = 0
    data = labelled(model, normal(60, FEATURES))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight[3:] += 100 * normal(4, FEATURES)
    assert sharpness(other, data) == pytest.approx(sharpness(model, data), rel=1e-6)


# -- weights that are not parameters ----------------------------------------------------------------------------------


class Centered(nn.Module):
    """An MLP that computes with fixed initial weights plus parameters."""

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.model, self.start = copy.deepcopy(model), copy.deepcopy(model).requires_grad_(False)
        with torch.no_grad():
            for parameter, start in zip(self.model.parameters(), self.start.parameters(), strict=True):
                start.copy_(normal(*start.shape, name="start"))
                parameter -= start

    def forward(self, x: Tensor) -> Tensor:
        for layer, start in zip(self.model, self.start, strict=True):
            is_linear = isinstance(layer, nn.Linear)
            x = functional.linear(x, layer.weight + start.weight, layer.bias + start.bias) if is_linear else layer(x)
        return x


def parametrized(model: nn.Sequential) -> nn.Module:
    """The same network with its layers' weights as products of a norm and a direction."""
    other = copy.deepcopy(model)
    for layer in other:
        if isinstance(layer, nn.Linear):
            parametrizations.weight_norm(layer)
    return other


@pytest.mark.parametrize("make", [Centered, parametrized])
def test_weights_count_as_what_a_call_gets(make: Callable[[Any], nn.Module]) -> None:
    plain = built(lambda: mlp((FEATURES,), CLASSES, (10,)))
    data = labelled(plain, normal(60, FEATURES))
    other = make(plain)
    expected, value = sharpness(plain, data), sharpness(other, data)
    assert value == pytest.approx(expected, rel=1e-6)
    assert not value.note
    assert sharpness(other, data, "elementwise_sharpness") != pytest.approx(expected, rel=1e-3)


# -- networks as people write them ------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """Tokens from features, a body on [n, tokens, width], and classes from their mean."""

    def __init__(self, body: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.embed, self.body = nn.Linear(3, WIDTH), body
        self.position = nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.norm, self.head = norm, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.embed(x) + self.position)).mean(1))


def encoder(norm_first: bool = True) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 12, batch_first=True, norm_first=norm_first, activation="gelu")
    return Pooled(layer, nn.LayerNorm(WIDTH))


class Grouped(nn.Module):
    """Attention of four query heads on two heads of keys and values, after an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.q, self.k, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (f(y).unflatten(-1, (-1, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


def mixing(size: int, name: str) -> Tensor:
    return torch.eye(size, dtype=torch.float64) + 0.5 * normal(size, size, name=name)


@torch.no_grad()
def test_multi_head_attention_with_one_matrix_of_projections() -> None:
    model: Any = built(encoder)
    data = labelled(model, normal(40, TOKENS, 3))
    other = copy.deepcopy(model)
    attention = other.body.self_attn
    weight, bias = (p.view(3, HEADS, WIDTH // HEADS, -1) for p in (attention.in_proj_weight, attention.in_proj_bias))
    for head in range(HEADS):
        q, v = mixing(WIDTH // HEADS, f"q{head}"), mixing(WIDTH // HEADS, f"v{head}")
        bias[1, head] += 1.0
        for at, mix in ((0, q), (1, torch.linalg.inv(q).T), (2, v)):
            weight[at, head] = mix @ weight[at, head]
            bias[at, head] = mix @ bias[at, head]
        columns = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        attention.out_proj.weight[:, columns] = attention.out_proj.weight[:, columns] @ torch.linalg.inv(v)
    with torch.enable_grad():
        assert_same(model, other, data)


@torch.no_grad()
def test_grouped_queries_and_a_stream_of_rms_norms() -> None:
    model: Any = built(lambda: Pooled(nn.Sequential(Grouped(), Grouped()), nn.RMSNorm(WIDTH)))
    data = labelled(model, normal(40, TOKENS, 3))
    other = copy.deepcopy(model)
    for block in other.body:
        for head in range(2):
            mix, rows = mixing(2, f"k{head}"), slice(2 * head, 2 * head + 2)
            for part in (block.k.weight, block.k.bias):
                part[rows] = torch.linalg.inv(mix).T @ part[rows]
            values, constant = mixing(2, f"v{head}"), normal(2, name=f"c{head}")
            for part in (block.v.weight, block.v.bias):
                part[rows] = values @ part[rows]
            block.v.bias[rows] += constant
            for query in range(2 * head, 2 * head + 2):
                asking = slice(2 * query, 2 * query + 2)
                for part in (block.q.weight, block.q.bias):
                    part[asking] = mix @ part[asking]
                block.out.weight[:, asking] = block.out.weight[:, asking] @ torch.linalg.inv(values)
                block.out.bias -= block.out.weight[:, asking] @ constant
    # Gains to the readers, then the stream turned.
    turn = torch.linalg.qr(normal(WIDTH, WIDTH, name="turn"))[0]
    readers = [(block.norm, [block.q, block.k, block.v]) for block in other.body] + [(other.norm, [other.head])]
    for norm, layers in readers:
        for layer in layers:
            layer.weight.copy_(layer.weight * norm.weight @ turn.T)
        norm.weight.fill_(1)
    for layer in (other.embed, *(block.out for block in other.body)):
        layer.weight.copy_(turn @ layer.weight)
        layer.bias.copy_(turn @ layer.bias)
    other.position.copy_(other.position @ turn.T)
    with torch.enable_grad():
        assert_same(model, other, data)


@torch.no_grad()
def test_convolutions_in_a_row() -> None:
    model: Any = built(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(45, CLASSES))
    )
    data = labelled(model, normal(40, 1, 6, 6))
    other = copy.deepcopy(model)
    mix = mixing(4, "convolution")
    other[0].weight.copy_(torch.einsum("ab,bchw->achw", mix, other[0].weight))
    other[0].bias.copy_(mix @ other[0].bias)
    other[1].weight.copy_(torch.einsum("obhw,ba->oahw", other[1].weight, torch.linalg.inv(mix)))
    with torch.enable_grad():
        assert_same(model, other, data)


def test_embeddings_that_serve_as_head_too() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.mix = nn.Embedding(7, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(torch.tanh(self.mix(self.words(x).mean(1))), self.words.weight)

    model = built(Tied)
    data = labelled(model, torch.randint(0, 7, (40, 3), generator=torch_stream("words")))
    value = sharpness(model, data, matched_loss=1.0)
    assert not value.note
    assert math.isfinite(value)


class Waves(nn.Module):
    """Factors in front of a nonlinearity, functions that are not known behind one, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES)
        self.register_buffer("directions", torch.randn(FEATURES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(30 * self.first(torch.sin(2 * math.pi * x @ self.directions))).cumsum(1))


def test_a_matrix_that_is_no_parameter_is_part_of_the_map() -> None:
    """Whoever multiplies a layer by a fixed matrix has the layer that acts."""
    plain = built(lambda: mlp((FEATURES,), CLASSES, (10,)))
    data = labelled(plain, normal(60, FEATURES))
    other: Any = nn.Sequential(nn.Linear(FEATURES, FEATURES, bias=False).requires_grad_(False), *copy.deepcopy(plain))
    other = other.double()
    with torch.no_grad():
        other[0].weight.copy_(mixing(FEATURES, "fixed"))
        other[1].weight.copy_(plain[0].weight @ torch.linalg.inv(other[0].weight))
    expected, value = sharpness(plain, data), sharpness(other, data)
    assert abs(value - expected) <= 4 * math.hypot(value.error, expected.error)
    assert not value.note


def test_functions_of_fixed_coordinates_need_not_be_known() -> None:
    model = built(Waves)
    data = labelled(model, normal(40, FEATURES))
    value, raw = (sharpness(model, data, name) for name in ("adaptive_sharpness", "elementwise_sharpness"))
    assert not value.note
    assert abs(value - raw) <= 4 * math.hypot(value.error, raw.error)


class Sines(nn.Module):
    """Cosines of half a layer, which another layer reads, or a function that is not known does."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.read = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES), read

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(torch.cos(self.first(x) / 2)))


@torch.no_grad()
def half_periods_on(model: Any, count: Tensor) -> Any:
    other = copy.deepcopy(model)
    other.first.bias += 2 * math.pi * count.double()
    other.head.weight *= 1 - 2 * (count % 2)
    return other


def test_constants_in_cosines_count_from_the_nearest_half_period() -> None:
    model: Any = built(lambda: Sines(lambda x: x))
    x = normal(40, FEATURES)
    with torch.no_grad():
        model.first.bias.copy_(math.pi * torch.tensor([0.3, -0.3, 0.9, -0.9, 0.0]))
    data = labelled(model, x)
    value, raw = (sharpness(model, data, name) for name in ("adaptive_sharpness", "elementwise_sharpness"))
    assert abs(value - raw) <= 4 * math.hypot(value.error, raw.error)
    assert_same(model, half_periods_on(model, torch.tensor([1, -1, 2, 0, 5])), data)
    model.read = functools.partial(torch.cumsum, dim=1)
    other = half_periods_on(model, torch.ones(5, dtype=torch.long))
    assert torch.allclose(model(x), other(x), atol=1e-12)
    for each in (model, other):
        assert sharpness(each, labelled(each, x)).note.startswith("Not canonical:")


def two_layers(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 5), activation, nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES))


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Hardsigmoid])
def test_the_sign_of_a_sigmoid_s_input_is_a_constant_of_what_reads_it(activation: type[nn.Module]) -> None:
    model: Any = built(lambda: two_layers(activation()))
    data = labelled(model, normal(40, FEATURES))
    other = copy.deepcopy(model)
    with torch.no_grad():
        turned = torch.tensor([1, -1, -1, 1, -1])
        for part in other[0].parameters():
            part *= turned.view(-1, *[1] * (part.dim() - 1))
        other[2].bias += model[2].weight[:, turned < 0].sum(1)
        other[2].weight *= turned
    assert_same(model, other, data)


class Beside(nn.Module):
    """A layer beside a network of one hidden layer."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES)
        self.beside, self.activation = nn.Linear(FEATURES, CLASSES), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x) + self.second(self.activation(self.first(x)))


@pytest.mark.parametrize("activation", [torch.relu, functional.gelu, functional.silu, functional.softplus])
def test_a_layer_beside_a_nonlinearity_whose_odd_part_is_linear(activation: Callable[[Tensor], Tensor]) -> None:
    """``f(z) = f(-z) + z``: the sign of a neuron's input is a change of the layer."""
    model: Any = built(lambda: Beside(activation))
    x = normal(40, FEATURES)
    other = copy.deepcopy(model)
    with torch.no_grad():
        turned = torch.tensor([0, 1, 1, 0, 1]).bool()
        for part, of_layer in zip(other.first.parameters(), other.beside.parameters(), strict=True):
            of_layer += other.second.weight[:, turned] @ part[turned]
            part[turned] *= -1
        assert torch.allclose(model(x), other(x), atol=1e-12)
    data = labelled(model, x)
    assert sharpness(model, data).note.startswith("Not canonical:")
    assert sharpness(model, data) != pytest.approx(sharpness(other, data), rel=1e-4)
    assert not sharpness(built(lambda: Beside(torch.tanh)), data, matched_loss=1.0).note


class Last(nn.Module):
    """The last state of recurrent layers, and classes from it."""

    def __init__(self, layers: Any, outputs: int) -> None:
        super().__init__()
        self.layers, self.head = layers, nn.Linear(outputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found = self.layers(x if self.layers.batch_first else x.transpose(0, 1))[0]
        return self.head(found[:, -1] if self.layers.batch_first else found[-1])


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("biased", [True, False])
def test_recurrent_layers_in_their_steps_are_torch_s(make: Any, biased: bool) -> None:
    for options in ({"batch_first": True}, {"num_layers": 2, "bidirectional": True}):
        model = built(lambda: Last(make(3, 4, bias=biased, **options), 4 * (1 + options.get("bidirectional", False))))  # noqa: B023
        data = labelled(model, normal(5, TOKENS, 3))
        context = MeasureContext(model, data)
        form = canonical_form(context, logit_shift=True)
        found = form.outputs(context, data.x)
        with torch.no_grad():
            expected = model(data.x)
        assert torch.allclose(found, expected - expected.mean(1, keepdim=True), atol=1e-12)


def test_a_matrix_that_every_step_gets_moves_alike_in_all() -> None:
    """Noise in the form is noise in the parameters, where a bias of the two that are added takes all of it."""
    model: Any = built(lambda: Last(nn.RNN(3, 4, batch_first=True), 4))
    data = labelled(model, normal(20, TOKENS, 3))
    context = MeasureContext(model, data)
    form = canonical_form(context)
    noise = [0.2 * scale * normal(*scale.shape, name="steps") for _, _, scale in form.scales]
    layers = model.layers
    given = (layers.weight_ih_l0, layers.bias_ih_l0, layers.weight_hh_l0, model.head.weight, model.head.bias)
    assert [name for _, name, _ in form.scales] == ["weight", "shift", "weight", "weight", "shift"]
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, move in zip(given, noise, strict=True):
            dict(other.named_parameters())[
                next(name for name, each in model.named_parameters() if each is parameter)
            ].add_(move.view_as(parameter))
        moved = other(data.x)
    assert torch.allclose(form.outputs(context, data.x, noise), moved, atol=1e-12)
    assert not torch.allclose(form.outputs(context, data.x), moved, atol=1e-3)


UNPROVED = {
    "a factor": lambda: nn.Sequential(nn.Linear(FEATURES, 5), Doubled(), nn.Linear(5, CLASSES)),
    "a sigmoid times a number": lambda: nn.Sequential(
        nn.Linear(FEATURES, 5), nn.Sigmoid(), Doubled(), nn.Linear(5, CLASSES)
    ),
    "norms after the sum": lambda: encoder(norm_first=False),
    "a cumulated sum": lambda: nn.Sequential(nn.Linear(FEATURES, 5), Cumulated(), nn.Linear(5, CLASSES)),
    "a recurrent cell": lambda: Recurrent(),
}


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Cumulated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x[:, 3:], self.cell(x[:, :3])))


@pytest.mark.parametrize("name", UNPROVED)
def test_what_is_not_proved_is_said(name: str) -> None:
    model = built(UNPROVED[name])
    shape = (TOKENS, 3) if name.startswith("norms") else (FEATURES,)
    data = labelled(model, normal(40, *shape))
    values = measure(model, data, ["adaptive_sharpness", "elementwise_sharpness"])
    assert values["adaptive_sharpness"].note.startswith("Not canonical:")
    assert values["adaptive_sharpness"].note.endswith(".")
    assert values["adaptive_sharpness"] == values["elementwise_sharpness"]
    report = measure_all(model, data, ["adaptive_sharpness"])
    assert values["adaptive_sharpness"].note in report.text()
    assert json.loads(report.json())["values"]["adaptive_sharpness"]["note"]
    assert uncertainties(values)["adaptive_sharpness"]["note"] == values["adaptive_sharpness"].note
    assert "note" not in uncertainties(values)["elementwise_sharpness"]


def test_cross_entropy_alone_sees_no_shift_of_the_logits() -> None:
    model = built(lambda: mlp((FEATURES,), CLASSES, (10,)))
    x = normal(40, FEATURES)
    with torch.no_grad():
        targets = model(x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[-1].weight += normal(10)
    for loss, data, moves in ((cross_entropy, labelled(model, x), False), (mse_loss, Split(x, targets), True)):
        before, after = (sharpness(each, data, "canonical_sharpness", loss=loss) for each in (model, other))
        assert (abs(after - before) > 0.01 * abs(before)) == moves
