"""Features that networks find."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Measured, Prediction, Relation

ZHAO = "Zhao et al. 2026, arXiv:2602.16642"
MORWANI = "Morwani et al. 2023, arXiv:2311.07568"

PENALTY = "proved for minimizers with a small L_{2,3} penalty"
POPULATION = "proved for signs of population gradients of the linear loss"

GRADIENT_DESCENT, ADAM = (Method.GRADIENT_DESCENT,), (Method.ADAM,)

ENTRYWISE_BEND = Claim(
    "mixture-entrywise-bend",
    "Entrywise steps use the feature that a line cannot, and end closer to the Bayes classifier.",
    "Vasudeva et al. 2025, arXiv:2505.24022",
)
ROTATED = Claim(
    "mixture-rotated",
    "On turned inputs entrywise steps end farther from the Bayes classifier than gradient descent.",
    "DePavia et al. 2025, arXiv:2510.23804",
)
COUPLED = Claim(
    "collapse-coupled-decay",
    "The cross-entropy has no gradient along the sum of the classifier's rows, and coupled decay makes it vanish.",
    ZHAO,
)
COUPLED_ADAM = Claim(
    "collapse-coupled-adam",
    "With coupled decay the sum of the classifier's rows vanishes.",
    ZHAO,
    Basis.OBSERVATION,
)
DECOUPLED = Claim(
    "collapse-decoupled",
    "With decoupled decay the sum of the classifier's rows need not vanish.",
    ZHAO,
    Basis.OBSERVATION,
)
ETF = Claim(
    "collapse-etf",
    "All minimizers are collapsed, all other critical points strict saddles: class means form a simplex ETF.",
    "Zhu et al. 2021, arXiv:2105.02375",
)
ADDITION_MARGIN = Claim("addition-margin", "The network of largest margin is found.", MORWANI, Basis.CONJECTURE)
ADDITION_WAVES = Claim("addition-waves", "Every neuron is a wave of one frequency.", MORWANI, Basis.CONJECTURE)
MUON_GROKS = Claim(
    "muon-groks",
    "Muon finds the rule sooner than AdamW.",
    "Tveit et al. 2025, arXiv:2504.16041",
    Basis.OBSERVATION,
    "abstract",
)
GROKKING = Claim(
    "decay-groks",
    "With decay the rule is found after the fit.",
    "Power et al. 2022, arXiv:2201.02177",
    Basis.OBSERVATION,
)

LAZY_STUDENT = Claim(
    "lazy-student",
    "From large initial weights training is lazy: the student stays farther from its teacher than from small ones.",
    "Chizat et al. 2019, arXiv:1812.07956",
    Basis.CONJECTURE,
)

PREDICTIONS = (
    Prediction(
        "teacher_student[scale=1.0]",
        GRADIENT_DESCENT,
        "teacher_distance",
        Relation.AT_LEAST,
        Measured("teacher_distance", task="teacher_student"),
        0.0,
        LAZY_STUDENT,
        retrospective=True,
    ),
    *(
        Prediction(
            f"rich_mixture{variant}",
            (Method.ADAM, Method.SIGN),
            "test_error",
            relation,
            Measured("test_error", Method.GRADIENT_DESCENT),
            0.0,
            claim,
            POPULATION,
        )
        for variant, relation, claim in (
            ("", Relation.AT_MOST, ENTRYWISE_BEND),
            ("[rotation=45.0]", Relation.AT_LEAST, ROTATED),
        )
    ),
    Prediction(
        "neural_collapse",
        (Method.GRADIENT_DESCENT, Method.MOMENTUM),
        "row_sum",
        Relation.AT_MOST,
        LIMIT,
        0.0,
        COUPLED,
    ),
    Prediction("neural_collapse", ADAM, "row_sum", Relation.AT_MOST, LIMIT, 0.0, COUPLED_ADAM),
    Prediction(
        "neural_collapse",
        (Method.ADAMW,),
        "row_sum",
        Relation.AT_LEAST,
        Measured("row_sum", Method.ADAM),
        0.0,
        DECOUPLED,
        "proved for sign descent",
    ),
    Prediction("neural_collapse", GRADIENT_DESCENT, "etf_distance", Relation.AT_MOST, LIMIT, 0.0, ETF),
    Prediction(
        "modular_margin", GRADIENT_DESCENT, "margin_ratio", Relation.EQUALS, 1.0, LIMIT, ADDITION_MARGIN, PENALTY
    ),
    Prediction(
        "modular_margin", GRADIENT_DESCENT, "frequency_share", Relation.EQUALS, 1.0, LIMIT, ADDITION_WAVES, PENALTY
    ),
    Prediction(
        "modular_addition",
        (Method.MUON,),
        "test_error",
        Relation.AT_MOST,
        Measured("test_error", Method.ADAM),
        0.0,
        MUON_GROKS,
        "observed on a transformer with decay",
    ),
    Prediction("modular_addition[decay=0.001]", ADAM, "sum_share", Relation.EQUALS, 1.0, LIMIT, GROKKING),
    Prediction("modular_addition[decay=0.001]", ADAM, "test_error", Relation.AT_MOST, LIMIT, 0.0, GROKKING),
)
