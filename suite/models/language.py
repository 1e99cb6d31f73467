"""Language models: token numbers [n, T] to logits [n, T, vocabulary] of the next token at every place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models.transformer import Block

INITIAL_SCALE = 0.02
"""Standard deviation of initial embeddings and positions, as in GPT-2."""


class CausalTransformer(nn.Module):
    """Decoder of pre-norm blocks with learned positions (Vaswani et al. 2017, arXiv:1706.03762; Radford et al. 2019).

    Args:
        vocabulary, context: the number of tokens, and of places T at most.
        width, depth, heads, hidden: of the stream, blocks, heads of attention in each, width of a block's own network.
    """

    def __init__(
        self, vocabulary: int, context: int, width: int = 64, depth: int = 2, heads: int = 4, hidden: int = 192
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(INITIAL_SCALE * torch.randn(context, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, hidden, causal=True) for _ in range(depth)), nn.LayerNorm(width)
        )
        self.head = nn.Linear(width, vocabulary)
        nn.init.normal_(self.tokens.weight, std=INITIAL_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.tokens(x) + self.positions[: x.shape[1]]))
