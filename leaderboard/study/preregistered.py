"""What the study asks, fixed before the runs: the properties that are explained, and the claims, as contrasts."""

from __future__ import annotations

from leaderboard.study.contrasts import Contrast
from suite.predictions import Basis, Claim
from suite.predictions.images import ADAPTIVE_ERRORS, SMALL_BATCH_EIGENVALUE, SMALL_BATCH_FLAT

PROPERTIES = {
    "adaptive_sharpness": "flatness",
    "lambda_max": "raw curvature (rescaling moves it)",
    "l2_norm": "norm",
    "input_gradient_norm": "smoothness",
    "test_error": "generalization",
}
"""Measures whose variance is explained, and what they stand for. All but the test error are taken as logarithms."""

PREDICTORS = (
    "adaptive_sharpness",
    "adaptive_lambda_max",
    "adaptive_trace",
    "lambda_max",
    "hessian_trace",
    "l2_norm",
    "distance_from_initialization",
    "input_gradient_norm",
)
"""Measures that may predict the test error; a larger one should go with a larger error."""

RESPONSE = "test_error"
"""What they are to predict."""

CHIZAT = "Chizat et al. 2019, arXiv:1812.07956"

LARGE_STEPS = Claim(
    "large-steps-flat",
    "SGD with large steps ends in flatter minima than with small ones.",
    "Cohen et al. 2021, arXiv:2103.00065; Mulayoff et al. 2021",
    Basis.OBSERVATION,
)
SGD_FLATTER = Claim(
    "sgd-flatter-than-adam",
    "SGD ends in flatter minima than Adam.",
    "Zhou et al. 2020, arXiv:2010.05627",
    Basis.OBSERVATION,
)
DEEPER_SMOOTHER = Claim(
    "deeper-smoother",
    "Deeper networks learn smoother functions (less gradient in the input).",
    "the claim of this benchmark's founding question",
    Basis.CONJECTURE,
)
SMALL_START_SMOOTH = Claim(
    "small-start-smooth",
    "Networks that start small learn smoother functions than networks that start large.",
    f"Woodworth et al. 2020, arXiv:2002.09277; {CHIZAT}",
    Basis.CONJECTURE,
)
SMALL_START_ERRORS = Claim(
    "small-start-errs-less",
    "Networks that start small make fewer errors than networks that start large.",
    CHIZAT,
    Basis.OBSERVATION,
)

CONTRASTS = (
    Contrast(
        "small batches, flat minima",
        SMALL_BATCH_FLAT,
        "batch",
        20,
        200,
        "adaptive_sharpness",
        where={"optimizer": "sgd"},
    ),
    Contrast(
        "small batches, small lambda_max",
        SMALL_BATCH_EIGENVALUE,
        "batch",
        20,
        200,
        "lambda_max",
        where={"optimizer": "sgd"},
    ),
    Contrast(
        "large steps, flat minima",
        LARGE_STEPS,
        "step",
        "large",
        "small",
        "adaptive_sharpness",
        where={"optimizer": "sgd"},
    ),
    Contrast(
        "SGD prefers flat minima",
        SGD_FLATTER,
        "optimizer",
        "sgd",
        "adam",
        "adaptive_sharpness",
    ),
    Contrast(
        "deeper is smoother",
        DEEPER_SMOOTHER,
        "depth",
        3,
        1,
        "input_gradient_norm",
    ),
    Contrast(
        "small initialization, simple solutions",
        SMALL_START_SMOOTH,
        "scale",
        0.5,
        2.0,
        "input_gradient_norm",
    ),
    Contrast(
        "small initialization generalizes",
        SMALL_START_ERRORS,
        "scale",
        0.5,
        2.0,
        "test_error",
        log=False,
    ),
    Contrast(
        "adaptive methods generalize worse",
        ADAPTIVE_ERRORS,
        "optimizer",
        "adam",
        "sgd",
        "test_error",
        log=False,
        more=True,
    ),
)
