"""The study's records -> the frame that is analysed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from suite.errors import InputError

FACTORS = ("optimizer", "step", "data", "depth", "width", "normalisation", "loss", "batch", "scale")


FAMILY = "factorial"


def study_frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per scored lane of the task `factorial`: `FACTORS`, `seed`, `converged`, and every measure.

    The step is `small` or `large` among the step sizes that the optimizer was run with.

    Raises:
        InputError: there are no such lanes.
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
