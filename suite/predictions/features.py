"""Features that networks find."""

from __future__ import annotations

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Measured, Prediction, Relation

VASUDEVA = "Vasudeva et al. 2025, arXiv:2505.24022"
DEPAVIA = "DePavia et al. 2025, arXiv:2510.23804"

ZHAO = "Zhao et al. 2026, arXiv:2602.16642"
ZHU = "Zhu et al. 2021, arXiv:2105.02375"
TVEIT = "Tveit et al. 2025, arXiv:2504.16041"
POWER = "Power et al. 2022, arXiv:2201.02177"
MORWANI = "Morwani et al. 2023, arXiv:2311.07568"

PENALTY = "proved for minimizers with a small L_{2,3} penalty"
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
    Prediction(
        "neural_collapse",
        (Method.GRADIENT_DESCENT, Method.MOMENTUM),
        "row_sum",
        Relation.AT_MOST,
        LIMIT,
        0.0,
        "The cross-entropy has no gradient along the sum of the classifier's rows, and coupled decay makes it vanish.",
        ZHAO,
    ),
    Prediction(
        "neural_collapse",
        (Method.ADAM,),
        "row_sum",
        Relation.AT_MOST,
        LIMIT,
        0.0,
        "With coupled decay the sum of the classifier's rows vanishes.",
        ZHAO,
        Basis.OBSERVATION,
    ),
    Prediction(
        "neural_collapse",
        (Method.ADAMW,),
        "row_sum",
        Relation.AT_LEAST,
        Measured("row_sum", Method.ADAM),
        0.0,
        "With decoupled decay the sum of the classifier's rows need not vanish.",
        ZHAO,
        Basis.OBSERVATION,
        unmet="proved for sign descent",
    ),
    Prediction(
        "neural_collapse",
        (Method.GRADIENT_DESCENT,),
        "etf_distance",
        Relation.AT_MOST,
        LIMIT,
        0.0,
        "All minimizers are collapsed, all other critical points strict saddles: class means form a simplex ETF.",
        ZHU,
    ),
    Prediction(
        "modular_margin",
        (Method.GRADIENT_DESCENT,),
        "margin_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "The network of largest margin is found.",
        MORWANI,
        Basis.CONJECTURE,
        unmet=PENALTY,
    ),
    Prediction(
        "modular_margin",
        (Method.GRADIENT_DESCENT,),
        "frequency_share",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "Every neuron is a wave of one frequency.",
        MORWANI,
        Basis.CONJECTURE,
        unmet=PENALTY,
    ),
    Prediction(
        "modular_addition",
        (Method.MUON,),
        "test_error",
        Relation.AT_MOST,
        Measured("test_error", Method.ADAM),
        0.0,
        "Muon finds the rule sooner than AdamW.",
        TVEIT,
        Basis.OBSERVATION,
        unmet="observed on a transformer with decay",
    ),
    *(
        Prediction(
            "modular_addition[decay=0.001]",
            (Method.ADAM,),
            measure,
            relation,
            value,
            tolerance,
            "With decay the rule is found after the fit.",
            POWER,
            Basis.OBSERVATION,
        )
        for measure, relation, value, tolerance in (
            ("sum_share", Relation.EQUALS, 1.0, LIMIT),
            ("test_error", Relation.AT_MOST, LIMIT, 0.0),
        )
    ),
)
