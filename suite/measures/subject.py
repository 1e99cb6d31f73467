"""What a measure is taken of: a network on its data, and what several measures share of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.errors import InputError
from suite.measures.matching import matching_factor
from suite.task import Split

Loss = Callable[[Tensor, Tensor], Tensor]

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


class Subject:
    """A network with the data and the loss that it is measured on; the network is in eval mode.

    `logit_scale` multiplies the outputs before the loss: measures at matched training loss see the scaled network.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        loss: Loss,
        *,
        test: Split | None = None,
        initial: Mapping[str, Tensor] | None = None,
        matched_loss: float = MATCHED_LOSS,
        logit_scale: float = 1.0,
    ) -> None:
        self.model, self.train, self.loss = model, train, loss
        self.test, self.initial = test, initial
        self.matched_loss, self.logit_scale = matched_loss, logit_scale

    @cached_property
    def matching_factor(self) -> float:
        """The factor on the logits that brings the training loss to `matched_loss`; 1 without cross-entropy.

        Raises:
            InputError: no factor does.
        """
        if self.loss is not cross_entropy:
            return 1.0
        factor = matching_factor(self.train_outputs, self.train.y, self.matched_loss)
        if math.isnan(factor):
            loss = cross_entropy(self.train_outputs, self.train.y).item()
            raise InputError(
                f"No scaling of the logits brings the training loss from {loss:.3g} to {self.matched_loss:g}: "
                "give a larger matched_loss."
            )
        return factor

    def matched(self) -> Subject:
        """The subject with its logits scaled to `matched_loss`; itself where the loss is not cross-entropy."""
        if self.matching_factor == 1:
            return self
        return Subject(
            self.model,
            self.train,
            self.loss,
            test=self.test,
            initial=self.initial,
            matched_loss=self.matched_loss,
            logit_scale=self.logit_scale * self.matching_factor,
        )

    def outputs(self, x: Tensor) -> Tensor:
        """The scaled outputs on `x`, with a graph where gradients are enabled."""
        outputs: Tensor = self.model(x)
        return outputs if self.logit_scale == 1 else self.logit_scale * outputs

    def training_loss(self, model: nn.Module) -> Tensor:
        """The scalar training loss of `model`, which has this subject's architecture."""
        return self.loss(self.logit_scale * model(self.train.x), self.train.y)

    @cached_property
    @torch.no_grad()
    def train_outputs(self) -> Tensor:
        """Scaled outputs on the training part, [n, ...]."""
        return self.outputs(self.train.x)

    @cached_property
    @torch.no_grad()
    def test_outputs(self) -> Tensor:
        """Scaled outputs on the test part, [n, ...]."""
        assert self.test is not None
        return self.outputs(self.test.x)
