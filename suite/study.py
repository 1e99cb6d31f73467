"""The factorial study's designs: which factors, at which levels. No torch import.

A design crosses optimizers, their step sizes and the variants of the task `factorial`; every combination is an ordinary
submission (``sgd[lr=0.1]``) on an ordinary task (``factorial[depth=3]``), so that its lanes are records like any other.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from suite.errors import InputError
from suite.track import Track

FIXED = {"sam": ("rho=0.1",)}
"""Settings that are not the step size, of optimizers that would tune them."""


@dataclass(frozen=True)
class Preset:
    """A full crossing. `rates`: optimizer -> its small and its large step size. `levels`: task variant -> levels."""

    name: str
    rates: Mapping[str, tuple[float, float]]
    levels: Mapping[str, tuple[Any, ...]]
    seeds: int
    description: str

    def submissions(self) -> tuple[str, ...]:
        """The texts that find the optimizers, each with both step sizes."""
        return tuple(
            f"{name}[{','.join((f'lr={rate:g}', *FIXED.get(name, ())))}]"
            for name, rates in self.rates.items()
            for rate in rates
        )

    def track(self) -> Track:
        """The variants as a track. Nothing is tuned: the step size is a factor."""
        variants = (zip(self.levels, chosen, strict=True) for chosen in itertools.product(*self.levels.values()))
        tasks = tuple(f"factorial[{','.join(f'{key}={value}' for key, value in variant)}]" for variant in variants)
        return Track(f"study-{self.name}", tasks, self.seeds, 1, 0, self.description)


# The step sizes bracket what tuning picks on this task; from five to ten times apart, both meet the stop nearly always.
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            {"sgd": (0.1, 0.3), "adam": (0.001, 0.004)},
            {"data": ("teacher",), "depth": (1, 3), "loss": ("cross_entropy",), "batch": (20, 200)},
            seeds=2,
            description="does everything run: seconds",
        ),
        Preset(
            "small",
            {"sgd": (0.1, 0.3), "adam": (0.001, 0.004), "muon": (0.005, 0.02)},
            {
                "data": ("digits", "teacher"),
                "depth": (1, 3),
                "width": (64, 128),
                "normalisation": ("none", "layer"),
                "loss": ("cross_entropy", "squared", "smoothed"),
                "batch": (20, 200),
                "scale": (0.5, 2.0),
            },
            seeds=2,
            description="a quarter of an hour on two cores",
        ),
        Preset(
            "full",
            {
                "sgd": (0.1, 0.3),
                "momentum": (0.01, 0.05),
                "sam": (0.01, 0.05),
                "adam": (0.001, 0.004),
                "sign": (0.0003, 0.001),
                "muon": (0.005, 0.02),
            },
            {
                "data": ("digits", "teacher"),
                "depth": (1, 2, 4),
                "width": (64, 256),
                "normalisation": ("none", "layer"),
                "loss": ("cross_entropy", "squared", "smoothed"),
                "batch": (10, 50, 200),
                "scale": (0.5, 1.0, 2.0),
            },
            seeds=5,
            description="for a cluster: some 39,000 lanes",
        ),
    )
}


def find_preset(name: str) -> Preset:
    """The preset `name`; an unknown one raises InputError with the nearest name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}."
        raise InputError(f"There is no preset {name!r}: {hint}")
    return PRESETS[name]
