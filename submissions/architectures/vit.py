"""Small vision transformer: patches of 4x4 as tokens, two pre-norm blocks (Dosovitskiy et al. 2021, arXiv:2010.11929).

The class is read from the mean over tokens (Beyer et al. 2022, arXiv:2205.01580).
"""

import math

import torch
from torch import Tensor, nn

from suite import Submission
from suite.models.transformer import Block

PATCH, WIDTH, DEPTH, HEADS, HIDDEN = 4, 64, 2, 4, 128


class VisionTransformer(nn.Module):
    """Images [n, channels, height, width] to logits [n, outputs]."""

    def __init__(self, input_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        tokens = math.ceil(height / PATCH) * math.ceil(width / PATCH)
        padding = (0, -width % PATCH, 0, -height % PATCH)
        self.patches = nn.Sequential(nn.ZeroPad2d(padding), nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH))
        self.position = nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS, HIDDEN) for _ in range(DEPTH)), nn.LayerNorm(WIDTH))
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.blocks(tokens).mean(1))


submission = Submission(name="vit", architecture=VisionTransformer)
