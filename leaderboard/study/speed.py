"""Which step size stands for an optimizer in the study's second edition: docs/study_plan.md, *Step sizes*.

Both rules choose for a cell and seed by the runs of the other seeds alone, so that the run which is compared had no
part in its choice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

WITHIN = 2.0
"""Matched runs take at most so many times the gradient evaluations of the speed that they are matched to, or a share of
one by it."""


def _of_other_seeds(frame: pd.DataFrame, seed: int) -> pd.Series:
    """Mean gradient evaluations, by cell, optimizer and rung, of the rungs whose every run on other seeds converged.

    With one seed there are no others, and its own runs are taken.
    """
    others = frame[frame["seed"] != seed]
    groups = (others if len(others) else frame).groupby(["cell", "optimizer", "rung"])
    return groups["gradient_evaluations"].mean()[groups["converged"].all()]


def tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs at the rung that reaches the target with the fewest gradient evaluations; the smaller step in a tie.

    Args:
        frame: a row per run, with columns ``cell``, ``optimizer``, ``rung`` (larger steps have larger numbers),
            ``seed``, ``converged`` and ``gradient_evaluations``.

    Returns:
        Rows of `frame`, at most one for each cell, optimizer and seed: none where no rung trains on all other seeds.
    """
    return _chosen(frame, lambda speeds: speeds)


def matched(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs at the rung whose speed is nearest, in ratio, to that of the cell's slowest tuned optimizer.

    What is more than `WITHIN` times off is left out. Arguments and result are those of `tuned`.
    """

    def distances(speeds: pd.Series) -> pd.Series:
        slowest = speeds.groupby(["cell", "optimizer"]).min().groupby("cell").max()
        ratios = speeds / slowest.reindex(speeds.index.get_level_values("cell")).to_numpy()
        distance = np.log(ratios).abs()
        return distance[distance <= np.log(WITHIN) + 1e-12]

    return _chosen(frame, distances)


def _chosen(frame: pd.DataFrame, criterion: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    """The runs of each seed at the rungs of least `criterion`, which is of the speeds on the other seeds."""
    parts = []
    for seed, runs in frame.groupby("seed"):
        values = criterion(_of_other_seeds(frame, int(seed))).rename("criterion").reset_index()
        best = values.sort_values(["criterion", "rung"], kind="stable").drop_duplicates(["cell", "optimizer"])
        parts.append(runs.merge(best[["cell", "optimizer", "rung"]], on=["cell", "optimizer", "rung"]))
    return pd.concat(parts, ignore_index=True)
