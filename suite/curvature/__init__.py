"""Curvature of a loss at a solution: products, eigenvalues, traces and spectra, of one network or of stacked lanes."""

from suite.curvature.density import Spectrum, spectral_density
from suite.curvature.lanczos import Eigenpairs, lanczos
from suite.curvature.network import Network
from suite.curvature.operators import (
    Combination,
    EmpiricalFisher,
    Fisher,
    GaussNewton,
    Hessian,
    NetworkCurvature,
    Operator,
    Scaled,
    dense,
)
from suite.curvature.subsampled import rayleigh_ritz, top_eigenpairs
from suite.curvature.trace import hutch_plus_plus, hutchinson

__all__ = [
    "Combination",
    "Eigenpairs",
    "EmpiricalFisher",
    "Fisher",
    "GaussNewton",
    "Hessian",
    "Network",
    "NetworkCurvature",
    "Operator",
    "Scaled",
    "Spectrum",
    "dense",
    "hutch_plus_plus",
    "hutchinson",
    "lanczos",
    "rayleigh_ritz",
    "spectral_density",
    "top_eigenpairs",
]
