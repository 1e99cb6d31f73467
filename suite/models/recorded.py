"""Networks that keep what they have seen of their training in buffers, as batch norm keeps its statistics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class RecordedTanhNetwork(nn.Module):
    """Linear layers with tanh between them, of one output, and the running mean of the squares of its loss's gradients.

    At every call in training mode the gradient of half the mean squared error enters Adam's second moment: the buffer
    ``square`` [P], in the parameters' order, is ``(1 - decay) sum_s decay^(t - s) gradient_s²`` after t = `calls`
    calls.
    """

    square: Tensor
    calls: Tensor

    def __init__(self, widths: list[int], targets: Callable[[Tensor], Tensor], decay: float) -> None:
        """Layers between `widths`; `targets` gives those [n] of inputs [n, d]."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self._targets, self.decay = targets, decay
        self.register_buffer("square", torch.zeros(sum(p.numel() for p in self.parameters())))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """x [n, d] -> [n, 1]."""
        *hidden, last = self.layers  # a slice would build a module at every call
        activations = [x]
        for layer in hidden:
            activations.append(torch.tanh(layer(activations[-1])))
        outputs: Tensor = last(activations[-1])
        if self.training:
            self._record(activations, outputs)
        return outputs

    @torch.no_grad()
    def _record(self, activations: list[Tensor], outputs: Tensor) -> None:
        """Backpropagate by hand, so that the caller's graph is not touched."""
        inputs, *hidden = activations
        slopes = (outputs - self._targets(inputs)[:, None]) / len(outputs)
        gradients: list[Tensor] = []
        _, *later = self.layers
        for layer, activation in zip(reversed(later), reversed(hidden), strict=True):
            assert isinstance(layer, nn.Linear)  # its own weight: a twin's parameters are larger
            gradients[:0] = (slopes.T @ activation).flatten(), slopes.sum(0)
            slopes = (slopes @ layer.weight) * (1 - activation.square())
        gradients[:0] = (slopes.T @ inputs).flatten(), slopes.sum(0)
        gradient = torch.cat(gradients)
        self.square.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
        self.calls.add_(1)

    def second_moment(self) -> Tensor:
        """The mean of the squared gradients without the bias towards 0 of its start, in the parameters' order, [P]."""
        return self.square / (1 - self.decay ** float(self.calls))


class RecordedPredictor(nn.Module):
    """``x @ weight`` from 0, which keeps its weights at some of its calls in training mode: a path of training.

    The buffer ``path`` [marks, d] has the weights of the calls of the numbers in `marks`, counted from 1; NaN where
    there was none yet.
    """

    path: Tensor
    calls: Tensor

    def __init__(self, features: int, marks: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, dtype=torch.float64))
        self._places = {mark: place for place, mark in enumerate(marks)}
        self.register_buffer("path", torch.full((len(marks), features), torch.nan, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """x [n, d] -> [n]."""
        if self.training:
            self.calls.add_(1)
            if (place := self._places.get(int(self.calls))) is not None:
                self.path[place] = self.weight.detach()
        return x @ self.weight
