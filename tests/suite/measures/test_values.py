"""Measures against closed forms, enumerations, numpy and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import Hessian, Network
from suite.curvature.operators import dense
from suite.errors import InputError
from suite.measures import margins, measure, measures
from suite.measures.context import inverse_temperature_for
from suite.measures.feature_dimension import intrinsic_dimension
from suite.measures.norms import effective_rank_of, stable_rank_of
from suite.measures.path_norm import l2_path_norm
from suite.models import initialize
from suite.models.linear_networks import DiagonalNetwork, LinearPredictor, MatrixProduct
from suite.seeding import torch_stream
from suite.task import Split
from suite.tasks.images import IMAGE_AXES
from tests.suite.curvature.helpers import (
    Called,
    TripleLinear,
    classification,
    convolutional,
    images,
    jacobian,
    network,
    regression,
)


def linear(*weights: float) -> LinearPredictor:
    model = LinearPredictor(len(weights))
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
    return model


def test_every_axis_of_the_image_tasks_is_canonical() -> None:
    assert all(measures()[axis.measure].canonical for axis in IMAGE_AXES)


def test_temperature_matches_the_loss() -> None:
    data, model = classification(), network()
    logits = 5 * model(data.x).detach()
    right = Split(data.x, logits.argmax(1))
    for target in (0.01, 0.3, 1e-4):
        factor = inverse_temperature_for(logits, right.y, target)
        assert cross_entropy(factor * logits, right.y).item() == pytest.approx(target)
    assert math.isnan(inverse_temperature_for(logits, (right.y + 1) % 3, 0.01))


def test_margins() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margins(logits, torch.tensor([0, 2])).tolist() == [1.0, -4.0]


def test_path_norm_by_enumeration() -> None:
    model = network(outputs=2, widths=(4, 3))
    first, second, third = (module for module in model if isinstance(module, nn.Linear))
    with torch.no_grad():
        inputs = torch.cat([first.weight, first.bias[:, None]], dim=1)
        total = sum(
            float(third.weight[o, k] * second.weight[k, j] * inputs[j, i]) ** 2
            for o, k, j, i in itertools.product(range(2), range(3), range(4), range(7))
        )
        total += sum(float(third.weight[o, k] * second.bias[k]) ** 2 for o, k in itertools.product(range(2), range(3)))
        total += float(third.bias.square().sum())
    assert l2_path_norm(model, (6,)) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_path_norm_of_a_linear_convolutional_network_is_that_of_its_matrix() -> None:
    """One path from each input to each output: the squared entries of the matrix that the layers are together."""
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), norm, nn.AvgPool2d(2), nn.Flatten()).double()
    with torch.no_grad():
        norm.running_mean.normal_(generator=torch_stream("mean"))
        norm.running_var.uniform_(0.5, 2, generator=torch_stream("variance"))
        norm.weight.normal_(generator=torch_stream("weight"))
        norm.bias.normal_(generator=torch_stream("bias"))
        model[0].bias.zero_()
    model.eval()
    zero = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda x: model(x)[0], zero).flatten(1)
    # The shift of the batch norm is a path from a constant unit, averaged over four positions with weight 1/4 each.
    shift = (norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()).square().sum()
    expected = matrix.square().sum() + shift * 4 * 4 / 16
    assert l2_path_norm(model, (2, 8, 8)) == pytest.approx(math.sqrt(expected.item()), rel=1e-9)


def test_path_norm_is_refused_where_paths_are_not_defined() -> None:
    for module in (nn.Tanh(), nn.LayerNorm(4), nn.Softmax(dim=1)):
        with pytest.raises(InputError, match=type(module).__name__):
            l2_path_norm(nn.Sequential(nn.Linear(6, 4), module, nn.Linear(4, 2)), (6,))


def test_path_norm_is_refused_where_a_forward_of_its_own_hides_no_paths() -> None:
    for function in (torch.nn.functional.gelu, torch.square, lambda h: h * h.sigmoid(), lambda h: h / h.norm()):
        with pytest.raises(InputError, match="own forward"):
            l2_path_norm(nn.Sequential(nn.Linear(6, 4), Called(function), nn.Linear(4, 2)), (6,))
    with pytest.raises(InputError, match="TripleLinear"):
        l2_path_norm(nn.Sequential(TripleLinear(6, 4), nn.ReLU(), nn.Linear(4, 2)), (6,))


def test_path_norm_passes_through_functions_that_keep_paths() -> None:
    expected = l2_path_norm(network(), (6,))
    called = nn.Sequential(*(Called(torch.relu) if isinstance(each, nn.ReLU) else each for each in network()))
    assert l2_path_norm(called, (6,)) == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_rescaling_a_convolutional_network_leaves_its_path_norm() -> None:
    model = convolutional()
    before = l2_path_norm(model, (2, 6, 6))
    model[1].weight.mul_(7)
    model[1].bias.mul_(7)
    for p in model[4].body[0].parameters():
        p.mul_(1.0)
    model[4].body[0].bias.mul_(7)
    model[5].weight.div_(7)
    assert l2_path_norm(model, (2, 6, 6)) == pytest.approx(before, rel=1e-9)


def test_ranks_are_numpys() -> None:
    matrix = torch.randn(6, 9, dtype=torch.float64, generator=torch_stream("matrix"))
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    assert float(stable_rank_of(matrix)) == pytest.approx((values**2).sum() / values[0] ** 2)
    shares = values / values.sum()
    assert float(effective_rank_of(matrix)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    for rank_of in (stable_rank_of, effective_rank_of):
        assert float(rank_of(torch.zeros(3, 4, dtype=torch.float64))) == 0
        assert float(rank_of(torch.ones(3, 4, dtype=torch.float64))) == pytest.approx(1)


def test_norms_of_layers() -> None:
    found = measure(network(), classification(), ["frobenius_norm", "spectral_norm", "frobenius_product"])
    first = network()[0].weight.detach().numpy()  # type: ignore[union-attr]
    assert found["frobenius_norm/0.weight"] == pytest.approx(np.linalg.norm(first))
    assert found["spectral_norm/0.weight"] == pytest.approx(np.linalg.norm(first, 2))
    product = math.prod(value for name, value in found.items() if name.startswith("frobenius_norm/"))
    assert found["frobenius_product"] == pytest.approx(product)


def test_norms_of_predictors() -> None:
    data = Split(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    diagonal = DiagonalNetwork(3, 1.0)
    with torch.no_grad():
        diagonal.u.copy_(torch.tensor([2.0, 1.0, 1.0]))
        diagonal.v.copy_(torch.tensor([0.0, 3.0, 1.0]))
    names = ["predictor_l1", "predictor_l2", "predictor_linf", "predictor_nuclear"]
    assert list(measure(diagonal, data, names).values()) == pytest.approx([12, math.sqrt(80), 8, math.sqrt(80)])
    product = MatrixProduct(4, 2, 1.0, torch_stream("product"))
    cells = Split(torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, dtype=torch.float64))
    nuclear = np.linalg.svd(product.matrix().detach().numpy(), compute_uv=False).sum()
    assert measure(product, cells, ["predictor_nuclear"])["predictor_nuclear"] == pytest.approx(nuclear)
    with pytest.raises(InputError, match="needs a network with a linear predictor"):
        measure(network(), classification(), ["predictor_l1"])


def test_curvature_of_a_linear_model_by_hand() -> None:
    """For ``x · w`` the Hessian of the mean squared error is ``2 X'X / n``, whatever w is."""
    data = Split(regression().x, regression().y[:, 0])
    matrix = (2 * data.x.T @ data.x / len(data)).numpy()
    model = linear(0.5, -1.0, 2.0, 0.1, 0.0, 1.0)
    weights = model.weight.detach().numpy()
    names = ["lambda_max", "lambda_min", "hessian_trace", "adaptive_lambda_max", "adaptive_trace", "fisher_rao_norm"]
    found = measure(model, data, names)
    values, adaptive = np.linalg.eigvalsh(matrix), weights[:, None] * matrix * weights
    expected = [values[-1], values[0], values.sum(), np.linalg.eigvalsh(adaptive)[-1], np.trace(adaptive)]
    assert list(found.values())[:5] == pytest.approx(expected, rel=1e-6)
    assert found["fisher_rao_norm"] == pytest.approx(math.sqrt(weights @ matrix @ weights))
    assert [found[name].kind for name in names[2:5:2]] == ["exact", "exact"]


