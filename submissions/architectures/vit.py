"""Small vision transformer: patches of 4x4 as tokens, two pre-norm blocks (Dosovitskiy et al. 2021, arXiv:2010.11929).

The class is read from the mean over tokens (Beyer et al. 2022, arXiv:2205.01580).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from suite import Submission

PATCH, WIDTH, DEPTH, HEADS = 4, 64, 2, 4


class Attention(nn.Module):
    """Self-attention over tokens [n, tokens, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 3, self.heads, x.shape[2] // self.heads)
        queries, keys, values = self.queries_keys_values(x).reshape(shape).permute(2, 0, 3, 1, 4)
        return self.out(scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a network of each token by itself, both around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.think(x)


class VisionTransformer(nn.Module):
    """Images [n, channels, height, width] to logits [n, outputs]."""

    def __init__(self, input_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        tokens = math.ceil(height / PATCH) * math.ceil(width / PATCH)
        padding = (0, -width % PATCH, 0, -height % PATCH)
        self.patches = nn.Sequential(nn.ZeroPad2d(padding), nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH))
        self.position = nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS) for _ in range(DEPTH)), nn.LayerNorm(WIDTH))
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.blocks(tokens).mean(1))


submission = Submission(name="vit", architecture=VisionTransformer)
