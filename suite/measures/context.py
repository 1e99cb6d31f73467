"""What a measure is taken of: a network on its data, and what several measures share of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import Network
from suite.curvature.ggn_diagonal import (
    TemperedCrossEntropy,
    gauss_newton_diagonal,
    gauss_newton_trace,
    is_piecewise_multilinear,
)
from suite.curvature.per_sample import squared_norms
from suite.errors import InputError
from suite.task import Loss, Split


@torch.no_grad()
def inverse_temperature_for(logits: Tensor, labels: Tensor, target: float) -> float:
    """The factor on the logits [n, classes] that brings their cross-entropy to `target` (nats), by bisection.

    Cross-entropy and its curvature shrink when logits merely grow: solutions are compared at equal training loss. For
    samples that are all classified rightly the loss falls monotonically from log(classes) to 0, so the
    factor is unique. NaN if some sample is misclassified so that no factor reaches the target.
    """
    exact = logits.double()
    low, high = -12.0, 12.0

    def loss(log_factor: float) -> float:
        return cross_entropy(exact * math.exp(log_factor), labels).item()

    if loss(high) > target or loss(low) < target:
        # Beyond the loss's minimum over factors it may rise again: search the first crossing on a grid.
        grid = torch.linspace(low, high, 97).tolist()
        below = [factor for factor in grid if loss(factor) <= target]
        if not below:
            return math.nan
        high = below[0]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) > target else (low, middle)
    return math.exp(high)


MATCHED_LOSS = 0.01
"""The training loss (nats) at which classification solutions are compared: the image tasks' stopping rule."""


def default_loss(outputs: Tensor, targets: Tensor) -> Loss:
    """Cross-entropy (nats) for integer labels, mean squared error over all entries otherwise.

    Raises:
        InputError: outputs and targets do not fit together; a loss must then be given.
    """
    if not targets.is_floating_point():
        if targets.dim() != 1 or outputs.dim() != 2:
            shapes = f"outputs of shape {tuple(outputs.shape)} and integer targets of shape {tuple(targets.shape)}"
            raise InputError(f"There is no default loss for {shapes}: give loss=.")
        if not 0 <= int(targets.min()) <= int(targets.max()) < outputs.shape[1]:
            raise InputError(f"A label lies outside 0..{outputs.shape[1] - 1}, the network's outputs.")
        return cross_entropy
    if outputs.shape != targets.shape:
        raise InputError(
            f"The network's outputs {tuple(outputs.shape)} and the targets {tuple(targets.shape)} differ in shape."
        )
    return mse_loss