def test_sharpness_of_a_quadratic_by_hand() -> None:
    """At the minimum the rise is ``d' H d / 2``: at worst ``lambda_max rho² / 2``, on average ``tr H sigma² / 2``."""
    x = regression().x
    model = linear(0.5, -1.0, 2.0, 0.1, 0.3, 1.0)
    data = Split(x, x @ model.weight.detach())
    hessian = 2 * x.T @ x / len(x)
    adaptive = model.weight.detach()[:, None] * hessian * model.weight.detach()
    found = measure(model, data, ["average_sharpness", "adaptive_sharpness"])
    for value, matrix, noise in zip(found.values(), (hessian, adaptive), (0.01, 0.2), strict=True):
        expected = noise**2 * matrix.trace().item() / 2
        assert abs(value - expected) <= 4 * value.error
        assert value.kind == "estimate"
    # Off the minimum, where the ascent has a direction to begin with; what it finds bounds the maximum from below.
    shifted = Split(x, data.y + 1e-3 * x[:, 0])
    worst = measure(model, shifted, ["worst_case_sharpness", "adaptive_worst_case_sharpness"])
    for value, matrix, radius in zip(worst.values(), (hessian, adaptive), (0.05, 0.5), strict=True):
        expected = radius**2 * torch.linalg.eigvalsh(matrix)[-1].item() / 2
        assert value == pytest.approx(expected, rel=0.1)
        assert value.kind == "bound"
        assert math.isnan(value.error)


