"""Curvature of a loss at a solution: products, eigenvalues, traces, diagonals, spectra, of one network or of lanes."""

from suite.curvature.ggn_diagonal import TemperedCrossEntropy
from suite.curvature.lanczos import Eigenpairs, lanczos
from suite.curvature.network import Network
from suite.curvature.operators import GaussNewton, Hessian, Scaled
from suite.curvature.per_sample import squared_norms
from suite.curvature.subsampled import top_eigenpairs
from suite.curvature.trace import hessian_trace

__all__ = [
    "Eigenpairs",
    "GaussNewton",
    "Hessian",
    "Network",
    "Scaled",
    "TemperedCrossEntropy",
    "hessian_trace",
    "lanczos",
    "squared_norms",
    "top_eigenpairs",
]
