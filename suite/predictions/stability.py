"""The edge of stability."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Prediction, Relation

PREDICTIONS = (
    Prediction(
        "edge_of_stability",
        (Method.GRADIENT_DESCENT,),
        "stability_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "Sharpness rises to 2 over the step size and hovers there.",
        "Cohen et al. 2021, arXiv:2103.00065",
        Basis.OBSERVATION,
    ),
)
