"""All predictions, in the order of tasks' families."""

from __future__ import annotations

from suite.predictions import factorised, features, functions, linear, margins, sequences, stability, valleys
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
)
