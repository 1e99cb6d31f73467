"""The gap between claimed scores and those on seeds that nobody could have known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores

SUSPICIOUS = 0.01
"""Level of the one-sided test of claimed above verified scores."""


EQUAL = 1e-9
"""Scores that differ by less are the same."""


@dataclass(frozen=True)
class Gap:
    """Mean scores of one submission on one axis of one task: on the published seeds, and on fresh ones.

    p_value: of Welch's one-sided test that the claimed score is no higher. suspicious: it is, at 1 %.
    """

    submission: str
    task: str
    axis: str
    claimed: float
    verified: float
    p_value: float

    @property
    def gap(self) -> float:
        return self.claimed - self.verified

    @property
    def suspicious(self) -> bool:
        return self.p_value < SUSPICIOUS


def gaps(claimed: Sequence[dict[str, Any]], fresh: Sequence[dict[str, Any]]) -> list[Gap]:
    """Every submission, task and axis that `fresh` holds, beside the scored lanes of `claimed`."""
    frames = [add_scores(Results(list(records)).frame()) for records in (claimed, fresh)]
    keys = ["submission", "task", "axis"]
    groups = [{key: part["score"].to_numpy(float) for key, part in _groups(frame, keys)} for frame in frames]
    return [
        Gap(*key, float(groups[0][key].mean()), float(verified.mean()), _p_value(groups[0][key], verified))
        for key, verified in groups[1].items()
        if key in groups[0]
    ]


def _groups(frame: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    for key, part in frame.groupby(keys, sort=True, observed=True):
        yield (str(key[0]), str(key[1]), str(key[2])), part


def _p_value(claimed: np.ndarray[Any, Any], verified: np.ndarray[Any, Any]) -> float:
    if claimed.mean() <= verified.mean() + EQUAL or min(len(claimed), len(verified)) < 2:
        return 1.0
    if max(claimed.std(), verified.std()) < EQUAL:
        return 0.0  # no spread at all, and yet another value
    return float(stats.ttest_ind(claimed, verified, equal_var=False, alternative="greater").pvalue)


def lines(found: Sequence[Gap]) -> Iterator[str]:
    """The gaps as a markdown table."""
    yield "| submission | task | axis | claimed | verified | gap | |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for one in found:
        flag = "suspicious" if one.suspicious else ""
        yield (
            f"| {one.submission} | {one.task} | {one.axis} | {one.claimed:.3f} | {one.verified:.3f} "
            f"| {one.gap:+.3f} | {flag} |"
        )
