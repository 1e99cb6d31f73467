"""Small networks and data that every operator is tested on."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Loss, Split


def classification(n: int = 40, features: int = 6, classes: int = 3) -> Split:
    """Gaussian inputs; the label is the largest of the first inputs."""
    x = torch.randn(n, features, generator=torch_stream("curvature", n), dtype=torch.float64)
    return Split(x, x[:, :classes].argmax(1))


def regression(n: int = 30) -> Split:
    x = torch.randn(n, 6, generator=torch_stream("regression", n), dtype=torch.float64)
    return Split(x, torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], dim=1))


def images(n: int = 12) -> Split:
    stream = torch_stream("images", n)
    x = torch.randn(n, 2, 6, 6, generator=stream, dtype=torch.float64)
    return Split(x, torch.randint(0, 3, (n,), generator=stream))


def network(seed: int = 0, outputs: int = 3, widths: tuple[int, ...] = (7, 5)) -> nn.Module:
    return initialize(mlp((6,), outputs, widths=widths).double(), torch_stream("network", seed))


def drawn(model: nn.Module) -> nn.Module:
    """`model` in float64 with weights of its own stream."""
    return initialize(model.double(), torch_stream("drawn"))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Called(nn.Module):
    """A function that no module stands for."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class TripleLinear(nn.Linear):
    """No linear layer, whatever it inherits."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


def convolutional() -> nn.Module:
    """Convolutions (one grouped, strided and dilated), batch norm with statistics of its own, pooling, a skip."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2), nn.ReLU())),
            nn.Conv2d(4, 3, 2, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12, 3),
        ).double()
        model(images(50).x)
        nn.init.normal_(model[1].weight)
    return model.eval()


def flat_hessian(model: nn.Module, data: Split, loss: Loss) -> Tensor:
    """The Hessian [P, P] by torch's own functional differentiation, which shares no code with ours."""
    named = dict(model.named_parameters())
    buffers = dict(model.named_buffers())

    def of(theta: Tensor) -> Tensor:
        pieces = torch.split(theta, [math.prod(p.shape) for p in named.values()])
        weights = {name: piece.view(p.shape) for piece, (name, p) in zip(pieces, named.items(), strict=True)}
        return loss(functional_call(model, {**weights, **buffers}, (data.x,)), data.y)

    return torch.autograd.functional.hessian(of, torch.cat([p.detach().flatten() for p in named.values()]))


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """The Jacobian of the outputs [n, C, P], row by row."""
    outputs = model(x)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(entry, list(model.parameters()), retain_graph=True)])
        for entry in outputs.flatten()
    ]
    return torch.stack(rows).view(*outputs.shape, -1)
