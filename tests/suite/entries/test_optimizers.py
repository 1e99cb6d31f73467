"""The built-in optimizers that are written here, against other implementations; which weights go where."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest
import pytorch_optimizer
import torch
from torch import nn
from torch.optim import SGD, AdamW

import suite
from suite.entries import load
from suite.models import cnn, mlp
from suite.models.linear_networks import FullyConnected, LinearClassifier, LinearPredictor, MatrixProduct
from suite.models.relu import TwoLayerQuadratic
from suite.optimizers import NormalizedGD
from suite.tasks import find_task
from suite.training import Budget, TrainingRun, make_optimizer, train
from suite.training.optimizer_factory import hidden_matrices, implementations, placement

BUDGET = Budget(steps=100, samples=10)


def hidden(model: nn.Module) -> set[str]:
    return hidden_matrices(dict(model.named_parameters()), model)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (mlp((6,), 3, (5, 4)), {"0.weight", "2.weight"}),
        (cnn((1, 8, 8), 10, (4, 8)), {"0.weight", "3.weight"}),
        (nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7)), {"1.weight"}),
        (FullyConnected(4, depth=3), {"layers.0", "layers.1"}),
        (MatrixProduct(4, 2, 1.0, torch.Generator()), {"factors.0", "factors.1"}),
        (TwoLayerQuadratic(torch.ones(5, 3), torch.ones(2, 5)), {"hidden"}),
        (LinearClassifier(4, 3), {"weight"}),  # the head is the only matrix
        (nn.Linear(4, 3), {"weight"}),
        (LinearPredictor(4), set()),
    ],
)
def test_hidden_matrices(model: nn.Module, names: set[str]) -> None:
    assert hidden(model) == names


def test_who_steps_what() -> None:
    network = mlp((6,), 3, (5, 4))
    parameters = dict(network.named_parameters())
    settings = load("muon").submission.settings(1)[0]
    muon = make_optimizer(load("muon").submission.factory, parameters, settings, BUDGET, network)
    assert placement(muon) == {"Muon": 30 + 20, "AdamW": 12 + 5 + 4 + 3}
    matrices, rest = muon.optimizers
    assert {id(p) for p in matrices.param_groups[0]["params"]} == {
        id(parameters["0.weight"]),
        id(parameters["2.weight"]),
    }
    assert rest.param_groups[0]["lr"] == settings["adamw_lr"]
    assert placement(SGD(network.parameters(), lr=0.1)) == {"SGD": 74}
    torchs = f"torch {torch.__version__.partition('+')[0]}"
    assert implementations(muon) == {"AdamW": torchs}  # its Muon is a class of its file
    assert implementations(NormalizedGD(network.parameters())) == {"NormalizedGD": f"lowlands {suite.__version__}"}
    collected = pytorch_optimizer.SOAP(network.parameters())
    assert implementations(collected) == {"SOAP": f"pytorch_optimizer {version('pytorch_optimizer')}"}
    assert implementations(type("Own", (SGD,), {})(network.parameters(), lr=0.1)) == {}
    posing = type("SGD", (SGD,), {"__module__": "torch.optim.sgd"})
    assert implementations(posing(network.parameters(), lr=0.1)) == {}
    split = make_optimizer(torch.optim.Muon, parameters, {"lr": 0.1}, BUDGET, network)
    assert placement(split) == placement(muon)


@pytest.mark.parametrize(("batched", "stepping"), [(True, "stacked"), (False, "alone")])
def test_a_result_says_how_many_weights_of_a_run_went_where(batched: bool, stepping: str) -> None:
    task = find_task("min_norm_regression")
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 1e9}) for seed in range(2)]
    for result in train(task, runs, SGD, batched=batched):
        assert (result.stepping, result.placement) == (stepping, {"SGD": 200})


def test_muon_steps_as_torchs_own_does() -> None:
    """Torch computes in bfloat16, of three digits; so the two are compared over a few steps only."""
    stream = torch.Generator().manual_seed(0)
    for shape in ((8, 3), (3, 8)):  # the factor for tall matrices is in one of them
        start = torch.randn(shape, generator=stream)
        ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        one = load("muon").submission.factory([{"params": [ours], "use_muon": True}], lr=0.05, adamw_lr=1.0)
        other = torch.optim.Muon([theirs], lr=0.05, momentum=0.95, nesterov=True, weight_decay=0.0)
        for _ in range(3):
            ours.grad = torch.randn(shape, generator=stream)
            theirs.grad = ours.grad.clone()
            one.step()
            other.step()
        assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_orthogonalized_keeps_the_singular_vectors() -> None:
    function = load("muon").submission.factory.__globals__["orthogonalized"]
    matrix = np.random.default_rng(0).normal(size=(6, 4))
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ function(torch.from_numpy(matrix)).numpy() @ v.T
    assert abs(inner - np.diag(np.diag(inner))).max() < 1e-12
    assert ((np.diag(inner) > 0.65) & (np.diag(inner) < 1.25)).all()


def test_without_a_matrix_muon_is_adamw() -> None:
    model = LinearPredictor(3)
    settings = {"lr": 0.5, "adamw_lr": 0.01}
    muon = make_optimizer(load("muon").submission.factory, dict(model.named_parameters()), settings, BUDGET, model)
    other = nn.Parameter(model.weight.detach().clone())
    adamw = AdamW([other], lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for step in range(3):
        model.weight.grad = torch.tensor([1.0, -2.0, 0.1 * step], dtype=torch.float64)
        other.grad = model.weight.grad.clone()
        muon.step()
        adamw.step()
    assert torch.equal(model.weight, other)


def test_normalized_momentum() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((2, 3), (4,))]
    parameters = [nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimizer = load("normalized_momentum").submission.factory(parameters, lr=0.1, momentum=0.9)
    momenta = [np.zeros_like(w) for w in weights]
    for _ in range(3):
        gradients = [rng.normal(size=w.shape) for w in weights]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        momenta = [0.9 * m + g for m, g in zip(momenta, gradients, strict=True)]
        steps = [g + 0.9 * m for g, m in zip(gradients, momenta, strict=True)]
        length = np.sqrt(sum((s**2).sum() for s in steps))
        weights = [w - 0.1 * s / length for w, s in zip(weights, steps, strict=True)]
    for parameter, w in zip(parameters, weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-12)


def test_lamb_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    for start in (rng.normal(size=(3, 4)), np.zeros(5)):
        w, mean, square = start.copy(), 0.0, 0.0
        parameter = nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = load("lamb").submission.factory([parameter], lr=0.1)
        for step in range(1, 4):
            gradient = rng.normal(size=start.shape)
            parameter.grad = torch.from_numpy(gradient.copy())
            optimizer.step()
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            direction = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-6)
            ratio = np.linalg.norm(w) / np.linalg.norm(direction) if w.any() else 1.0
            w = w - 0.1 * ratio * direction
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-10)


def test_rmsprop_averages_as_the_lecture_says() -> None:
    submission = load("rmsprop").submission
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = submission.factory([parameter], **submission.settings(1)[0] | {"lr": 1.0})
    parameter.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    assert parameter.item() == pytest.approx(-(0.1**-0.5), rel=1e-6)
