"""Every classification network of torchvision, at random weights: held, copied, restored, and small ones measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

from suite.measures import measure
from suite.models import copy_of, evaluating, hold, restore

torchvision = pytest.importorskip("torchvision")

CLASSES = 10
NAMES = sorted(torchvision.models.list_models(module=torchvision.models))
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
QUICK = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")
SMALL = (*QUICK, "efficientnet_b0", "mnasnet0_5", "mobilenet_v2", "resnet18")
"""Networks whose curvature takes seconds."""


def _size(name: str) -> int:
    """The side of the images: as small as the network takes them."""
    return {"vit_h_14": 56, "maxvit_t": 224, "inception_v3": 96}.get(name, 64)


def build(name: str) -> nn.Module:
    options = dict(OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = _size(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    return model


def images(name: str, count: int = 3) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, _size(name), _size(name), generator=stream)


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model):
        return model(x).clone()


@torch.no_grad()
def change(model: nn.Module, x: Tensor) -> None:
    """Other weights, and other running statistics where there are any."""
    for number, parameter in enumerate(model.parameters()):
        # The heads of vision transformers are 0 at the start, which no factor changes.
        parameter.mul_(1 + 0.01 * (1 + number % 3)).add_(1e-3)
    with torch.random.fork_rng(devices=[]):  # for dropout
        model.train()(x)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_a_network_is_held_copied_and_restored(name: str) -> None:
    model, x = build(name), images(name)
    change(model, x)
    expected, state = outputs(model, x), hold(model)
    duplicate = copy_of(model)
    assert torch.equal(outputs(duplicate, x), expected)
    change(duplicate, 2 * x)
    assert not torch.equal(outputs(duplicate, x), expected)
    assert torch.equal(outputs(model, x), expected)
    restore(duplicate, state)
    assert torch.equal(outputs(duplicate, x), expected)
    for key, value in model.state_dict().items():
        assert torch.equal(duplicate.state_dict()[key], value)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_largest_eigenvalue_of_a_network_is_that_of_scipy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against `eigsh` on products by plain autograd, in which hard sigmoids are written out."""
    model, x = build(name), images(name, 6)
    change(model, x)
    model.eval()
    y = torch.arange(6) % CLASSES
    found = measure(model, (x, y), ["lambda_max"])["lambda_max"]
    monkeypatch.setattr(functional, "hardsigmoid", lambda x, inplace=False: functional.relu6(x + 3) / 6)
    leaves = list(model.parameters())
    slopes = torch.autograd.grad(cross_entropy(model(x), y), leaves, create_graph=True)

    def product(vector: Any) -> Any:
        sizes = [leaf.numel() for leaf in leaves]
        pieces = torch.split(torch.from_numpy(np.asarray(vector, dtype=np.float32).reshape(-1)), sizes)
        vectors = [piece.view(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)]
        parts = torch.autograd.grad(slopes, leaves, vectors, retain_graph=True, materialize_grads=True)
        return torch.cat([part.reshape(-1) for part in parts]).double().numpy()

    size = sum(leaf.numel() for leaf in leaves)
    start = np.random.default_rng(0).standard_normal(size)
    (expected,) = eigsh(LinearOperator((size, size), matvec=product), 1, which="LA", v0=start, tol=1e-3)[0]
    assert abs(found - expected) <= found.error + 5e-3 * abs(expected)
