"""A number together with how it was computed. No torch import here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

Kind = Literal["exact", "bound", "estimate"]


class Estimate(float):
    """A float that says how far it can be trusted.

    Attributes:
        kind: ``exact``: a closed form, up to rounding.
            ``bound``: an iteration whose distance from the truth is at most `error`; or, where `error` is NaN, a lower
            bound, such as the best point of an ascent.
            ``estimate``: a sample stands for the whole: random draws of probes, segments or noise, the data's points,
            or a grid; `error` is the standard error of random draws, NaN where none is known.
        error: 0 for ``exact``; NaN for the others unless it is stated.
        note: what a reader must know of this one number, as a sentence; empty for most.
    """

    kind: Kind
    error: float
    note: str

    def __new__(cls, value: float, kind: Kind = "exact", error: float | None = None, note: str = "") -> Self:
        number = super().__new__(cls, value)
        number.kind, number.note = kind, note
        number.error = float(error) if error is not None else 0.0 if kind == "exact" else math.nan
        return number

    def __str__(self) -> str:
        text = f"{float(self):.6g}"
        if self.kind == "exact":
            return text
        if math.isnan(self.error):
            return f"≥ {text}" if self.kind == "bound" else f"≈ {text}"
        return f"{text} ± {self.error:.2g}"

    def __repr__(self) -> str:
        return f"Estimate({float(self)!r}, {self.kind!r}, {self.error!r})"


def uncertainties(values: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Kind, error and note of every value that is not exact: what a record states beside the numbers."""
    return {
        name: {"kind": value.kind, "error": value.error} | ({"note": value.note} if value.note else {})
        for name, value in values.items()
        if isinstance(value, Estimate) and value.kind != "exact"
    }
