"""Features that networks find."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import Measured, Prediction, Relation

VASUDEVA = "Vasudeva et al. 2025, arXiv:2505.24022"
DEPAVIA = "DePavia et al. 2025, arXiv:2510.23804"

POPULATION = "proved for signs of population gradients of the linear loss"

PREDICTIONS = (
    Prediction(
        "rich_mixture",
        (Method.ADAM, Method.SIGN),
        "test_error",
        Relation.AT_MOST,
        Measured("test_error", Method.GRADIENT_DESCENT),
        0.0,
        "Entrywise steps use the feature that a line cannot, and end closer to the Bayes classifier.",
        VASUDEVA,
        unmet=POPULATION,
    ),
    Prediction(
        "rich_mixture[rotation=45.0]",
        (Method.ADAM, Method.SIGN),
        "test_error",
        Relation.AT_LEAST,
        Measured("test_error", Method.GRADIENT_DESCENT),
        0.0,
        "On turned inputs entrywise steps end farther from the Bayes classifier than gradient descent.",
        DEPAVIA,
        unmet=POPULATION,
    ),
)
