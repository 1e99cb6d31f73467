"""Linear networks against what they are said to compute, by torch's own operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import conv1d, linear, pad

from suite.models.linear_networks import NETWORKS, Convolutional, LinearNetwork, steepness

D = 8


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_convolutional_network_by_circular_convolutions(depth: int) -> None:
    network = Convolutional(D, 2, depth, 1.0, stream(0))
    x = torch.randn(5, D, generator=stream(1), dtype=torch.float64)
    hidden = x[:, None]
    for layer in network.layers:
        # torch's convolution is a cross-correlation: (1/sqrt(d)) sum_k w[k] h[(i + k) mod d]
        hidden = conv1d(pad(hidden, (0, D - 1), mode="circular"), layer[None, None]) / D**0.5
    assert torch.allclose(network(x), linear(hidden[:, 0], network.head))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_fully_connected_network_layer_by_layer(depth: int) -> None:
    network = NETWORKS["full"](D, 3, depth, 1.0, stream(0))
    x = torch.randn(5, 2, D // 2, generator=stream(1), dtype=torch.float64)
    layers = [nn.Linear(D, D, bias=False, dtype=torch.float64) for _ in range(depth - 1)]
    for module, layer in zip(layers, network.layers, strict=True):
        module.weight = nn.Parameter(layer.detach())
    assert torch.allclose(network(x), linear(nn.Sequential(nn.Flatten(), *layers)(x), network.head))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scale_is_the_norm_of_the_predictor(kind: str, depth: int) -> None:
    norms = [float(NETWORKS[kind](64, 1, depth, 0.01, stream(s)).predictor().detach().norm()) for s in range(50)]
    assert sum(n**2 for n in norms) / 50 == pytest.approx(1e-4, rel=0.4)


def balanced(kind: str, depth: int, w: Tensor) -> LinearNetwork:
    """The network of least parameters for the predictor `w`, written out by hand."""
    network = NETWORKS[kind](D, 1, depth)
    power = 1 / depth
    unit = w / w.norm()
    with torch.no_grad():
        for number, parameter in enumerate((*network.layers, network.head)):
            head = number == depth - 1
            if kind == "full":
                first = torch.zeros(D, dtype=w.dtype)
                first[0] = 1
                left, right = (first if not head else None), (unit if number == 0 else first)
                size = w.norm() ** power
                parameter.copy_(size * (right[None] if left is None else torch.outer(left, right)))
            elif kind == "diagonal":
                parameter.copy_((w.abs() ** power * (w.sign() if head else 1)).reshape(parameter.shape))
            else:
                spectrum = torch.fft.fft(w, norm="ortho")
                factor = spectrum.abs() ** power * (spectrum / spectrum.abs() if head else 1)
                parameter.copy_(torch.fft.ifft(factor, norm="ortho").real.reshape(parameter.shape))
    assert torch.allclose(network.predictor()[0], w)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_steepness_is_the_top_eigenvalue_of_the_hessian(kind: str, depth: int) -> None:
    """At an interpolator, where the Hessian of the squared error is that of the linearised network."""
    x = torch.randn(5, D, generator=stream(2), dtype=torch.float64)
    w = torch.randn(D, generator=stream(3), dtype=torch.float64)
    network = balanced(kind, depth, w)
    names = [name for name, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return (functional_call(network, weights, (x,))[:, 0] - x @ w).square().mean()

    flat = torch.cat([p.detach().flatten() for p in network.parameters()])
    top = torch.linalg.eigvalsh(hessian(loss)(flat))[-1]
    assert steepness(kind, depth, w, 2 / 5 * x.T @ x) == pytest.approx(float(top), rel=1e-6)


def test_depth_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NETWORKS["full"](D, 1, 0)
