"""Language models: token numbers [n, T] to logits [n, T, vocabulary] of the next token at every place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

INITIAL_SCALE = 0.02
"""Standard deviation of initial embeddings and positions, as in GPT-2."""


class CausalAttention(nn.Module):
    """Self-attention over [n, T, width] in which no place sees later ones."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 3, self.heads, x.shape[2] // self.heads)
        queries, keys, values = self.queries_keys_values(x).reshape(shape).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a network of each place by itself, both around a shortcut and after a layer norm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), CausalAttention(width, heads))
        self.think = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.think(x)


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
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)), nn.LayerNorm(width))
        self.head = nn.Linear(width, vocabulary)
        nn.init.normal_(self.tokens.weight, std=INITIAL_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.tokens(x) + self.positions[: x.shape[1]]))