class MeasureContext:
    """A network (in eval mode) with the data and the loss that it is measured on.

    At matched loss, `logit_scale` is the factor on the logits that brings the training loss to `matched_loss`, else 1;
    `loss` contains it (`default_loss` if none is given), outputs do not. It is found when a measure first asks for it:
    not all need it. Data is read in chunks, so that memory does not grow with it.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        loss: Loss | None = None,
        *,
        test: Split | None = None,
        initial: Mapping[str, Tensor] | None = None,
        matched_loss: float = MATCHED_LOSS,
        at_matched_loss: bool = False,
    ) -> None:
        self.model, self.train, self.test, self.initial = model, train, test, initial
        self.network = Network(model)
        self.matched_loss, self._at_matched_loss = matched_loss, at_matched_loss
        if loss is None:
            one = self.predictions(train.x[:1])
            loss = default_loss(one.expand(len(train), *one.shape[1:]), train.y)
        self._given = loss

    @cached_property
    def logit_scale(self) -> float:
        """The factor on the outputs; InputError if no factor gives the matched loss."""
        return self.inverse_temperature if self._at_matched_loss else 1.0

    @cached_property
    def loss(self) -> Loss:
        """The loss of the unscaled outputs at the subject's logit scale."""
        return self._given if self.logit_scale == 1 else TemperedCrossEntropy(self.logit_scale)

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs on `x`, [n, ...], with a graph where gradients are enabled."""
        return self.network.outputs(x)

    @torch.no_grad()
    def predictions(self, x: Tensor) -> Tensor:
        """Outputs on `x`, [n, ...], without a graph, however many samples there are."""
        return torch.cat([self.network.outputs(part) for part in torch.split(x, self.network.chunk(x))])

    @cached_property
    def train_outputs(self) -> Tensor:
        """Outputs on the training part."""
        return self.predictions(self.train.x)

    @cached_property
    def test_outputs(self) -> Tensor:
        """Outputs on the test part."""
        assert self.test is not None
        return self.predictions(self.test.x)

    @cached_property
    def chunk(self) -> int | None:
        """None for a loss that is a mean over samples; for another summary, all samples at once."""
        if self.loss in (cross_entropy, mse_loss) or isinstance(self.loss, TemperedCrossEntropy):
            return None
        size = len(self.train)
        half = (size + 1) // 2
        whole = self.loss(self.train_outputs, self.train.y).item()
        parts = [
            self.loss(z, y).item() * len(y)
            for z, y in zip(torch.split(self.train_outputs, half), torch.split(self.train.y, half), strict=True)
        ]
        return None if math.isclose(sum(parts) / size, whole, rel_tol=1e-4, abs_tol=1e-9) else size

    def training_loss(self) -> float:
        """The training loss at the present weights (which a measure may have perturbed)."""
        return self.loss(self.predictions(self.train.x), self.train.y).item()

    def loss_and_gradient(self) -> tuple[float, Tensor]:
        """The training loss and its gradient [P] at the present weights."""
        total, gradient = 0.0, torch.zeros_like(self.network.weights())
        size = self.chunk or self.network.chunk(self.train.x)
        for x, y in zip(torch.split(self.train.x, size), torch.split(self.train.y, size), strict=True):
            with torch.enable_grad():
                part = self.loss(self.network.outputs(x), y) * (len(x) / len(self.train))
                pieces = torch.autograd.grad(part, self.network.leaves, materialize_grads=True)
            total += part.item()
            gradient += self.network.flatten(pieces)
        return total, gradient

    @cached_property
    def is_piecewise_multilinear(self) -> bool:
        """Whether the Hessian's diagonal is the Gauss-Newton matrix's."""
        return is_piecewise_multilinear(self.network, self.train.x)

    def gauss_newton_trace(self, weights: Tensor | None = None) -> float | None:
        """The exact trace of G, or of ``diag(weights) G`` for weights [P]; None where samples cannot be told apart."""
        if self.chunk is not None:
            return None
        try:
            if weights is None:
                trace, outputs = gauss_newton_trace(self.network, self.train, self.loss)
                self.__dict__.setdefault("train_outputs", outputs)
                return trace
            return float(self.network.flatten(self._gauss_newton_diagonal).double() @ weights.double())
        except InputError:
            return None

    @cached_property
    def _gauss_newton_diagonal(self) -> list[Tensor]:
        return gauss_newton_diagonal(self.network, self.train, self.loss)

    def gradient_noise(self) -> float:
        """The trace of the covariance of the samples' gradients.

        Raises:
            InputError: the loss is not a mean over samples, or they cannot be told apart.
        """
        if self.chunk is not None:
            raise InputError("The gradient noise needs a loss that is a mean over samples.")

        def slopes(outputs: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
            at = outputs.detach().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.loss(at, y) * len(at), at)
            yield slope, slope.new_ones(len(at))

        squares = squared_norms(self.network, self.train.x, self.train.y, slopes)
        _, mean = self.loss_and_gradient()
        return max(squares / len(self.train) - float(mean.double() @ mean.double()), 0.0)

    @cached_property
    def inverse_temperature(self) -> float:
        """The factor on the logits that brings the training loss to `matched_loss`; 1 without cross-entropy.

        Raises:
            InputError: no factor does.
        """
        if self._given is not cross_entropy:
            return 1.0
        if self.train_outputs.shape[1] < 2:
            raise InputError("The logits of one class have no training loss that could be matched.")
        factor = inverse_temperature_for(self.train_outputs, self.train.y, self.matched_loss)
        if math.isnan(factor):
            loss = cross_entropy(self.train_outputs, self.train.y).item()
            raise InputError(
                f"No scaling of the logits brings the training loss from {loss:.3g} to {self.matched_loss:g}: "
                "give another matched_loss."
            )
        return factor

    @cached_property
    def matched(self) -> MeasureContext:
        """The subject at matched training loss."""
        other = MeasureContext(
            self.model,
            self.train,
            self._given,
            test=self.test,
            initial=self.initial,
            matched_loss=self.matched_loss,
            at_matched_loss=True,
        )
        other.train_outputs = self.train_outputs  # they contain no scale
        return other
