"""What the study asks, fixed before the runs: the properties that are explained, and the claims that are tested."""

from __future__ import annotations

from leaderboard.study.claims import Claim

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

CLAIMS = (
    Claim(
        "small batches, flat minima",
        "SGD with small batches ends in flatter minima than with large ones.",
        "Keskar et al. 2017, arXiv:1609.04836",
        "batch",
        20,
        200,
        "adaptive_sharpness",
        where={"optimizer": "sgd"},
    ),
    Claim(
        "small batches, small lambda_max",
        "The same for the raw largest eigenvalue of the Hessian.",
        "Keskar et al. 2017, arXiv:1609.04836",
        "batch",
        20,
        200,
        "lambda_max",
        where={"optimizer": "sgd"},
    ),
    Claim(
        "large steps, flat minima",
        "SGD with large steps ends in flatter minima than with small ones.",
        "Cohen et al. 2021, arXiv:2103.00065; Mulayoff et al. 2021",
        "step",
        "large",
        "small",
        "adaptive_sharpness",
        where={"optimizer": "sgd"},
    ),
    Claim(
        "SGD prefers flat minima",
        "SGD ends in flatter minima than Adam.",
        "Zhou et al. 2020, arXiv:2010.05627",
        "optimizer",
        "sgd",
        "adam",
        "adaptive_sharpness",
    ),
    Claim(
        "deeper is smoother",
        "Deeper networks learn smoother functions (less gradient in the input).",
        "the claim of this benchmark's founding question",
        "depth",
        3,
        1,
        "input_gradient_norm",
    ),
    Claim(
        "small initialization, simple solutions",
        "Networks that start small learn smoother functions than networks that start large.",
        "Woodworth et al. 2020, arXiv:2002.09277; Chizat et al. 2019, arXiv:1812.07956",
        "scale",
        0.5,
        2.0,
        "input_gradient_norm",
    ),
    Claim(
        "small initialization generalizes",
        "Networks that start small make fewer errors than networks that start large.",
        "Chizat et al. 2019, arXiv:1812.07956",
        "scale",
        0.5,
        2.0,
        "test_error",
        log=False,
    ),
    Claim(
        "adaptive methods generalize worse",
        "Adam makes more errors than SGD.",
        "Wilson et al. 2017, arXiv:1705.08292",
        "optimizer",
        "adam",
        "sgd",
        "test_error",
        log=False,
        more=True,
    ),
)
