"""Generalization of a solution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.measures.context import MeasureContext
from suite.measures.path_norm import MARGIN_QUANTILE, margins
from suite.measures.registry import CANONICAL, RESCALING, declare

BINS = 15
"""Bins of confidence, as in Guo et al. 2017."""


CHUNK = 1_000
"""Samples whose gradients in the input are taken at once."""


TINY = 1e-30
"""A constant network has no boundary: its margins are divided by this and not by 0."""


def error_and_loss(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of wrong predictions and mean cross-entropy (nats)."""
    return (logits.argmax(1) != labels).double().mean().item(), cross_entropy(logits, labels).item()


@declare(
    unit="share",
    scale="linear",
    higher=False,
    cost=1 / 3,
    source="the training data",
    needs=("labels",),
    invariances=CANONICAL,
)
def train_error(subject: MeasureContext) -> float:
    """Share of wrong predictions on the training data."""
    return error_and_loss(subject.train_outputs, subject.train.y)[0]


@declare(
    unit="share",
    scale="log",
    higher=False,
    cost=1 / 3,
    source="the test data",
    needs=("labels", "test"),
    invariances=CANONICAL,
)
def test_error(subject: MeasureContext) -> float:
    """Share of wrong predictions on the test data."""
    assert subject.test is not None
    return error_and_loss(subject.test_outputs, subject.test.y)[0]


@declare(
    unit="loss", scale="log", higher=False, cost=1 / 3, source="the test data", needs=("test",), invariances=RESCALING
)
def test_loss(subject: MeasureContext) -> float:
    """Loss on the test data."""
    assert subject.test is not None
    return subject.loss(subject.test_outputs, subject.test.y).item()


@declare(
    unit="loss",
    scale="linear",
    higher=False,
    cost=2 / 3,
    source="Jiang et al. 2020, arXiv:1912.02178",
    needs=("test",),
    invariances=RESCALING,
)
def generalization_gap(subject: MeasureContext) -> float:
    """Loss on the test data minus that on the training data."""
    return test_loss(subject) - subject.loss(subject.train_outputs, subject.train.y).item()


@declare(unit="1", scale="log", higher=None, cost=1 / 3, source="the matched training loss", needs=("labels",))
def temperature(subject: MeasureContext) -> float:
    """The factor on the logits that brings the training loss to the matched one."""
    return subject.inverse_temperature


@declare(
    unit="share",
    scale="log",
    higher=False,
    cost=1 / 3,
    source="Guo et al. 2017, arXiv:1706.04599",
    needs=("labels", "test"),
    invariances=RESCALING,
)
def calibration_error(subject: MeasureContext) -> float:
    """Expected calibration error on the test data: mean of |accuracy - confidence| over 15 bins of confidence."""
    assert subject.test is not None
    confidence, predicted = subject.test_outputs.double().softmax(1).max(1)
    right = (predicted == subject.test.y).double()
    bins = (confidence * BINS).long().clamp_max(BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device).index_add_(0, bins, right - confidence)
    return float(gaps.abs().sum() / len(right))


def input_margins(subject: MeasureContext) -> Tensor:
    """Training margins over the norm of their gradient in the input, [n]: first-order distances to the boundary.

    Negative where the network is wrong. DeviceDataset are taken some at a time, so that memory stays bounded.
    """
    found = []
    for x, y in zip(*(torch.split(part, CHUNK) for part in (subject.train.x, subject.train.y)), strict=True):
        inputs = x.detach().requires_grad_()
        with torch.enable_grad():
            margin = margins(subject.outputs(inputs), y)
            (gradient,) = torch.autograd.grad(margin.sum(), inputs)
        norm = gradient.flatten(1).norm(dim=1)
        found.append(margin.detach().double() / norm.double().clamp_min(TINY))
    return torch.cat(found)


@declare(
    unit="input",
    scale="log",
    higher=True,
    cost=1,
    source="Elsayed et al. 2018, arXiv:1803.05598, equation 7; Jiang et al. 2019, arXiv:1810.00113",
    needs=("labels",),
    invariances=CANONICAL,
)
def input_margin(subject: MeasureContext) -> float:
    """The 10 % quantile over the training data of the margin over the norm of its gradient in the input.

    The first-order distance to the decision boundary. For a linear network it is the l2 margin; for any other it is
    defined as well, whatever its layers, and nothing that leaves the function alone can move it.
    """
    return torch.quantile(input_margins(subject), MARGIN_QUANTILE).item()


@declare(
    unit="input",
    scale="log",
    higher=True,
    cost=1,
    source="Jiang et al. 2019, arXiv:1810.00113",
    needs=("labels",),
    invariances=CANONICAL,
)
def margin_distribution(subject: MeasureContext) -> dict[str, float]:
    """Quartiles over the training data of the margin over the norm of its gradient in the input."""
    quantiles = {"q25": 0.25, "q50": 0.5, "q75": 0.75}
    found = input_margins(subject)
    return {name: torch.quantile(found, share).item() for name, share in quantiles.items()}
