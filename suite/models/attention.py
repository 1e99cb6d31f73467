"""One layer of attention with a fixed head, as theory studies it; n is the number of samples."""

from __future__ import annotations

from torch import Tensor, nn


class TokenSelector(nn.Module):
    """Attention of one query over T tokens, of which a fixed head reads the first coordinate: x [n, T + 1, d] -> [n].

    The first row of a sample is its query z, the others are its tokens X [T, d]; the output is the first entry of
    ``X' softmax(X W z)``. W is the parameter `weight` [d, d], or the product K Q' of `key` and `query` [d, d].

    Args:
        start: the initial weights by name: `weight`, or `key` and `query`.
    """

    weight: Tensor
    key: Tensor
    query: Tensor

    def __init__(self, **start: Tensor) -> None:
        super().__init__()
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(value.clone()))

    def matrix(self) -> Tensor:
        """W, [d, d]."""
        return self.weight if "weight" in self._parameters else self.key @ self.query.T

    def forward(self, x: Tensor) -> Tensor:
        query, tokens = x[:, 0], x[:, 1:]
        scores = (tokens @ (query @ self.matrix().T)[:, :, None]).squeeze(-1)
        return (scores.softmax(1) * tokens[:, :, 0]).sum(1)
