"""Sharpness with and without logit shifts: taken together where the forms differ in the last call alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.measures import measure
from suite.measures import sharpness as sharpness_module
from suite.measures.canonical import canonical_form
from suite.measures.context import MeasureContext
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Loss, Split

NAMES = ("adaptive_sharpness", "canonical_sharpness")


class Backwards(nn.Module):
    """Its parameters stand in another order than they are called in."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(7, 3), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class Scaled(Backwards):
    """Something is computed from what the last layer gives."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(1)


class Counted(nn.Module):
    """Counts its calls on more samples than a network is traced on."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.calls = body, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x) > 3
        return self.body(x)


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 3))


def products() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


DRAWS = sharpness_module.DRAWS
KINDS = {
    "its own form": (lambda: mlp((6,), 3, widths=(7,)), cross_entropy, 1),
    "layer norm": (normalized, cross_entropy, 1),
    "a product": (products, cross_entropy, 1),
    "squared error": (lambda: mlp((6,), 3, widths=(7,)), mse_loss, 1),
    "in another order": (Backwards, cross_entropy, 1),
    "flattened outputs": (Scaled, cross_entropy, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_are_measured_in_one_pass_with_the_values_of_two(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, loss, passes = KINDS[kind]
    model = Counted(initialize(make().double(), torch_stream("sharpness")).eval())
    x = torch.randn(40, 6, generator=torch_stream("sharpness", "x"), dtype=torch.float64)
    y = model(x).argmax(1) if loss is cross_entropy else torch.zeros(40, 3, dtype=torch.float64)
    model.calls = 0
    found = measure(model, Split(x, y), NAMES, loss=loss)
    together = model.calls
    monkeypatch.setattr(sharpness_module, "_rises_in_both_forms", lambda context: None)
    apart = {name: measure(model, Split(x, y), [name], loss=loss)[name] for name in NAMES}
    for name in NAMES:
        assert found[name] == pytest.approx(apart[name], rel=1e-9)
        assert found[name].error == pytest.approx(apart[name].error, rel=1e-9)
    assert (found["adaptive_sharpness"] == found["canonical_sharpness"]) == (loss is mse_loss)
    assert passes * DRAWS < together < passes * DRAWS + 10


def in_order() -> tuple[nn.Sequential, Split]:
    """An MLP whose hidden neurons stand in the order of their keys, and labels that it predicts."""
    model = initialize(mlp((6,), 3, widths=(7,)).double(), torch_stream("by hand")).eval()
    x = torch.randn(40, 6, generator=torch_stream("by hand", "x"), dtype=torch.float64)
    with torch.no_grad():
        data = Split(x, model(x).argmax(1))
    first, last = (layer for layer in model if isinstance(layer, nn.Linear))
    drawn = canonical_form(MeasureContext(model, data)).places[0].view(first.weight.shape)[:, 0]
    order = drawn.argsort()
    assert not torch.equal(order, order.sort().values)
    with torch.no_grad():
        for parameter in (first.weight, first.bias):
            parameter.copy_(parameter[order])
        last.weight.copy_(last.weight[:, order])
    return model, data


def test_relative_noise_of_a_network_in_order_is_that_of_its_parameters() -> None:
    """A ReLU network is its own canonical form, and draws go to the same weights where neurons stand in order."""
    model, data = in_order()
    values = measure(model, data, ["adaptive_sharpness", "elementwise_sharpness"])
    assert values["adaptive_sharpness"] == pytest.approx(values["elementwise_sharpness"], rel=1e-9)


def test_the_last_layer_less_its_mean_has_noise_of_its_own_size() -> None:
    """By hand: every weight w gets ``0.2 w z``, the last layer's less the mean over classes, with the same draws."""
    model, data = in_order()
    x, y = data.x, data.y
    first, last = (layer for layer in model if isinstance(layer, nn.Linear))
    w, b = last.weight - last.weight.mean(0), last.bias - last.bias.mean()
    stream, rises = torch_stream("adaptive_sharpness"), []
    loss: Loss = cross_entropy

    def drawn(value: Tensor) -> Tensor:
        return 0.2 * value * torch.randn(value.shape, generator=stream).double()

    with torch.no_grad():
        base = loss(torch.relu(x @ first.weight.T + first.bias) @ w.T + b, y)
        for _ in range(DRAWS // 2):
            moves = [drawn(value) for value in (first.weight, first.bias, w, b)]
            for sign in (1, -1):
                weight, bias, head, shift = (
                    value + sign * move for value, move in zip((first.weight, first.bias, w, b), moves, strict=True)
                )
                rises.append(loss(torch.relu(x @ weight.T + bias) @ head.T + shift, y) - base)
    found = measure(model, Split(x, y), NAMES, matched_loss=None)["canonical_sharpness"]
    assert found == pytest.approx(float(torch.stack(rises).mean()), rel=1e-9)
