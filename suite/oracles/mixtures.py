"""Two classes of Gaussian clusters in the plane: the best classifier, and the best that a line can do."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from suite.oracles.solvers import Array


@dataclass(frozen=True)
class ThreeClusters:
    """Class -1 is N((-behind, 0), I), class +1 an equal mixture of N((near, far), I) and N((near, -far), I).

    Both classes are equally likely. The log-odds are ``(near + behind) x_1 + log cosh(far x_2) + offset``, in which
    ``log cosh(far x_2)`` is nearly ``far |x_2|`` less log 2.
    """

    near: float
    far: float
    behind: float

    def log_odds(self, x: Array) -> Array:
        """log P(+1 | x) - log P(-1 | x) at points [n, 2]."""
        cosh = np.logaddexp(self.far * x[:, 1], -self.far * x[:, 1]) - np.log(2)
        offset = (self.behind**2 - self.near**2 - self.far**2) / 2
        return np.asarray((self.near + self.behind) * x[:, 0] + cosh + offset)

    @functools.cached_property
    def bayes_error(self) -> float:
        """The error of the sign of the log-odds, the least possible.

        Given x_2 the classifier is a threshold on x_1, so what remains is one integral over x_2.
        """

        def density(height: float) -> float:
            threshold = -float(self.log_odds(np.array([[0.0, height]]))[0]) / (self.near + self.behind)
            distances = height - np.array([0.0, self.far, -self.far])
            negative, *positive = np.exp(-(distances**2) / 2) / np.sqrt(2 * np.pi)
            missed = sum(positive) / 2 * ndtr(threshold - self.near)
            return float(negative * ndtr(-threshold - self.behind) + missed) / 2

        return float(quad(density, -self.far - 12, self.far + 12, points=(-self.far, 0.0, self.far), limit=200)[0])

    @functools.cached_property
    def linear_loss(self) -> float:
        """The least logistic loss of a linear predictor without an intercept, by Gauss-Hermite quadrature.

        The loss is convex and the classes are symmetric in x_2, so the best predictor does not depend on x_2.
        """
        nodes, weights = hermegauss(80)
        margins = np.concatenate([self.near + nodes, self.behind + nodes])
        weights = np.concatenate([weights, weights]) / (2 * weights.sum())
        return float(minimize_scalar(lambda w: float(weights @ np.logaddexp(0, -w * margins)), (0.0, 1.0)).fun)

    @property
    def linear_error(self) -> float:
        """The error of a linear predictor that depends on x_1 alone, without an intercept."""
        return float(ndtr(-self.near) + ndtr(-self.behind)) / 2
