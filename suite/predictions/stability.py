"""The edge of stability."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Prediction, Relation

COHEN = "Cohen et al. 2021, arXiv:2103.00065"

PREDICTIONS = tuple(
    Prediction(task, methods, measure, Relation.EQUALS, 1.0, LIMIT, statement, source, Basis.OBSERVATION)
    for task, methods, measure, statement, source in (
        (
            "edge_of_stability",
            (Method.GRADIENT_DESCENT,),
            "stability_ratio",
            "Sharpness rises to 2 over the step size and hovers there.",
            COHEN,
        ),
        (
            "edge_of_stability",
            (Method.MOMENTUM,),
            "heavy_ball_ratio",
            "Sharpness rises to (2 + 2 momentum) over the step size and hovers there.",
            COHEN,
        ),
        (
            "edge_of_stability[batch=4]",
            (Method.GRADIENT_DESCENT,),
            "batch_sharpness_ratio",
            "On batches it is the batch sharpness that rises to 2 over the step size.",
            "Andreyev and Beneventano 2024, arXiv:2412.20553",
        ),
        (
            "adam_edge",
            (Method.ADAM,),
            "preconditioned_ratio",
            "The preconditioned Hessian's largest eigenvalue rises to Adam's edge and hovers there.",
            "Cohen et al. 2022, arXiv:2207.14484",
        ),
    )
)
