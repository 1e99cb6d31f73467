"""Factorised models: which interpolator, which rank."""

from __future__ import annotations

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, LIMIT, Measured, Prediction, Relation

GUNASEKAR = "Gunasekar et al. 2017, arXiv:1705.09280"
PESME = "Pesme et al. 2021, arXiv:2106.09524"
CONTINUOUS = "proved for a model of the noise in continuous time"

WOODWORTH = "Woodworth et al. 2020, arXiv:2002.09277"

ENTROPY = Claim(
    "hyperbolic-entropy",
    "Gradient flow finds the interpolator of least hyperbolic entropy.",
    WOODWORTH,
)
KERNEL_TO_RICH = Claim(
    "kernel-to-rich",
    "The smaller the initialization, the smaller the l1 norm of the interpolator: from the kernel regime to the rich.",
    WOODWORTH,
)
LATE_PHASE = Claim(
    "late-phase-sparse",
    "After the fit a small decay leads on to the solution of least norm of the weights, which is sparse.",
    "Lyu et al. 2024, arXiv:2311.18817",
)
EFFECTIVE_START = Claim(
    "noise-effective-start", "The limit is gradient flow's from the smaller start that the noise makes.", PESME
)
SMALLER_START = Claim("noise-smaller-start", "Noise acts as a smaller initialization.", PESME)
NOISE_RECOVERS = Claim("noise-recovers", "Noise leads closer to the sparse teacher than flow.", PESME)
NUCLEAR_SMALL = Claim(
    "nuclear-norm-small-start", "From small initialization the nuclear norm is minimal.", GUNASEKAR, Basis.CONJECTURE
)
NUCLEAR_LARGE = Claim(
    "nuclear-norm-large-start",
    "From a large initialization the nuclear norm is not minimal.",
    GUNASEKAR,
    Basis.CONJECTURE,
)
DEEPER_RANK = Claim(
    "deeper-lower-rank",
    "The deeper the factorisation, the closer its completion to a matrix of low rank.",
    "Arora et al. 2019, arXiv:1905.13655",
    Basis.OBSERVATION,
)
UNOBSERVED = Claim(
    "unobserved-entries",
    "Without a factorisation entries that are not observed have no gradient and never move.",
    GUNASEKAR,
)

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
            ENTROPY,
            "steps are not infinitesimal",
        )
        for variant in ("[alpha=1.0]", "", "[alpha=0.01]")
    ),
    Prediction(
        "sparse_regression[alpha=1.0]",
        FLOW,
        "l1_ratio",
        Relation.AT_LEAST,
        Measured("l1_ratio", task="sparse_regression[alpha=0.01]"),
        0.0,
        KERNEL_TO_RICH,
        "steps are not infinitesimal",
        retrospective=True,
    ),
    Prediction("late_phase_sparse", (Method.GRADIENT_DESCENT,), "l1_ratio", Relation.EQUALS, 1.0, LIMIT, LATE_PHASE),
    *(
        Prediction(
            "stochastic_sparse", (Method.GRADIENT_DESCENT,), measure, Relation.AT_MOST, value, 0.0, claim, CONTINUOUS
        )
        for measure, value, claim in (
            ("effective_distance", LIMIT, EFFECTIVE_START),
            ("alpha_ratio", 1.0, SMALLER_START),
            ("recovery_error", Measured("flow_recovery_error"), NOISE_RECOVERS),
        )
    ),
    Prediction("matrix_completion", FLOW, "nuclear_ratio", Relation.EQUALS, 1.0, LIMIT, NUCLEAR_SMALL),
    Prediction(
        "matrix_completion[init=1.0]", FLOW, "nuclear_ratio", Relation.AT_LEAST, 1.0 + LIMIT, 0.0, NUCLEAR_LARGE
    ),
    Prediction(
        "matrix_completion[depth=3]",
        (Method.GRADIENT_DESCENT,),
        "unobserved_error",
        Relation.AT_MOST,
        Measured("unobserved_error", task="matrix_completion"),
        0.0,
        DEEPER_RANK,
        retrospective=True,
    ),
    Prediction(
        "matrix_completion[depth=1]",
        (*FLOW, Method.MOMENTUM, Method.NESTEROV, Method.SAM, Method.SIGN, Method.LION, Method.ADAM),
        "unobserved_error",
        Relation.EQUALS,
        1.0,
        EXACT,
        UNOBSERVED,
    ),
)
