"""Linear regression: who stays in the span of the gradients."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, Measured, Prediction, Relation

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
TRAP = "section 3.3"

MIN_NORM = Claim("min-norm-span", "Steps in the row space lead to the interpolator of least l2 norm.", GUNASEKAR)
LEAVES_SPAN = Claim(
    "entrywise-leave-span",
    "Steps that treat entries one by one leave the row space, and the solution is another.",
    f"{GUNASEKAR}; {WILSON}",
)
BENIGN = Claim(
    "benign-overfitting",
    "The risk is that of the minimum-norm interpolator, which fits noise harmlessly here.",
    "Bartlett et al. 2020, arXiv:1906.11300",
)
MEMORY = Claim("initialization-memory", "The limit is the interpolator nearest to the initial weights.", GUNASEKAR)
SPAN_PERFECT = Claim(
    "trap-span-perfect", "The minimum-norm interpolator classifies all new points correctly.", WILSON, place=TRAP
)
ADAPTIVE_MAJORITY = Claim(
    "trap-adaptive-majority",
    "Adaptive methods stay proportional to sign(X'y) and predict the majority.",
    WILSON,
    place=TRAP,
)
ENTRYWISE_MAJORITY = Claim(
    "trap-entrywise-majority",
    "As adaptive methods: the first step is along sign(X'y), and features that are alike stay alike.",
    WILSON,
    Basis.CONJECTURE,
    TRAP,
)

PREDICTIONS = (
    *(
        Prediction(task, SPAN, "excess_norm", Relation.AT_MOST, EXACT, 0.0, MIN_NORM)
        for task in ("min_norm_regression", "benign_overfitting", "sobolev_interpolation")
    ),
    Prediction("min_norm_regression", ENTRYWISE, "excess_norm", Relation.AT_LEAST, EXACT, 0.0, LEAVES_SPAN),
    Prediction("benign_overfitting", SPAN, "excess_risk", Relation.EQUALS, Measured("min_norm_risk"), EXACT, BENIGN),
    Prediction("init_memory", SPAN, "limit_distance", Relation.AT_MOST, EXACT, 0.0, MEMORY),
    Prediction("adaptive_trap", SPAN, "test_error", Relation.AT_MOST, 0.0, 0.0, SPAN_PERFECT),
    Prediction("adaptive_trap", (Method.ADAM,), "test_error", Relation.EQUALS, 0.4, EXACT, ADAPTIVE_MAJORITY),
    Prediction(
        "adaptive_trap",
        (Method.SIGN, Method.LION, Method.ADAMW),
        "test_error",
        Relation.EQUALS,
        0.4,
        EXACT,
        ENTRYWISE_MAJORITY,
    ),
)
