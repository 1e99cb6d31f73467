"""The reference networks of the image tasks: inputs [n, *input_shape], outputs [n, outputs]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(
    input_shape: Sequence[int], outputs: int, widths: Sequence[int] = (128, 128), bias: bool = True
) -> nn.Sequential:
    """Fully connected ReLU network with hidden layers of the given widths; inputs are flattened."""
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    sizes = [math.prod(input_shape), *widths]
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs, bias=bias))


def _channels(input_shape: Sequence[int]) -> int:
    """The number of channels, or an error if a sample is not an image."""
    if len(input_shape) != 3:
        raise ValueError(
            f"the network needs images (channels, height, width), not inputs of shape {tuple(input_shape)}"
        )
    return input_shape[0]


def cnn(
    input_shape: Sequence[int], outputs: int, widths: Sequence[int] = (16, 32, 64), batch_norm: bool = False
) -> nn.Sequential:
    """Convolutional ReLU network: per width a 3×3 convolution (then batch norm), ReLU and 2×2 max pooling.

    A linear layer reads the flattened maps. Pooling rounds up, so images of any size fit.

    Raises:
        ValueError: `input_shape` is not (channels, height, width).
    """
    channels, height, width = _channels(input_shape), *input_shape[1:]
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise([channels, *widths]):
        layers.append(nn.Conv2d(fan_in, fan_out, 3, padding=1))
        layers += [nn.BatchNorm2d(fan_out)] if batch_norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * height * width, outputs))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with group norm around a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(groups, fan_out),
            nn.ReLU(),
            nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False),
            nn.GroupNorm(groups, fan_out),
        )
        same = stride == 1 and fan_in == fan_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [n, fan_in, h, w] to [n, fan_out, h / stride, w / stride]."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(
    input_shape: Sequence[int], outputs: int, widths: Sequence[int] = (16, 32, 64), groups: int = 8
) -> nn.Sequential:
    """Residual network with group norm: a 3×3 stem, one block per width, the mean over positions, a linear layer.

    The stem halves the image, as every block but the first does: the network then costs what `cnn` costs. Group norm
    (Wu & He 2018, arXiv:1803.08494) and not batch norm: a sample's output does not depend on its batch. `groups` must
    divide every width.

    Raises:
        ValueError: `input_shape` is not (channels, height, width).
    """
    layers: list[nn.Module] = [
        nn.Conv2d(_channels(input_shape), widths[0], 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(groups, widths[0]),
        nn.ReLU(),
    ]
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise([widths[0], *widths])):
        layers.append(ResidualBlock(fan_in, fan_out, stride=2 if number else 1, groups=groups))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], outputs))
