"""All predictions, in the order of tasks' families, and the claims that they test."""

from __future__ import annotations

from suite.predictions import factorised, features, functions, images, linear, margins, sequences, stability, valleys
from suite.predictions.claim import Claim
from suite.predictions.prediction import Prediction

PREDICTIONS: tuple[Prediction, ...] = (
    *linear.PREDICTIONS,
    *margins.PREDICTIONS,
    *sequences.PREDICTIONS,
    *factorised.PREDICTIONS,
    *features.PREDICTIONS,
    *functions.PREDICTIONS,
    *valleys.PREDICTIONS,
    *stability.PREDICTIONS,
    *images.PREDICTIONS,
)

CLAIMS: tuple[Claim, ...] = tuple(dict.fromkeys(prediction.claim for prediction in PREDICTIONS))
