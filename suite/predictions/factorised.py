"""Factorised models: which interpolator, which rank."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, LIMIT, Basis, Measured, Prediction, Relation

WOODWORTH = "Woodworth et al. 2020, arXiv:2002.09277"
GUNASEKAR = "Gunasekar et al. 2017, arXiv:1705.09280"
PESME = "Pesme et al. 2021, arXiv:2106.09524"
CONTINUOUS = "proved for a model of the noise in continuous time"

FLOW = (Method.GRADIENT_DESCENT, Method.NORMALIZED)
"""Both follow the path of gradient flow if their steps are short; momentum has a path of its own."""

PREDICTIONS = (
    *(
        Prediction(
            f"sparse_regression{variant}",
            FLOW,
            "potential_distance",
            Relation.AT_MOST,
            LIMIT,
            0.0,
            "Gradient flow finds the interpolator of least hyperbolic entropy.",
            WOODWORTH,
            unmet="steps are not infinitesimal",
        )
        for variant in ("[alpha=1.0]", "", "[alpha=0.01]")
    ),
    Prediction(
        "late_phase_sparse",
        (Method.GRADIENT_DESCENT,),
        "l1_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "After the fit a small decay leads on to the solution of least norm of the weights, which is sparse.",
        "Lyu et al. 2024, arXiv:2311.18817",
    ),
    *(
        Prediction(
            "stochastic_sparse",
            (Method.GRADIENT_DESCENT,),
            measure,
            Relation.AT_MOST,
            value,
            0.0,
            statement,
            PESME,
            unmet=CONTINUOUS,
        )
        for measure, value, statement in (
            ("effective_distance", LIMIT, "The limit is gradient flow's from the smaller start that the noise makes."),
            ("alpha_ratio", 1.0, "Noise acts as a smaller initialization."),
            ("recovery_error", Measured("flow_recovery_error"), "Noise leads closer to the sparse teacher than flow."),
        )
    ),
    *(
        Prediction(
            "matrix_completion" + ("[init=1.0]" if large else ""),
            FLOW,
            "nuclear_ratio",
            Relation.AT_LEAST if large else Relation.EQUALS,
            1.0 + LIMIT if large else 1.0,
            0.0 if large else LIMIT,
            "From a large initialization the nuclear norm is not minimal."
            if large
            else "From small initialization the nuclear norm is minimal.",
            GUNASEKAR,
            Basis.CONJECTURE,
        )
        for large in (False, True)
    ),
    Prediction(
        "matrix_completion[depth=1]",
        (*FLOW, Method.MOMENTUM, Method.NESTEROV, Method.SAM, Method.SIGN, Method.LION, Method.ADAM),
        "unobserved_error",
        Relation.EQUALS,
        1.0,
        EXACT,
        "Without a factorisation entries that are not observed have no gradient and never move.",
        GUNASEKAR,
    ),
)
