"""What measures are computed from: a network on its data, and the intermediate results that several measures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import Network, SampleSum, Tempered, check_loss, check_network, cross_entropy_weights, valid_labels
from suite.errors import InputError
from suite.estimate import Estimate
from suite.task import Loss, Split

MATCHED_LOSS = 0.01
"""The training loss (nats) at which classification solutions are compared: the target loss of the image tasks."""

T = TypeVar("T")


@torch.no_grad()
def inverse_temperature_for(logits: Tensor, labels: Tensor, target: float, weights: Tensor | None = None) -> float:
    """The factor on the logits [n, classes, ...] that brings their cross-entropy to `target` (nats), by bisection.

    Cross-entropy and its curvature shrink when logits merely grow: solutions are compared at equal training loss. If
    all samples are classified correctly, the loss falls monotonically from log(classes) to 0, so the factor is unique.
    NaN if misclassified samples keep the loss above the target for every factor. The mean is that with `weights`, like
    the labels and of sum 1, where they are given.
    """
    exact = logits.double()
    low, high = -12.0, 12.0

    def loss(log_factor: float) -> float:
        scaled = exact * math.exp(log_factor)
        if weights is None:
            return cross_entropy(scaled, labels).item()
        return float((weights * cross_entropy(scaled, labels, reduction="none")).sum())

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
        if outputs.dim() < 2 or targets.shape != (len(outputs), *outputs.shape[2:]):
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


def _failure(check: Callable[..., None], *arguments: Any) -> str | None:
    """Why a check fails."""
    try:
        check(*arguments)
    except InputError as error:
        return str(error)
    return None


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
        matched_loss: the training loss (nats) of the matched context; None: as in this one.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        loss: Loss | None = None,
        *,
        test: Split | None = None,
        initial: Mapping[str, Tensor] | None = None,
        matched_loss: float | None = MATCHED_LOSS,
    ) -> None:
        """Without `loss`, `default_loss` chooses one."""
        self.model, self.train, self.test, self.initial = model, train, test, initial
        self.network = Network(model)
        self.matched_loss = matched_loss
        self._shared: dict[str, Any] = {}
        self._own: dict[str, Any] = {}
        self._is_matched = False
        if loss is None:
            one = self.predictions(train.x[:1])
            loss = default_loss(one.expand(len(train), *one.shape[1:]), train.y)
        self._given_loss = loss

    @cached_property
    def matched(self) -> MeasureContext:
        """The context at matched training loss; it shares `once` with this one."""
        if self._is_matched:
            return self
        context = MeasureContext(
            self.model,
            self.train,
            self._given_loss,
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

    def once_here(self, name: str, compute: Callable[[], T]) -> T:
        """The same for what depends on the loss too: this context alone keeps it."""
        if name not in self._own:
            self._own[name] = compute()
        return self._own[name]

    @property
    def _entropy_weights(self) -> Tensor | None:
        """The samples' (or positions') weights in the loss, if it is a weighted sum of their cross-entropies."""
        return self.once(
            "entropy_weights", lambda: cross_entropy_weights(self._given_loss, self.train_outputs, self.train.y)
        )

    @property
    def _is_plain_entropy(self) -> bool:
        """Whether the loss is `cross_entropy` of labels [n]: as the function, as an object, or as anything else."""
        if self._given_loss is cross_entropy and self.train.y.dim() == 1:
            # Labels that are no classes are ignored.
            return int(self.train.y.min()) >= 0
        if self.train.y.dim() != 1 or (weights := self._entropy_weights) is None:
            return False
        tolerance = torch.finfo(self.network.dtype).eps ** 0.5
        return bool(((weights * len(self.train) - 1).abs() <= tolerance).all())

    @property
    def is_entropy(self) -> bool:
        """Whether the loss is a weighted sum of cross-entropies, which see differences of logits alone."""
        return self._is_plain_entropy or self._entropy_weights is not None

    @cached_property
    def _unscaled_loss(self) -> Loss:
        return cross_entropy if self._is_plain_entropy else self._given_loss

    @cached_property
    def inverse_temperature(self) -> float:
        """The factor on the logits that brings the training loss to `matched_loss`; 1 without matching.

        Only cross-entropy is matched, whoever computes it, with the weights that it gives to classes and samples;
        `InputError` if no factor reaches that loss. The factor is computed when a measure first asks for it: some do
        not need it.
        """
        if not self._is_matched or self.matched_loss is None:
            return 1.0
        plain, weights = self._unscaled_loss is cross_entropy, None
        if not plain:
            weights = self._entropy_weights
            if weights is None:
                return 1.0
            weights = weights / weights.sum()
        if self.train_outputs.shape[1] < 2:
            raise InputError("The logits of one class have no training loss that could be matched.")
        labels = self.train.y if plain else valid_labels(self.train_outputs, self.train.y)[1]
        factor = inverse_temperature_for(self.train_outputs, labels, self.matched_loss, weights)
        if math.isnan(factor):
            loss = self._given_loss(self.train_outputs, self.train.y).item()
            change = f"from {loss:.3g} to {self.matched_loss:g}"
            raise InputError(f"No scaling of the logits brings the training loss {change}: give another matched_loss.")
        return factor

    @cached_property
    def loss(self) -> Loss:
        """The loss as a function of the network's own (unscaled) outputs and the targets."""
        factor = self.inverse_temperature
        return self._unscaled_loss if factor == 1 else Tempered(self._unscaled_loss, factor)

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

    @property
    def _sample_sum(self) -> SampleSum | None:
        """The loss as a sum over samples, if it is not known to be a plain mean; None if it is no such sum.

        The samples' weights do not depend on the outputs, so nor on their scale.
        """

        def proved() -> SampleSum | None:
            try:
                return SampleSum(self._given_loss, self.train_outputs, self.train.y)
            except InputError:
                return None

        return self.once("sample_sum", proved)

    @cached_property
    def _is_known_mean(self) -> bool:
        is_square = self._given_loss is mse_loss and self.train_outputs.shape == self.train.y.shape
        return is_square or self._is_plain_entropy

    @property
    def sample_loss(self) -> Loss:
        """The loss for sums over chunks: of unscaled outputs and `samples.y`, a plain mean over samples.

        Of other losses, all samples are to be taken `at_once`.
        """
        if self._is_known_mean or self._sample_sum is None:
            return self.loss
        factor = self.inverse_temperature
        return self._sample_sum if factor == 1 else Tempered(self._sample_sum, factor)

    @cached_property
    def samples(self) -> Split:
        """The training data with the targets that `sample_loss` takes: the given ones, or the samples' numbers."""
        if self._is_known_mean or self._sample_sum is None:
            return self.train
        return Split(self.train.x, torch.arange(len(self.train), device=self.train.x.device))

    @cached_property
    def at_once(self) -> int | None:
        """None for a loss that is a sum over samples, else how many samples it couples: all."""
        return None if self._is_known_mean or self._sample_sum is not None else len(self.train)

    def check_second_derivatives(self) -> None:
        """`InputError` if torch's second derivatives of the network or the loss are missing or wrong."""
        reason = self.once(
            "second derivatives of the network", lambda: _failure(check_network, self.network, self.train.x)
        )
        if reason is None and self._unscaled_loss not in (cross_entropy, mse_loss):
            arguments = (self._given_loss, self.train_outputs, self.train.y)
            reason = self.once("second derivatives of the loss", lambda: _failure(check_loss, *arguments))
        if reason is not None:
            raise InputError(reason)

    def training_loss(self) -> float:
        """The training loss at the present weights (which a measure may have perturbed)."""
        return self.loss(self.predictions(self.train.x), self.train.y).item()

    def loss_and_gradient(self) -> tuple[float, Tensor]:
        """The training loss, up to a constant, and its gradient [P] at the present weights."""
        total, gradient = 0.0, torch.zeros_like(self.network.weights())
        data = self.samples
        size = self.at_once or self.network.chunk(data.x)
        for x, y in zip(torch.split(data.x, size), torch.split(data.y, size), strict=True):
            with torch.enable_grad():
                part = self.sample_loss(self.network.outputs(x), y) * (len(x) / len(data))
                pieces = torch.autograd.grad(part, self.network.leaves, materialize_grads=True)
            total += part.item()
            gradient += self.network.flatten(pieces)
        return total, gradient
