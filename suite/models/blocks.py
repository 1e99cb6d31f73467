"""Small networks of three kinds whose design choices can be crossed: a stem, `depth` blocks of one width, a head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from suite.models.transformer import Attention

KINDS = ("mlp", "cnn", "transformer")

HEADS = 2
"""Attention heads of the transformer."""


class Block(nn.Module):
    """``x + body(relu(norm(x)))``, with the normalisation or the shortcut left out: [n, …] -> [n, …]."""

    def __init__(self, norm: nn.Module | None, body: nn.Module, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*([] if norm is None else [norm]), nn.ReLU(), body)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class RowEmbedding(nn.Module):
    """A token for each row of an image: [n, channels, rows, columns] -> [n, rows, width].

    Every row has the same linear map, and a bias of its own that tells its place.
    """

    def __init__(self, channels: int, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.content = nn.Linear(channels * columns, width, bias=False)
        # One vector per place, written as a layer so that it is initialized as the others are.
        self.place = nn.Linear(rows, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.content(x.transpose(1, 2).flatten(2)) + self.place.weight.T


class MeanToken(nn.Module):
    """The mean over tokens: [n, places, width] -> [n, width]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def block_network(
    kind: str, input_shape: Sequence[int], outputs: int, depth: int, width: int, norm: bool, shortcut: bool
) -> nn.Sequential:
    """A network with pre-activation blocks (He et al. 2016, arXiv:1603.05027) for images [n, channels, rows, columns].

    `mlp`: a block is two linear layers of `width`, a ReLU before each. `cnn`: after a first convolution that halves the
    image, two 3×3 convolutions of ``width / 4`` channels, in the same way. `transformer`: on rows as tokens of
    ``width / 2`` self-attention, then a ReLU network twice as wide, each in a block of its own; the head reads the mean
    token. A norm is layer norm without scale and shift, in the `cnn` over channels and positions.

    Args:
        kind: one of `KINDS`.
        input_shape: of an image.
        outputs: logits.
        depth: the number of blocks, at least 1; pairs of blocks in the `transformer`.
        width: of the `mlp`; a multiple of 8.
        norm: whether each block normalises its input.
        shortcut: whether each block's input is added to its output.
    """
    channels, rows, columns = input_shape
    bodies: list[nn.Module] = []
    if kind == "mlp":
        stem: list[nn.Module] = [nn.Flatten(), nn.Linear(channels * rows * columns, width)]
        bodies = [nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)]
        head: list[nn.Module] = [nn.ReLU(), nn.Linear(width, outputs)]
    elif kind == "cnn":
        width //= 4
        stem = [nn.Conv2d(channels, width, 3, stride=2, padding=1)]
        for _ in range(depth):
            inner, outer = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
            bodies.append(nn.Sequential(inner, nn.ReLU(), outer))
        places = math.ceil(rows / 2) * math.ceil(columns / 2)
        head = [nn.ReLU(), nn.Flatten(), nn.Linear(width * places, outputs)]
    else:
        width //= 2
        stem = [RowEmbedding(channels, rows, columns, width)]
        for _ in range(depth):
            feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            bodies += [Attention(width, HEADS, causal=False), feed_forward]
        head = [nn.ReLU(), MeanToken(), nn.Linear(width, outputs)]

    def norm_layer() -> nn.Module | None:
        if not norm:
            return None
        return nn.GroupNorm(1, width, affine=False) if kind == "cnn" else nn.LayerNorm(width, elementwise_affine=False)

    return nn.Sequential(*stem, *(Block(norm_layer(), body, shortcut) for body in bodies), *head)
