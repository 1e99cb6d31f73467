"""Linear regression: who stays in the span of the gradients."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, Basis, Measured, Prediction, Relation

SPAN = (
    Method.GRADIENT_DESCENT,
    Method.MOMENTUM,
    Method.NESTEROV,
    Method.NORMALIZED,
    Method.NORMALIZED_MOMENTUM,
    Method.SAM,
)
"""Their steps are combinations of gradients, which lie in the row space of the data."""

ENTRYWISE = (Method.SIGN, Method.LION, Method.ADAM, Method.ADAMW)
GUNASEKAR = "Gunasekar et al. 2018, arXiv:1802.08246"
WILSON = "Wilson et al. 2017, arXiv:1705.08292"

PREDICTIONS = (
    *(
        Prediction(
            task,
            SPAN,
            "excess_norm",
            Relation.AT_MOST,
            EXACT,
            0.0,
            "Steps in the row space lead to the interpolator of least l2 norm.",
            GUNASEKAR,
        )
        for task in ("min_norm_regression", "benign_overfitting", "sobolev_interpolation")
    ),
    Prediction(
        "min_norm_regression",
        ENTRYWISE,
        "excess_norm",
        Relation.AT_LEAST,
        EXACT,
        0.0,
        "Steps that treat entries one by one leave the row space, and the solution is another.",
        f"{GUNASEKAR}; {WILSON}",
    ),
    Prediction(
        "benign_overfitting",
        SPAN,
        "excess_risk",
        Relation.EQUALS,
        Measured("min_norm_risk"),
        EXACT,
        "The risk is that of the minimum-norm interpolator, which fits noise harmlessly here.",
        "Bartlett et al. 2020, arXiv:1906.11300",
    ),
    Prediction(
        "init_memory",
        SPAN,
        "limit_distance",
        Relation.AT_MOST,
        EXACT,
        0.0,
        "The limit is the interpolator nearest to the initial weights.",
        GUNASEKAR,
    ),
    Prediction(
        "adaptive_trap",
        SPAN,
        "test_error",
        Relation.AT_MOST,
        0.0,
        0.0,
        "The minimum-norm interpolator classifies all new points correctly.",
        WILSON,
    ),
    Prediction(
        "adaptive_trap",
        (Method.ADAM,),
        "test_error",
        Relation.EQUALS,
        0.4,
        EXACT,
        "Adaptive methods stay proportional to sign(X'y) and predict the majority.",
        WILSON,
    ),
    Prediction(
        "adaptive_trap",
        (Method.SIGN, Method.LION, Method.ADAMW),
        "test_error",
        Relation.EQUALS,
        0.4,
        EXACT,
        "As adaptive methods: the first step is along sign(X'y), and features that are alike stay alike.",
        WILSON,
        Basis.CONJECTURE,
    ),
)
