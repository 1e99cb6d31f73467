"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


def _quantity(text: str, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in units or not float(match[1]):
        raise click.BadParameter(
            f"{text!r} is not a number with a unit, such as {example} (units: {', '.join(units)})."
        )
    return float(match[1]) * units[match[2]]


def seconds(text: str) -> float:
    """The seconds that a text such as ``90s``, ``30m`` or ``8h`` says. An option's `type`."""
    return _quantity(text, SECONDS, "90s or 8h")


def size(text: str) -> int:
    """The bytes that a text such as ``500MB`` or ``4GB`` says. An option's `type`."""
    return int(_quantity(text, BYTES, "4GB"))


def duration(seconds: float) -> str:
    """`seconds` for people: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