def test_relative_flatness_from_the_dense_hessian() -> None:
    model, data = network(widths=(5,)), classification()
    hessian = dense(Hessian(Network(model), data, cross_entropy))
    full, by_neuron, offset = 0.0, 0.0, 0
    for parameter in model.parameters():
        size = parameter.numel()
        if parameter.dim() == 2:
            rows, columns = parameter.shape
            block = hessian[offset : offset + size, offset : offset + size].view(rows, columns, rows, columns)
            traces = torch.einsum("sitj,ij->st", block, torch.eye(columns, dtype=torch.float64))
            products = parameter.detach() @ parameter.detach().T
            full += float((products * traces).sum())
            by_neuron += float((products.diagonal() * traces.diagonal()).sum())
        offset += size
    found = measure(model, data, ["relative_flatness", "neuron_relative_flatness"])
    assert abs(found["relative_flatness"] - full) <= 4 * found["relative_flatness"].error + 1e-12 * full
    assert found["neuron_relative_flatness"] == pytest.approx(by_neuron, rel=1e-9)


def test_gradient_noise_from_the_gradients() -> None:
    model, data = network(outputs=2), regression()
    slopes = (model(data.x) - data.y).detach()  # 2 (z - y) / C with two outputs
    gradients = torch.einsum("nc,ncp->np", slopes, jacobian(model, data.x))
    expected = gradients.var(dim=0, correction=0).sum().item()
    assert measure(model, data, ["gradient_noise"])["gradient_noise"] == pytest.approx(expected, rel=1e-9)


