"""What measures are computed from: a network on its data, and the intermediate results that several measures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import Network, TemperedCrossEntropy
from suite.errors import InputError
from suite.estimate import Estimate
from suite.task import Loss, Split

MATCHED_LOSS = 0.01
"""The training loss (nats) at which classification solutions are compared: the target loss of the image tasks."""

T = TypeVar("T")


@torch.no_grad()
def inverse_temperature_for(logits: Tensor, labels: Tensor, target: float) -> float:
    """The factor on the logits [n, classes] that brings their cross-entropy to `target` (nats), by bisection.

    Cross-entropy and its curvature shrink when logits merely grow: solutions are compared at equal training loss. If
    all samples are classified correctly, the loss falls monotonically from log(classes) to 0, so the factor is unique.
    NaN if misclassified samples keep the loss above the target for every factor.
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


def default_loss(outputs: Tensor, targets: Tensor) -> Loss:
    """Cross-entropy (nats) for integer labels, mean squared error otherwise; `InputError` if neither fits."""
    if not targets.is_floating_point():
        if targets.dim() != 1 or outputs.dim() != 2:
            shapes = f"outputs of shape {tuple(outputs.shape)} and integer targets of shape {tuple(targets.shape)}"
            raise InputError(f"There is no default loss for {shapes}: give loss=.")
        if not 0 <= int(targets.min()) <= int(targets.max()) < outputs.shape[1]:
            raise InputError(f"A label lies outside 0..{outputs.shape[1] - 1}, the network's outputs.")
        return cross_entropy
    if outputs.shape != targets.shape:
        shapes = f"outputs {tuple(outputs.shape)} and the targets {tuple(targets.shape)}"
        raise InputError(f"The network's {shapes} differ in shape.")
    return mse_loss


def sample_mean(draws: Tensor, offset: float = 0.0) -> Estimate:
    """`offset` plus the mean of independent draws [r], with its standard error: NaN for a single draw."""
    error = draws.std().item() / len(draws) ** 0.5 if len(draws) > 1 else None
    return Estimate(offset + draws.mean().item(), "estimate", error)


class MeasureContext:
    """A network (in eval mode) with the data and the loss that it is measured on.

    There are two contexts of one network: this one, with the loss as it is, and `matched`, with the logits scaled to a
    training loss of `matched_loss`. What does not depend on the loss is computed once for both (`once`). Data is read
    in chunks, so that memory does not grow with it.

    Attributes:
        model: the module.
        network: the module's parameters as one vector, for curvature.
        train: the training data, x [n, ...] and y [n] or [n, outputs].
        test: the test data, or None.
        initial: the weights before training, by parameter name, or None.
        matched_loss: the training loss (nats) of the matched context.
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
    ) -> None:
        """Without `loss`, `default_loss` chooses one."""
        self.model, self.train, self.test, self.initial = model, train, test, initial
        self.network = Network(model)
        self.matched_loss = matched_loss
        self._shared: dict[str, Any] = {}
        self._is_matched = False
        if loss is None:
            one = self.predictions(train.x[:1])
            loss = default_loss(one.expand(len(train), *one.shape[1:]), train.y)
        self._unscaled_loss = loss

    @cached_property
    def matched(self) -> MeasureContext:
        """The context at matched training loss; it shares `once` with this one."""
        if self._is_matched:
            return self
        context = MeasureContext(
            self.model,
            self.train,
            self._unscaled_loss,
            test=self.test,
            initial=self.initial,
            matched_loss=self.matched_loss,
        )
        context._is_matched, context._shared = True, self._shared
        return context

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The result of `compute`, which is called only if neither context has a result of this `name`.

        For what depends on the network and the data alone: not on the loss, nor on the temperature.
        """
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]

    @cached_property
    def inverse_temperature(self) -> float:
        """The factor on the logits that brings the training loss to `matched_loss`; 1 without matching.

        Only cross-entropy is matched; `InputError` if no factor reaches that loss. The factor is computed when a
        measure first asks for it: some do not need it.
        """
        if not self._is_matched or self._unscaled_loss is not cross_entropy:
            return 1.0
        if self.train_outputs.shape[1] < 2:
            raise InputError("The logits of one class have no training loss that could be matched.")
        factor = inverse_temperature_for(self.train_outputs, self.train.y, self.matched_loss)
        if math.isnan(factor):
            loss = cross_entropy(self.train_outputs, self.train.y).item()
            change = f"from {loss:.3g} to {self.matched_loss:g}"
            raise InputError(f"No scaling of the logits brings the training loss {change}: give another matched_loss.")
        return factor

    @cached_property
    def loss(self) -> Loss:
        """The loss as a function of the network's own (unscaled) outputs; it contains the inverse temperature."""
        return self._unscaled_loss if self.inverse_temperature == 1 else TemperedCrossEntropy(self.inverse_temperature)

    @torch.no_grad()
    def predictions(self, x: Tensor) -> Tensor:
        """Unscaled outputs on `x`, [n, ...], without a graph, however many samples there are."""
        return torch.cat([self.network.outputs(part) for part in torch.split(x, self.network.chunk(x))])

    @property
    def train_outputs(self) -> Tensor:
        """Unscaled outputs on the training data."""
        return self.once("train_outputs", lambda: self.predictions(self.train.x))

    @property
    def required_test(self) -> Split:
        """The test data, for measures that declare that they need it."""
        assert self.test is not None
        return self.test

    @property
    def test_outputs(self) -> Tensor:
        """Unscaled outputs on the test data."""
        return self.once("test_outputs", lambda: self.predictions(self.required_test.x))

    @cached_property
    def chunk(self) -> int | None:
        """None for a loss that is a mean over samples; for another summary, all samples at once."""
        if self.loss in (cross_entropy, mse_loss) or isinstance(self.loss, TemperedCrossEntropy):
            return None
        outputs, y, size = self.train_outputs, self.train.y, len(self.train)
        halves = zip(*(torch.split(part, (size + 1) // 2) for part in (outputs, y)), strict=True)
        mean = sum(self.loss(z, labels).item() * len(labels) for z, labels in halves) / size
        return None if math.isclose(mean, self.loss(outputs, y).item(), rel_tol=1e-4, abs_tol=1e-9) else size

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
