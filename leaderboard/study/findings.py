"""The study's frame -> everything that is found in it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from leaderboard.study.claims import Verdict, judge
from leaderboard.study.effects import Effect, effects
from leaderboard.study.factors import varied
from leaderboard.study.frame import FACTORS
from leaderboard.study.prediction import Prediction, predict
from leaderboard.study.preregistered import CLAIMS, PREDICTORS, PROPERTIES, TARGET
from leaderboard.study.universality import Universality, universality

SEED = 20201116


TEST_POINTS = 2_000


@dataclass(frozen=True)
class Findings:
    """Everything that the study found; `lanes` and `met` count the runs and those that met the stop."""

    lanes: int
    met: int
    missed: dict[str, int]
    effects: dict[str, list[Effect]]
    universality: dict[str, Universality]
    predictions: list[Prediction]
    verdicts: list[Verdict]
    factors: list[str] = field(default_factory=list)


def _transformed(frame: pd.DataFrame) -> pd.DataFrame:
    """Properties as they are analysed: logarithms, but for the test error."""
    logs = {name: np.log(frame[name].clip(lower=1e-30)) for name in PROPERTIES if name != TARGET}
    return frame.assign(**logs)


def _ranking(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Task variant by submission: minus the mean of `measure`, so that larger is better; no gaps."""
    tasks = [name for name in FACTORS if name not in ("optimizer", "step")]
    keyed = frame.assign(
        task=frame[tasks].astype(str).agg(" ".join, axis=1),
        submission=frame["optimizer"] + " " + frame["step"],
    )
    return -keyed.pivot_table(index="task", columns="submission", values=measure).dropna()


def analyse(frame: pd.DataFrame) -> Findings:
    """All analyses of the study's `frame` (see `frame.study_frame`); lanes that missed the stop are counted only."""
    generator = np.random.default_rng(SEED)
    factors = varied(frame, FACTORS)
    met, missed = frame[frame["converged"]], frame[~frame["converged"]]
    ready = _transformed(met)
    # Two standard errors of the difference between two test errors of a fifth on the test points.
    noise = 2 * math.sqrt(2 * 0.2 * 0.8 / TEST_POINTS)
    return Findings(
        lanes=len(frame),
        met=len(met),
        missed=dict(Counter((missed["optimizer"] + " " + missed["step"]).tolist())),
        effects={name: effects(ready, name, factors) for name in PROPERTIES},
        universality={name: universality(_ranking(ready, name), generator) for name in PROPERTIES},
        predictions=[predict(met, name, TARGET, factors, generator, noise) for name in PREDICTORS],
        verdicts=[judge(met, claim, factors) for claim in CLAIMS],
        factors=factors,
    )
