"""Curvature of a loss at a solution: products, eigenvalues, traces, diagonals, spectra, of one network or of lanes."""

from suite.curvature.lanczos import Eigenpairs, lanczos
from suite.curvature.losses import SampleSum, Tempered, cross_entropy_weights, valid_labels
from suite.curvature.network import Network
from suite.curvature.operators import GaussNewton, Hessian, Operator, Scaled
from suite.curvature.per_sample import squared_norms
from suite.curvature.second_derivatives import check_loss, check_network
from suite.curvature.subsampled import top_eigenpairs
from suite.curvature.trace import estimated_trace, hessian_trace

__all__ = [
    "Eigenpairs",
    "GaussNewton",
    "Hessian",
    "Network",
    "Operator",
    "SampleSum",
    "Scaled",
    "Tempered",
    "check_loss",
    "check_network",
    "cross_entropy_weights",
    "estimated_trace",
    "hessian_trace",
    "lanczos",
    "squared_norms",
    "top_eigenpairs",
    "valid_labels",
]
