"""The study's frame -> all its findings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leaderboard.study.contrasts import Outcome, judge
from leaderboard.study.effects import Effect, effects
from leaderboard.study.frame import FACTORS, varied
from leaderboard.study.prediction import Prediction, predict
from leaderboard.study.preregistered import CONTRASTS, PREDICTORS, PROPERTIES, RESPONSE
from leaderboard.study.universality import Universality, universality

SEED = 20201116
"""Of the generator that draws every bootstrap of the analysis."""

TEST_POINTS = 2_000
"""Samples that the test error is taken over."""


@dataclass(frozen=True)
class Findings:
    """The results of all analyses.

    Attributes:
        converged: how many of the `runs` reached the target loss; the others are counted only.
        missed: optimizer and step size -> how many of its runs missed the target loss.
        effects: property -> its analysis of variance, largest share first.
        universality: property -> how alike the variants of the task rank submissions by it.
        predictions: how well each of `PREDICTORS` predicts the test error.
        outcomes: what became of each of `CONTRASTS`.
        factors: those that vary.
    """

    runs: int
    converged: int
    missed: dict[str, int]
    effects: dict[str, list[Effect]]
    universality: dict[str, Universality]
    predictions: list[Prediction]
    outcomes: list[Outcome]
    factors: list[str]


def _ranking(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Minus the mean of `measure` [task variants, submissions], so that larger is better; no gaps."""
    tasks = [name for name in FACTORS if name not in ("optimizer", "step")]
    keyed = frame.assign(
        task=frame[tasks].astype(str).agg(" ".join, axis=1),
        submission=frame["optimizer"] + " " + frame["step"],
    )
    return -keyed.pivot_table(index="task", columns="submission", values=measure).dropna()


def analyse(frame: pd.DataFrame) -> Findings:
    """All analyses of the study, of a `frame.study_frame`; runs that missed the target loss are counted only."""
    generator = np.random.default_rng(SEED)
    factors = varied(frame, FACTORS)
    converged, missed = frame[frame["converged"]], frame[~frame["converged"]]
    logs = {name: np.log(converged[name].clip(lower=1e-30)) for name in PROPERTIES if name != RESPONSE}
    transformed = converged.assign(**logs)
    # Two standard errors of the difference between two test errors of a fifth on the test points.
    noise = 2 * math.sqrt(2 * 0.2 * 0.8 / TEST_POINTS)
    return Findings(
        runs=len(frame),
        converged=len(converged),
        missed=dict(Counter((missed["optimizer"] + " " + missed["step"]).tolist())),
        effects={name: effects(transformed, name, factors) for name in PROPERTIES},
        universality={name: universality(_ranking(transformed, name), generator) for name in PROPERTIES},
        predictions=[predict(converged, name, RESPONSE, factors, generator, noise) for name in PREDICTORS],
        outcomes=[judge(converged, contrast, factors) for contrast in CONTRASTS],
        factors=factors,
    )
