"""Valleys of minima: who stays, and who drifts to flatter points."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Measured, Prediction, Relation

ARORA = "Arora, Li and Panigrahi 2022, arXiv:2205.09745"
WEN = "Wen et al. 2023, arXiv:2211.05729"
LI = "Li, Wang and Arora 2022, arXiv:2110.06914"
LI_ADAM = "Li, Wen and Lyu 2025, arXiv:2511.02773"

SMALL_STEPS = "proved in the limit of small steps"
BOUND = "the least value is not known: the reference is the lowest that was found"

GRADIENT_DESCENT, ADAM = (Method.GRADIENT_DESCENT,), (Method.ADAM,)

FLOW_STAYS = Claim("flow-stays", "Gradient flow conserves |u + v|² |u - v|² and stays where it lands.", ARORA)
NORMALIZED_DRIFTS = Claim(
    "normalized-drifts",
    "Steps of constant length lead on to flatter points than gradient flow's limit.",
    ARORA,
)
SAM_DRIFTS = Claim(
    "sam-drifts", "Steps at a perturbed point lead on to flatter points than gradient flow's limit.", WEN
)
LABEL_NOISE = Claim("label-noise-trace", "Label noise leads to the least trace of the Hessian.", LI)
LABEL_NOISE_ADAM = Claim(
    "label-noise-adam",
    "Under Adam label noise leads to the least trace of the square root of the Hessian's diagonal.",
    LI_ADAM,
)
ADAM_OWN_FLATNESS = Claim(
    "label-noise-adam-own",
    "Where the two flattest points differ Adam is flatter than gradient descent in its own sense.",
    LI_ADAM,
    Basis.CONJECTURE,
)
TRACE_OWN_FLATNESS = Claim(
    "label-noise-trace-own",
    "Where the two flattest points differ gradient descent is flatter than Adam in the trace.",
    LI,
    Basis.CONJECTURE,
)

NETWORK_SAM = Claim(
    "network-valley-sam",
    "In the valley of a network SAM ends at a smaller largest eigenvalue of the Hessian than gradient descent.",
    WEN,
    Basis.CONJECTURE,
)
NETWORK_NORMALIZED = Claim(
    "network-valley-normalized",
    "In the valley of a network steps of constant length end at a smaller largest eigenvalue of the Hessian than "
    "gradient descent.",
    ARORA,
    Basis.CONJECTURE,
)
ADAM_SPARSER = Claim(
    "label-noise-adam-sparser",
    "On diagonal networks label noise leads Adam closer to the sparse truth than gradient descent.",
    LI_ADAM,
    Basis.CONJECTURE,
)
ADAM_MATRIX = Claim(
    "label-noise-adam-matrix",
    "On factored matrices label noise leads Adam less close to the truth of low rank than gradient descent.",
    LI_ADAM,
    Basis.CONJECTURE,
)

PREDICTIONS = (
    Prediction(
        "valley_scalar",
        GRADIENT_DESCENT,
        "curvature_ratio",
        Relation.EQUALS,
        Measured("flow_ratio"),
        LIMIT,
        FLOW_STAYS,
        "steps are not infinitesimal",
    ),
    *(
        Prediction(
            "valley_scalar",
            (method,),
            "curvature_ratio",
            Relation.AT_MOST,
            Measured("flow_ratio"),
            0.0,
            claim,
            SMALL_STEPS,
        )
        for method, claim in ((Method.NORMALIZED, NORMALIZED_DRIFTS), (Method.SAM, SAM_DRIFTS))
    ),
    *(
        Prediction(task, GRADIENT_DESCENT, "trace_ratio", Relation.EQUALS, 1.0, LIMIT, LABEL_NOISE, SMALL_STEPS)
        for task in ("valley_sparse", "valley_matrix")
    ),
    *(
        Prediction(
            task,
            ADAM,
            "root_trace_ratio",
            Relation.EQUALS,
            1.0,
            LIMIT,
            LABEL_NOISE_ADAM,
            f"{SMALL_STEPS} and of beta2 to 1{unknown}",
        )
        for task, unknown in (("valley_sparse", ""), ("valley_matrix", f"; {BOUND}"))
    ),
    Prediction(
        "valley_matrix",
        ADAM,
        "root_trace_ratio",
        Relation.AT_MOST,
        Measured("root_trace_ratio", Method.GRADIENT_DESCENT),
        0.0,
        ADAM_OWN_FLATNESS,
    ),
    Prediction(
        "valley_matrix",
        GRADIENT_DESCENT,
        "trace_ratio",
        Relation.AT_MOST,
        Measured("trace_ratio", Method.ADAM),
        0.0,
        TRACE_OWN_FLATNESS,
    ),
    *(
        Prediction(
            task,
            (method,),
            measure,
            relation,
            Measured(measure, Method.GRADIENT_DESCENT),
            0.0,
            claim,
            SMALL_STEPS,
            retrospective=True,
        )
        for task, method, measure, relation, claim in (
            ("valley_relu", Method.SAM, "lambda_max", Relation.AT_MOST, NETWORK_SAM),
            ("valley_relu", Method.NORMALIZED, "lambda_max", Relation.AT_MOST, NETWORK_NORMALIZED),
            ("valley_sparse", Method.ADAM, "recovery_error", Relation.AT_MOST, ADAM_SPARSER),
            ("valley_matrix", Method.ADAM, "recovery_error", Relation.AT_LEAST, ADAM_MATRIX),
        )
    ),
)
