"""Blocks of transformers: self-attention and a network of each place by itself, on [n, places, width]."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Self-attention over [n, places, width] (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        width, heads: of the stream, and how many heads share it: each has width / heads coordinates.
        causal: whether no place sees later ones.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 3, self.heads, x.shape[2] // self.heads)
        queries, keys, values = self.queries_keys_values(x).reshape(shape).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a network of each place by itself, both around a shortcut and after a layer norm.

    Args:
        width, heads, causal: see `Attention`.
        hidden: width of the hidden layer of a place's own network.
    """

    def __init__(self, width: int, heads: int, hidden: int, causal: bool = False) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, causal))
        self.think = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.think(x)
