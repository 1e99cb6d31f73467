"""What the study's second edition asks, fixed before its runs; docs/study_plan.md says it in words.

Optimizers are crossed with the cells, so their contrasts compare runs that differ in nothing else. Each is judged at
both rules of choosing a step size (`leaderboard.study.speed`), and each of flatness on all measures of `FLATNESS`.
"""

from __future__ import annotations

from leaderboard.study.contrasts import Contrast
from leaderboard.study.preregistered import LARGE_STEPS, SGD_FLATTER
from suite.predictions import Basis, Claim
from suite.predictions.images import ADAPTIVE_ERRORS

CELL_FACTORS = ("data", "network", "depth", "width", "normalisation", "shortcut", "loss", "batch", "scale")
"""What the cells vary."""

RULES = ("tuned", "matched")
"""How the step size of a run was chosen."""

FLATNESS = {
    "canonical_sharpness": "no symmetry of the network moves it",
    "adaptive_sharpness": "as canonical_sharpness, but a shift of all logits moves it",
    "adaptive_lambda_max": "no rescaling moves it",
    "hessian_trace": "raw",
    "lambda_max": "raw",
}
"""Measures of flatness, from the invariant ones to the raw ones."""

MEASURES = (*FLATNESS, "l2_norm", "distance_from_initialization", "input_gradient_norm")
"""Predictors of the test error. With the test error they are also what factors explain."""

NEGLIGIBLE = {"test_error": 0.01}
"""A change that matters to nobody: a claim fails when its interval lies below it. Of logarithms: `NEGLIGIBLE_LOG`."""

NEGLIGIBLE_LOG = 0.05
"""Five percent of a measure that is compared by its logarithm."""

SAM_FLATTER = Claim(
    "sam-flatter",
    "SAM ends in flatter minima than SGD with momentum, which it wraps.",
    "Foret et al. 2021, arXiv:2010.01412",
    Basis.OBSERVATION,
)
MUON_FLATTER = Claim(
    "muon-flatter-than-adam",
    "Muon ends in flatter minima than Adam.",
    "what the first edition of this study saw",
    Basis.CONJECTURE,
)
DECAY_NORM = Claim(
    "decay-smaller-norm",
    "AdamW with decay 0.1 ends at a smaller norm than Adam.",
    "Loshchilov and Hutter 2019, arXiv:1711.05101",
    Basis.CONJECTURE,
)


def _at_both(
    name: str, claim: Claim, treatment: str, control: str, measure: str, log: bool = True, more: bool = False
) -> list[Contrast]:
    """A contrast of two optimizers at both rules."""
    return [
        Contrast(
            f"{name} ({measure}, {rule})", claim, "optimizer", treatment, control, measure, log, more, {"rule": rule}
        )
        for rule in RULES
    ]


SECOND_CONTRASTS = (
    *(
        contrast
        for name, claim, treatment, control in (
            ("SGD prefers flat minima", SGD_FLATTER, "sgd", "adam"),
            ("SAM prefers flat minima", SAM_FLATTER, "sam", "momentum"),
            ("Muon prefers flat minima", MUON_FLATTER, "muon", "adam"),
        )
        for measure in FLATNESS
        for contrast in _at_both(name, claim, treatment, control, measure)
    ),
    *_at_both("adaptive methods generalize worse", ADAPTIVE_ERRORS, "adam", "sgd", "test_error", log=False, more=True),
    *_at_both("decay keeps the norm small", DECAY_NORM, "adamw", "adam", "l2_norm"),
    *(
        Contrast(
            f"large steps, flat minima ({measure})", LARGE_STEPS, "rung", 3, 2, measure, where={"optimizer": "sgd"}
        )
        for measure in FLATNESS
    ),
)
"""Contrasts within cells. Those of steps are of neighbouring step sizes of SGD, a factor of 3.16 apart."""
