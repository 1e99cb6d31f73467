"""Gated recurrent network (Cho et al. 2014, arXiv:1406.1078): one layer of width 128, as large as `transformer_small`.

What it knows of the past must pass through its state, so copies are hard for it, while counting is easy.
"""

from torch import Tensor, nn

from suite import Submission

WIDTH, STATE = 64, 128


class GRU(nn.Module):
    """Token numbers [n, T] to logits [n, T, vocabulary]; it reads a context of any length."""

    def __init__(self, vocabulary: int, context: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.recurrent = nn.GRU(WIDTH, STATE, batch_first=True)
        self.head = nn.Linear(STATE, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(self.tokens(x))[0])


submission = Submission(name="gru", architecture=GRU)