class Function(nn.Module):
    """A function of one input that ignores its parameter."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.function(x)  # type: ignore[operator]


def on_a_line(function: object) -> dict[str, float]:
    x = torch.linspace(0, 1, 20, dtype=torch.float64)[:, None]
    names = ["derivative_variation", "linear_regions", "fourier_energy"]
    return dict(measure(Function(function), (x, torch.zeros_like(x)), names))


def test_variation_and_regions_of_functions_that_are_known() -> None:
    found = on_a_line(lambda x: 3 * (x - 0.3).relu() - 5 * (x - 0.71237).relu())
    assert found["derivative_variation"] == pytest.approx(8, rel=1e-3)
    assert found["linear_regions"] == 3
    assert on_a_line(lambda x: 2 * x + 1)["linear_regions"] == 1
    # A full period of a sine: its derivative goes from w to -w and back.
    found = on_a_line(lambda x: torch.sin(2 * math.pi * x))
    assert found["derivative_variation"] == pytest.approx(8 * math.pi, rel=1e-2)


def test_fourier_energy_of_sines() -> None:
    found = on_a_line(lambda x: x + 3 * torch.sin(2 * math.pi * x) + 4 * torch.sin(5 * math.pi * x))
    assert found["fourier_energy/2"] == pytest.approx(9 / 25)
    assert found["fourier_energy/5"] == pytest.approx(16 / 25)
    assert found["fourier_energy/rest"] == pytest.approx(0, abs=1e-9)


def test_gradients_in_the_input() -> None:
    model, x = network(), classification().x
    data = Split(x, model(x).detach().argmax(1))
    scale = measure(model, data, ["temperature"], matched_loss=0.9)["temperature"]
    found = measure(model, data, ["jacobian_norm", "input_gradient_norm"], matched_loss=0.9)
    rows = torch.stack([torch.autograd.functional.jacobian(model, x[None])[0, :, 0] for x in data.x])
    assert found["jacobian_norm"] == pytest.approx(scale * rows.norm(dim=(1, 2)).mean().item(), rel=1e-6)
    slopes = (scale * model(data.x)).softmax(1) - torch.eye(3)[data.y]
    gradients = scale * torch.einsum("nc,ncd->nd", slopes, rows)
    assert found["input_gradient_norm"] == pytest.approx(gradients.norm(dim=1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_intrinsic_dimension_of_planes(dimension: int) -> None:
    stream = torch_stream("plane", dimension)
    points = torch.rand(1500, dimension, generator=stream) @ torch.randn(dimension, 12, generator=stream)
    points = points.double()
    assert intrinsic_dimension(points) == pytest.approx(dimension, rel=0.25)  # biased down by the edges
    distances = NearestNeighbors(n_neighbors=21).fit(points.numpy()).kneighbors()[0][:, :20]
    logs = np.log(distances[:, -1:] / distances[:, :-1])
    assert intrinsic_dimension(points) == pytest.approx(18 / 19 / logs.mean(), rel=1e-6)
    assert intrinsic_dimension(points[:2]) == 0
    assert intrinsic_dimension(torch.cat([points, points])) == pytest.approx(intrinsic_dimension(points))


def test_batch_norm_is_measured_with_its_running_statistics() -> None:
    data, model = images(), convolutional()
    expected = dense(Hessian(Network(model), data, cross_entropy)).trace().item()
    model.train()
    before = model[1].running_mean.clone()
    found = measure(model, data, ["hessian_trace"])["hessian_trace"]
    assert found.kind == "exact"
    assert found == pytest.approx(expected, rel=1e-6)
    assert model.training
    assert torch.equal(model[1].running_mean, before)


def test_a_smooth_network_gets_an_estimate_near_the_truth() -> None:
    model = initialize(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double(), torch_stream("smooth"))
    data = regression()
    exact = dense(Hessian(Network(model), data, mse_loss)).trace().item()
    found = measure(model, data, ["hessian_trace"])["hessian_trace"]
    assert found.kind == "estimate"
    assert 0 < found.error <= 0.1 * found
    assert abs(found - exact) <= 4 * found.error
