"""Claimed scores against those on fresh seeds, which nobody could have tuned for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores
from leaderboard.analysis.statistics import Array
from suite.storage.record import Record

SUSPICIOUS_LEVEL = 0.01
"""Level of the one-sided test of claimed above verified scores."""

EQUAL_SCORES = 1e-9
"""Scores that differ by less are the same."""


@dataclass(frozen=True)
class ScoreGap:
    """Mean scores of one submission on one axis of one task: claimed on the published seeds, verified on fresh ones.

    `p_value` is of Welch's one-sided test that the claimed score is no higher.
    """

    submission: str
    task: str
    axis: str
    claimed: float
    verified: float
    p_value: float

    @property
    def gap(self) -> float:
        """How much higher the claimed score is."""
        return self.claimed - self.verified

    @property
    def suspicious(self) -> bool:
        """Whether the claimed score is higher at a level of 1 %."""
        return self.p_value < SUSPICIOUS_LEVEL


def score_gaps(claimed: Sequence[Record], fresh: Sequence[Record]) -> list[ScoreGap]:
    """The gap of every submission, task and axis that both `claimed` and `fresh` have scored runs of."""
    published, verified = _scores(claimed), _scores(fresh)
    return [
        ScoreGap(*key, float(published[key].mean()), float(scores.mean()), _p_value(published[key], scores))
        for key, scores in verified.items()
        if key in published
    ]


def _scores(records: Sequence[Record]) -> dict[tuple[str, str, str], Array]:
    """(submission, task, axis) -> the scores of its seeds."""
    frame = add_scores(Results(list(records)).frame())
    return {
        (str(submission), str(task), str(axis)): part["score"].to_numpy(float)
        for (submission, task, axis), part in frame.groupby(["submission", "task", "axis"], sort=True, observed=True)
    }


def _p_value(claimed: Array, verified: Array) -> float:
    if claimed.mean() <= verified.mean() + EQUAL_SCORES or min(len(claimed), len(verified)) < 2:
        return 1.0
    if max(claimed.std(), verified.std()) < EQUAL_SCORES:
        return 0.0  # two different values without any spread
    return float(stats.ttest_ind(claimed, verified, equal_var=False, alternative="greater").pvalue)
