"""What the analyses ask of a design: which factors vary, and which pairs of them are crossed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def varied(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """The factors that take more than one level in `frame`."""
    return [name for name in factors if len(frame[name].unique()) > 1]


def crossed(frame: pd.DataFrame, pair: tuple[str, str]) -> bool:
    """Whether every combination of the two factors' levels occurs: an interaction can then be told from its parts."""
    a, b = pair
    return len(frame[[a, b]].drop_duplicates()) == len(frame[a].unique()) * len(frame[b].unique())
