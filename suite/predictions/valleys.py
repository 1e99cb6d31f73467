"""Valleys of minima: who stays, and who drifts to flatter points."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Measured, Prediction, Relation

ARORA = "Arora, Li and Panigrahi 2022, arXiv:2205.09745"
WEN = "Wen et al. 2023, arXiv:2211.05729"
LI = "Li, Wang and Arora 2022, arXiv:2110.06914"
LI_ADAM = "Li, Wen and Lyu 2025, arXiv:2511.02773"

SMALL_STEPS = "proved in the limit of small steps"
BOUND = "the least value is not known: the reference is the lowest that was found"

PREDICTIONS = (
    Prediction(
        "valley_scalar",
        (Method.GRADIENT_DESCENT,),
        "curvature_ratio",
        Relation.EQUALS,
        Measured("flow_ratio"),
        LIMIT,
        "Gradient flow conserves |u + v|² |u - v|² and stays where it lands.",
        ARORA,
        unmet="steps are not infinitesimal",
    ),
    *(
        Prediction(
            "valley_scalar",
            (method,),
            "curvature_ratio",
            Relation.AT_MOST,
            Measured("flow_ratio"),
            0.0,
            "Steps of constant length, or at a perturbed point, lead on to flatter points than gradient flow's limit.",
            source,
            unmet=SMALL_STEPS,
        )
        for method, source in ((Method.NORMALIZED, ARORA), (Method.SAM, WEN))
    ),
    *(
        Prediction(
            task,
            (Method.GRADIENT_DESCENT,),
            "trace_ratio",
            Relation.EQUALS,
            1.0,
            LIMIT,
            "Label noise leads to the least trace of the Hessian.",
            LI,
            unmet=SMALL_STEPS,
        )
        for task in ("valley_sparse", "valley_matrix")
    ),
    *(
        Prediction(
            task,
            (Method.ADAM,),
            "root_trace_ratio",
            Relation.EQUALS,
            1.0,
            LIMIT,
            "Under Adam label noise leads to the least trace of the square root of the Hessian's diagonal.",
            LI_ADAM,
            unmet=f"{SMALL_STEPS} and of beta2 to 1{unknown}",
        )
        for task, unknown in (("valley_sparse", ""), ("valley_matrix", f"; {BOUND}"))
    ),
    Prediction(
        "valley_matrix",
        (Method.ADAM,),
        "root_trace_ratio",
        Relation.AT_MOST,
        Measured("root_trace_ratio", Method.GRADIENT_DESCENT),
        0.0,
        "Where the two flattest points differ Adam is flatter than gradient descent in its own sense.",
        LI_ADAM,
        Basis.CONJECTURE,
    ),
    Prediction(
        "valley_matrix",
        (Method.GRADIENT_DESCENT,),
        "trace_ratio",
        Relation.AT_MOST,
        Measured("trace_ratio", Method.ADAM),
        0.0,
        "Where the two flattest points differ gradient descent is flatter than Adam in the trace.",
        LI,
        Basis.CONJECTURE,
    ),
)
