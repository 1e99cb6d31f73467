"""Curvature of a loss at a solution: products, eigenvalues, traces, diagonals, spectra, of one network or of lanes."""

from suite.curvature.density import Spectrum, spectral_density
from suite.curvature.ggn_diagonal import TemperedCrossEntropy, gauss_newton_diagonal, is_piecewise_multilinear
from suite.curvature.lanczos import Eigenpairs, lanczos
from suite.curvature.network import Network
from suite.curvature.operators import (
    Combination,
    EmpiricalFisher,
    Fisher,
    GaussNewton,
    Hessian,
    LowPrecisionHessian,
    NetworkCurvature,
    Operator,
    Scaled,
    dense,
)
from suite.curvature.per_sample import squared_norms
from suite.curvature.subsampled import rayleigh_ritz, top_eigenpairs
from suite.curvature.trace import gauss_newton_trace, hessian_trace, hutch_plus_plus, hutchinson

__all__ = [
    "Combination",
    "Eigenpairs",
    "EmpiricalFisher",
    "Fisher",
    "GaussNewton",
    "Hessian",
    "LowPrecisionHessian",
    "Network",
    "NetworkCurvature",
    "Operator",
    "Scaled",
    "Spectrum",
    "TemperedCrossEntropy",
    "dense",
    "gauss_newton_diagonal",
    "gauss_newton_trace",
    "hessian_trace",
    "hutch_plus_plus",
    "hutchinson",
    "is_piecewise_multilinear",
    "lanczos",
    "rayleigh_ritz",
    "spectral_density",
    "squared_norms",
    "top_eigenpairs",
]
