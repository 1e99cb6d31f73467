"""A number together with how it was got. No torch import here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

Kind = Literal["exact", "bound", "estimate"]


class Estimate(float):
    """A float that knows how far it can be trusted.

    kind: ``exact`` (a closed form, up to rounding), ``bound`` (an iteration whose error is at most `error`), or
    ``estimate`` (a mean over random draws with the standard error `error`).
    """

    kind: Kind
    error: float

    def __new__(cls, value: float, kind: Kind = "exact", error: float = 0.0) -> Self:
        made = super().__new__(cls, value)
        made.kind = kind
        made.error = float(error)
        return made

    def __str__(self) -> str:
        text = f"{float(self):.6g}"
        return text if self.kind == "exact" else f"{text} ± {self.error:.2g}"

    def __repr__(self) -> str:
        return f"Value({float(self)!r}, {self.kind!r}, {self.error!r})"


def uncertainties(values: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Kind and error of every value that is not exact: what a record states beside the numbers."""
    return {
        name: {"kind": value.kind, "error": value.error}
        for name, value in values.items()
        if isinstance(value, Estimate) and value.kind != "exact"
    }
