"""Generalization of a solution."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.measures.registry import CANONICAL, RESCALING, declare
from suite.measures.subject import Subject


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
def train_error(subject: Subject) -> float:
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
def test_error(subject: Subject) -> float:
    """Share of wrong predictions on the test data."""
    assert subject.test is not None
    return error_and_loss(subject.test_outputs, subject.test.y)[0]


@declare(
    unit="loss", scale="log", higher=False, cost=1 / 3, source="the test data", needs=("test",), invariances=RESCALING
)
def test_loss(subject: Subject) -> float:
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
def generalization_gap(subject: Subject) -> float:
    """Loss on the test data minus that on the training data."""
    return test_loss(subject) - subject.loss(subject.train_outputs, subject.train.y).item()


@declare(unit="1", scale="log", higher=None, cost=1 / 3, source="the matched training loss", needs=("labels",))
def temperature(subject: Subject) -> float:
    """The factor on the logits that brings the training loss to the matched one."""
    return subject.matching_factor
