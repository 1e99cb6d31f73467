"""The study's records -> the frame that is analysed, and its design: which factors vary, which pairs are crossed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from suite.errors import InputError
from suite.storage.record import Record

FACTORS = ("optimizer", "step", "data", "depth", "width", "normalisation", "loss", "batch", "scale")
"""Columns of the frame: what the design crosses."""

FAMILY = "factorial"
"""The family of the study's task."""


def study_frame(records: Sequence[Record]) -> pd.DataFrame:
    """The scored runs of the task `factorial` as a frame.

    Returns:
        One row per run: `FACTORS`, ``seed``, ``converged``, and every measure. The factor ``step`` is `small` or
        `large` among the step sizes that the optimizer was run with.

    Raises:
        InputError: there are no such runs.
    """
    rows = [
        {
            "optimizer": record["submission"].partition("[")[0],
            "rate": record["hyperparameters"]["lr"],
            **record["variant"],
            "seed": record["seed"],
            "converged": record["converged"],
            **record["measures"],
        }
        for record in records
        if record["family"] == FAMILY and record["phase"] == "score"
    ]
    if not rows:
        raise InputError("There are no records of the study: run `lowlands study` first.")
    frame = pd.DataFrame(rows)
    middle = frame.groupby("optimizer")["rate"].transform(lambda rates: (rates.min() + rates.max()) / 2)
    return frame.assign(step=(frame["rate"] > middle).map({False: "small", True: "large"}))


def varied(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """The factors that take more than one level in `frame`."""
    return [name for name in factors if len(frame[name].unique()) > 1]


def crossed(frame: pd.DataFrame, pair: tuple[str, str]) -> bool:
    """Whether every combination of the two factors' levels occurs: only then can their interaction be estimated."""
    a, b = pair
    return len(frame[[a, b]].drop_duplicates()) == len(frame[a].unique()) * len(frame[b].unique())
