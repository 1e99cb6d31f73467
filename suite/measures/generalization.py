"""Generalization of a solution."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.errors import InputError
from suite.measures.context import MeasureContext
from suite.measures.path_norm import MARGIN_QUANTILE, margins
from suite.measures.registry import LOGIT_SCALE, OF_FUNCTION, declare

BINS = 15
"""Bins of confidence, as in Guo et al. 2017."""
CHUNK = 1_000
"""Samples whose gradients in the input are taken at once."""
TINY = 1e-30
"""A constant network has no boundary: its margins are divided by this and not by 0."""

OF_LOGITS = OF_FUNCTION - {LOGIT_SCALE}

declare_error = partial(declare, kind="exact", unit="share", cost=1 / 3)
declare_test_loss = partial(declare, kind="exact", unit="loss", needs=("test",), invariances=OF_LOGITS)
declare_input_margin = partial(
    declare, kind="exact", unit="input", higher=True, cost=1, needs=("labels",), invariances=OF_FUNCTION
)


def error_and_loss(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of wrong predictions and mean cross-entropy (nats)."""
    return (logits.argmax(1) != labels).double().mean().item(), cross_entropy(logits, labels).item()


@declare_error(scale="linear", source="the training data", needs=("labels",), invariances=OF_FUNCTION)
def train_error(context: MeasureContext) -> float:
    """Share of wrong predictions on the training data."""
    return error_and_loss(context.train_outputs, context.train.y)[0]


@declare_error(source="the test data", needs=("labels", "test"), invariances=OF_FUNCTION)
def test_error(context: MeasureContext) -> float:
    """Share of wrong predictions on the test data."""
    return error_and_loss(context.test_outputs, context.required_test.y)[0]


@declare_test_loss(cost=1 / 3, source="the test data")
def test_loss(context: MeasureContext) -> float:
    """Loss on the test data."""
    return context.loss(context.test_outputs, context.required_test.y).item()


@declare_test_loss(scale="linear", cost=2 / 3, source="Jiang et al. 2020, arXiv:1912.02178")
def generalization_gap(context: MeasureContext) -> float:
    """Loss on the test data minus that on the training data."""
    return test_loss(context) - context.loss(context.train_outputs, context.train.y).item()


@declare(kind="exact", unit="1", higher=None, cost=1 / 3, source="the matched training loss", needs=("integers",))
def temperature(context: MeasureContext) -> float:
    """The inverse temperature: the factor on the logits that brings the training loss to the matched one."""
    return context.matched.inverse_temperature


@declare_error(source="Guo et al. 2017, arXiv:1706.04599", needs=("labels", "test"), invariances=OF_LOGITS)
def calibration_error(context: MeasureContext) -> float:
    """Expected calibration error on the test data: mean of |accuracy - confidence| over 15 bins of confidence."""
    confidence, predicted = context.test_outputs.double().softmax(1).max(1)
    correct = (predicted == context.required_test.y).double()
    bins = (confidence * BINS).long().clamp_max(BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device).index_add_(0, bins, correct - confidence)
    return float(gaps.abs().sum() / len(correct))


def input_margins(context: MeasureContext) -> Tensor:
    """Training margins over the norm of their gradient in the input, [n]: first-order distances to the boundary.

    Negative where the network is wrong. Samples are taken `CHUNK` at a time, so that memory stays bounded.
    """
    return context.once("input_margins", lambda: _input_margins(context))


def _input_margins(context: MeasureContext) -> Tensor:
    if not context.train.x.is_floating_point():
        raise InputError("A derivative in the input needs inputs that are floating-point numbers.")
    distances = []
    for x, y in zip(*(torch.split(part, CHUNK) for part in (context.train.x, context.train.y)), strict=True):
        inputs = x.detach().requires_grad_()
        with torch.enable_grad():
            margin = margins(context.network.outputs(inputs), y)
            (gradient,) = torch.autograd.grad(margin.sum(), inputs)
        norm = gradient.flatten(1).norm(dim=1)
        distances.append(margin.detach().double() / norm.double().clamp_min(TINY))
    return torch.cat(distances)


@declare_input_margin(source="Elsayed et al. 2018, arXiv:1803.05598, equation 7; Jiang et al. 2019, arXiv:1810.00113")
def input_margin(context: MeasureContext) -> float:
    """The 10 % quantile over the training data of the margin over the norm of its gradient in the input.

    The first-order distance to the decision boundary. It is the l2 margin of a linear network, and is defined for any
    other too, whatever its layers; no change of weights that keeps the function can move it.
    """
    return torch.quantile(input_margins(context), MARGIN_QUANTILE).item()


@declare_input_margin(source="Jiang et al. 2019, arXiv:1810.00113")
def margin_distribution(context: MeasureContext) -> dict[str, float]:
    """Quartiles over the training data of the margin over the norm of its gradient in the input."""
    quantiles = {"q25": 0.25, "q50": 0.5, "q75": 0.75}
    return {name: torch.quantile(input_margins(context), share).item() for name, share in quantiles.items()}
