"""Functions that networks draw."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Measured, Prediction, Relation

GRADIENT_DESCENT = (Method.GRADIENT_DESCENT,)

FOURIER_L1 = Claim(
    "convolution-fourier-l1",
    "From small initialization a convolutional network finds the interpolator of least Fourier l1 norm.",
    "Yun et al. 2021, arXiv:2010.02501",
)
VARIATION = Claim(
    "least-variation",
    "From a small initial scale the learned curve has the least variation of its slope.",
    "Savarese et al. 2019, arXiv:1902.05040; Williams et al. 2019, arXiv:1906.07842",
    Basis.CONJECTURE,
)
SPECTRAL_BIAS = Claim(
    "low-frequencies-first",
    "Low frequencies are learned first: what is left has a higher mean frequency than the target.",
    "Rahaman et al. 2019, arXiv:1806.08734",
    Basis.OBSERVATION,
)

KERNEL_CURVE = Claim(
    "kernel-curve",
    "From a large initial scale the curve keeps more variation of its slope than from a small one.",
    "Williams et al. 2019, arXiv:1906.07842; Chizat et al. 2019, arXiv:1812.07956",
    Basis.CONJECTURE,
)

PREDICTIONS = (
    Prediction(
        "linear_convolution",
        GRADIENT_DESCENT,
        "fourier_l1_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        FOURIER_L1,
        "proved for gradient flow in the limit of a vanishing initialization",
    ),
    Prediction(
        "univariate_relu",
        GRADIENT_DESCENT,
        "variation_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        VARIATION,
        "proved for the least norm of the weights, which gradient descent need not find",
    ),
    Prediction(
        "univariate_relu[scale=3.0]",
        GRADIENT_DESCENT,
        "variation_ratio",
        Relation.AT_LEAST,
        Measured("variation_ratio", task="univariate_relu"),
        0.0,
        KERNEL_CURVE,
        retrospective=True,
    ),
    Prediction("spectral_bias", GRADIENT_DESCENT, "residual_frequency", Relation.AT_LEAST, 5.0, 0.0, SPECTRAL_BIAS),
)
