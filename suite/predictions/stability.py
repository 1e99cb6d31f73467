"""The edge of stability."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Prediction, Relation

COHEN = "Cohen et al. 2021, arXiv:2103.00065"

EDGE = Claim("edge", "Sharpness rises to 2 over the step size and hovers there.", COHEN, Basis.OBSERVATION)
MOMENTUM_EDGE = Claim(
    "edge-momentum",
    "Sharpness rises to (2 + 2 momentum) over the step size and hovers there.",
    COHEN,
    Basis.OBSERVATION,
)
BATCH_EDGE = Claim(
    "edge-batch",
    "On batches it is the batch sharpness that rises to 2 over the step size.",
    "Andreyev and Beneventano 2024, arXiv:2412.20553",
    Basis.OBSERVATION,
)
ADAM_EDGE = Claim(
    "edge-adam",
    "The preconditioned Hessian's largest eigenvalue rises to Adam's edge, 38 over the step size, and hovers there.",
    "Cohen et al. 2022, arXiv:2207.14484",
    Basis.OBSERVATION,
)

PREDICTIONS = tuple(
    Prediction(task, (method,), measure, Relation.EQUALS, 1.0, LIMIT, claim)
    for task, method, measure, claim in (
        ("edge_of_stability", Method.GRADIENT_DESCENT, "stability_ratio", EDGE),
        ("edge_of_stability", Method.MOMENTUM, "heavy_ball_ratio", MOMENTUM_EDGE),
        ("edge_of_stability[batch=4]", Method.GRADIENT_DESCENT, "batch_sharpness_ratio", BATCH_EDGE),
        ("adam_edge", Method.ADAM, "preconditioned_ratio", ADAM_EDGE),
    )
)
