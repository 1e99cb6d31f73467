"""Losses of the synthetic tasks: (outputs, targets) -> scalar, symmetric in the samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the squared error."""
    return (outputs - targets).square().mean()


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the squared error, over 2: at an interpolator its Hessian is J'J / n."""
    return mean_squared_error(outputs, targets) / 2


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean logistic loss of outputs [n] for labels in {-1, +1}."""
    return softplus(-outputs * targets).mean()


def exponential(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean exponential loss of outputs [n] for labels in {-1, +1}."""
    return (-outputs * targets).exp().mean()


def log_exponential(outputs: Tensor, targets: Tensor) -> Tensor:
    """Log of the mean exponential loss of outputs [n] or [n, 1] for labels like them in {-1, +1}; never underflows."""
    return torch.logsumexp((-outputs * targets).flatten(), dim=0) - math.log(targets.shape[0])


def mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of ``f - y`` for outputs f [n] that are never below the targets y [n]."""
    return (outputs - targets).mean()


def log_mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """Logarithm of `mean_output`."""
    return mean_output(outputs, targets).log()


def log_pairwise_exponential(outputs: Tensor, targets: Tensor) -> Tensor:
    """Logarithm of the mean of exp(-(f_y - f_c)) over samples and wrong classes c: outputs [n, k], classes [n].

    The cross-entropy's limit directions without its underflow.
    """
    n, classes = outputs.shape
    true = outputs.gather(1, targets[:, None])
    others = (outputs - true).scatter(1, targets[:, None], -torch.inf)
    return torch.logsumexp(others.flatten(), dim=0) - math.log(n * (classes - 1))


def excess_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits [n, k] for probabilities [n, k], less the entropy of these: 0 where they are met."""
    return (torch.xlogy(targets, targets) - targets * outputs.log_softmax(1)).sum(1).mean()


def relative_excess_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """`excess_cross_entropy` of weighted samples, over that of equal logits.

    Targets [n, k] are joint probabilities: a row's sum is the sample's weight, and the row over its sum what its logits
    [k] are held against.
    """
    mass = targets.sum(1, keepdim=True)
    negative_entropy = torch.xlogy(targets, targets / mass).sum()
    excess = negative_entropy - (targets * outputs.log_softmax(1)).sum()
    return excess / (negative_entropy + mass.sum() * math.log(targets.shape[1]))


def relative_excess_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of weighted samples, over that of the answer 0; outputs and targets are [n, k].

    Targets are joint probabilities: a row's sum is the sample's weight, and the row over its sum the right output.
    """
    mass = targets.sum(1, keepdim=True)
    return (mass * (outputs - targets / mass).square()).sum() / (targets.square() / mass).sum()
