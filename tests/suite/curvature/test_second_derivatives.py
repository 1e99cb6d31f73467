"""Wrong second derivatives are refused; true ones, at kinks and in any precision, are not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, linear, mse_loss

from suite.curvature import Network, check_loss, check_network
from suite.errors import InputError
from suite.measures import measure, measure_all
from suite.task import Loss
from tests.suite.curvature.helpers import (
    Called,
    classification,
    convolutional,
    drawn,
    flat_hessian,
    images,
    network,
    regression,
)
from tests.suite.curvature.test_trace import normalised


class OnceSquare(torch.autograd.Function):
    """The square, whose derivative has no derivative: `materialize_grads` takes it for 0."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return 2 * slope * ctx.saved_tensors[0]  # type: ignore[attr-defined]


class OnceTriple(torch.autograd.Function):
    """A linear function, whose slope does not depend on the slope behind it, as far as torch knows."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 3 * x

    @staticmethod
    @once_differentiable
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return 3 * slope


class WrongCurvature(torch.autograd.Function):
    """The square, with a second derivative that is symmetric and 3 % too large."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x * x

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * (2.06 * x - 0.06 * x.detach())


def through(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return drawn(nn.Sequential(nn.Linear(6, 5), Called(function), nn.Linear(5, 3)))


class Skewed(torch.autograd.Function):
    """A gradient that is none: its derivative is not symmetric."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.tanh()

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * (1 - x.tanh() ** 2) * (1 + x.roll(1, 1) - x.roll(1, 1).detach())


def skewed(x: Tensor) -> Tensor:
    return Skewed.apply(x)


def weight_norm() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
        return nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3)).double()


class WrittenOut(nn.Module):
    """Weight normalization by plain operations."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.g, self.v, self.bias = (nn.Parameter(p.detach().clone()) for p in (
            layer.parametrizations.weight.original0, layer.parametrizations.weight.original1, layer.bias))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.g * self.v / self.v.square().sum(1, keepdim=True).sqrt(), self.bias)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(through(OnceSquare.apply), "are wrong", id="once differentiable"),
        pytest.param(through(OnceTriple.apply), "are wrong", id="linear, once differentiable"),
        pytest.param(through(WrongCurvature.apply), "are wrong", id="three percent"),
        pytest.param(through(skewed), "not symmetric", id="not symmetric"),
        pytest.param(through(torch.ops.aten.hardsigmoid), "cannot be differentiated twice", id="none"),
        pytest.param(through(lambda x: x.relu() ** 0.5), "not finite", id="not finite"),
    ],
)
def test_a_network_whose_second_derivatives_are_wrong(model: nn.Module, reason: str) -> None:
    data = classification()
    with pytest.raises(InputError, match=reason):
        check_network(Network(model), data.x)
    for name in ("lambda_max", "hessian_trace", "adaptive_trace", "relative_flatness", "fisher_rao_norm"):
        data.y[:] = model(data.x).argmax(1)
        with pytest.raises(InputError, match=reason):
            measure(model, data, [name])
    values = measure_all(model, data).values
    assert "l2_norm" in values
    assert not {"lambda_max", "lambda_min", "hessian_trace", "neuron_relative_flatness"} & values.keys()


def dead() -> nn.Module:
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def at_kinks() -> nn.Module:
    """Convolutions without bias, or with one of 0: at blank patches every unit is at its kink."""
    return drawn(nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(3, 3),
    ))  # fmt: skip


def single(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).float()


