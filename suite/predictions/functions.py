"""Functions that networks draw."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Prediction, Relation

YUN = "Yun et al. 2021, arXiv:2010.02501"

PREDICTIONS = (
    Prediction(
        "linear_convolution",
        (Method.GRADIENT_DESCENT,),
        "fourier_l1_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "From small initialization a convolutional network finds the interpolator of least Fourier l1 norm.",
        YUN,
        unmet="proved for gradient flow in the limit of a vanishing initialization",
    ),
    Prediction(
        "univariate_relu",
        (Method.GRADIENT_DESCENT,),
        "variation_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "From a small initial scale the learned curve has the least variation of its slope.",
        "Savarese et al. 2019, arXiv:1902.05040; Williams et al. 2019, arXiv:1906.07842",
        Basis.CONJECTURE,
        unmet="proved for the least norm of the weights, which gradient descent need not find",
    ),
    Prediction(
        "spectral_bias",
        (Method.GRADIENT_DESCENT,),
        "residual_frequency",
        Relation.AT_LEAST,
        5.0,
        0.0,
        "Low frequencies are learned first: what is left has a higher mean frequency than the target.",
        "Rahaman et al. 2019, arXiv:1806.08734",
        Basis.OBSERVATION,
    ),
)
