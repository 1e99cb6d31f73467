"""What an optimizer that is given as ``module:Class`` says of itself: its space, and whether it regularises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suite.building import signature, wraps
from suite.submission import LogUniform

LARGEST = 1.0
"""The tasks with an oracle divide their loss by its curvature: a step size of 1 is gradient descent's 1/L there."""

UNKNOWN = LogUniform(1e-4, LARGEST)
"""The step size of an optimizer that names no default of its own."""

FREE = 1.0
"""A default step size of exactly 1 is a factor on a step that the optimizer finds itself (Prodigy, D-Adaptation,
Adadelta, a quasi-Newton step): it is left alone."""


def default_space(optimizer: Callable[..., Any]) -> dict[str, Any]:
    """The space of `lr`: from a decade below the optimizer's default to 1, or to a decade above the default.

    Defaults are chosen for deep networks; on losses that are divided by their curvature most optimizers reach the stop
    with step sizes from their default to a hundred times it, SGD (default 0.001) with a thousand times it. An
    `adamw_lr` beside it (Muon's, for vectors) is tuned alike.
    """
    arguments = signature(optimizer)
    names = [name for name in ("lr", "adamw_lr") if name in arguments]
    if not arguments or (not names and wraps(optimizer)):
        return {"lr": UNKNOWN}
    return {name: space for name in names if (space := _space(arguments[name].default)) is not None}


def _space(default: Any) -> LogUniform | None:
    if default is None:  # it finds its step size itself
        return None
    if not isinstance(default, int | float) or default <= 0:
        return UNKNOWN
    return None if default == FREE else LogUniform(default / 10, max(LARGEST, 10 * default))


def decays_by_default(optimizer: Callable[..., Any]) -> bool:
    """Whether the optimizer decays weights unless it is told otherwise: then it regularises on purpose."""
    decay = signature(optimizer).get("weight_decay")
    return decay is not None and isinstance(decay.default, int | float) and decay.default > 0