class InSingle(nn.Module):
    """A network that runs in single precision alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = single(through(nn.Tanh()))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.float())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(2, 1, 4, dropout=0.0, batch_first=True).double()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(x.view(-1, 3, 2)).flatten(1))


def blank_images() -> Tensor:
    x = images(40).x.clone()
    x[:, :, 2:] = 0
    return x


GOOD = [
    pytest.param(network(), classification().x, id="mlp"),
    pytest.param(single(network()), classification().x.float(), id="mlp in single precision"),
    pytest.param(nn.Sequential(WrittenOut(weight_norm()[0]), nn.ReLU(), nn.Linear(5, 3).double()), classification().x,
                 id="weight norm, written out"),
    pytest.param(dead(), classification().x, id="zeros"),
    pytest.param(convolutional(), images(40).x, id="cnn"),
    pytest.param(at_kinks(), blank_images(), id="kinks"),
    pytest.param(nn.Linear(6, 1).double(), classification().x, id="linear"),
    pytest.param(through(nn.GELU()), classification().x, id="gelu"),
    pytest.param(through(nn.Hardswish()), classification().x, id="hardswish"),
    pytest.param(through(nn.Hardsigmoid()), classification().x, id="hardsigmoid"),
    pytest.param(through(lambda x: x.abs()), classification().x, id="abs"),
    pytest.param(normalised(nn.LayerNorm(12), nn.ReLU()), classification().x, id="layer norm"),
    pytest.param(InSingle(), classification().x.float(), id="single precision alone"),
    pytest.param(drawn(Attention()), classification().x, id="attention"),
    pytest.param(nn.Sequential(nn.Linear(300, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 10)),
                 torch.randn(40, 300, generator=torch.Generator().manual_seed(0)), id="wide"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "x"), GOOD)
def test_true_second_derivatives_pass(model: nn.Module, x: Tensor) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with sdpa_kernel(SDPBackend.MATH):  # as `measure` has it
        check_network(Network(model.eval()), x)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "loss", [cross_entropy, nn.CrossEntropyLoss(weight=torch.rand(3)), nn.MultiMarginLoss(), nn.NLLLoss()]
)
def test_losses_of_labels(loss: Loss) -> None:
    outputs, y = network()(classification().x).detach().float(), classification().y
    if isinstance(loss, nn.MultiMarginLoss):
        with pytest.raises(InputError, match="loss cannot be differentiated twice"):
            check_loss(loss, outputs, y)
    else:
        check_loss(loss, outputs, y)


def test_losses_of_targets() -> None:
    outputs, y = network(outputs=2)(regression().x).detach(), regression().y
    for loss in (mse_loss, nn.L1Loss(), nn.HuberLoss(), lambda z, y: (z - y).exp().mean()):
        check_loss(loss, outputs, y)
    for function in (OnceSquare, WrongCurvature):
        with pytest.raises(InputError, match="of the loss that torch gives are wrong"):
            check_loss(lambda z, y, function=function: function.apply(z - y).mean(), outputs, y)
        with pytest.raises(InputError, match="of the loss that torch gives are wrong"):
            measure(network(outputs=2), regression(), ["lambda_max"],
                    loss=lambda z, y, function=function: function.apply(z - y).mean())  # fmt: skip


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_normalization_has_the_curvature_of_its_formula(hooked: bool) -> None:
    """Torch's own second derivatives of it are not symmetric: the largest eigenvalue is 4 % off, the trace negative."""
    model, data = weight_norm(), classification()
    exact = flat_hessian(nn.Sequential(WrittenOut(model[0]), *model[1:]), data, cross_entropy)
    if hooked:
        written = WrittenOut(model[0])
        layer = nn.utils.weight_norm(nn.Linear(6, 5).double())
        with torch.no_grad():
            layer.weight_g.copy_(written.g), layer.weight_v.copy_(written.v), layer.bias.copy_(written.bias)
        model = nn.Sequential(layer, *model[1:])
    found = measure(model, data, ["lambda_max", "hessian_trace"])
    assert found["lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-5)
    assert abs(found["hessian_trace"] - float(exact.trace())) <= 4 * found["hessian_trace"].error


@pytest.mark.parametrize("inplace", [False, True])
def test_hard_sigmoid_has_the_curvature_of_its_formula(inplace: bool) -> None:
    """Torch has none (MobileNetV3 is made of it); most of these hidden values lie between its kinks."""
    data = classification()
    model = through(nn.Hardsigmoid(inplace))
    exact = flat_hessian(through(lambda x: (x + 3).clamp(0, 6) / 6), data, cross_entropy)
    found = measure(model, data, ["lambda_max", "hessian_trace"])
    assert found["lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-5)
    assert found["hessian_trace"] == pytest.approx(float(exact.trace()), rel=1e-9)
    assert found["hessian_trace"].kind == "exact"
