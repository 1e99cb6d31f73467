"""The presets of the study: which cells (variants of a task), optimizers and step sizes are crossed. No torch import.

Every combination is an ordinary submission (``sgd[lr=0.1]``) on an ordinary task (``factorial[depth=3]``), so its
records are too.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import unknown
from suite.tracks import Track

STUDY_SETTINGS = {
    "sgd": ("lr=0.1", "lr=0.3"),
    "momentum": ("lr=0.01", "lr=0.05"),
    "sam": ("lr=0.01,rho=0.1", "lr=0.05,rho=0.1"),
    "adam": ("lr=0.001", "lr=0.004"),
    "sign": ("lr=0.0003", "lr=0.001"),
    "muon": ("lr=0.005,adamw_lr=0.001", "lr=0.02,adamw_lr=0.004"),
}
"""The settings of each optimizer of the first edition, with a small and a large step size. The two are three to five
times apart and bracket what tuning selects on its task; with both, nearly every run reaches the target loss."""

LADDERS = {
    "sgd": ("lr=0.0356", "lr=0.112", "lr=0.356", "lr=1.12"),
    "momentum": ("lr=0.00356", "lr=0.0112", "lr=0.0356", "lr=0.112"),
    "adam": ("lr=0.000533", "lr=0.00169", "lr=0.00533", "lr=0.0169"),
    "adamw": tuple(f"lr={rate},weight_decay=0.1" for rate in (0.000533, 0.00169, 0.00533, 0.0169)),
    "sign": ("lr=0.000178", "lr=0.000562", "lr=0.00178", "lr=0.00562"),
    "muon": (
        "lr=0.00178,adamw_lr=0.000533",
        "lr=0.00562,adamw_lr=0.00169",
        "lr=0.0178,adamw_lr=0.00533",
        "lr=0.0562,adamw_lr=0.0169",
    ),
    "soap": ("lr=0.000533", "lr=0.00169", "lr=0.00533", "lr=0.0169"),
    "lion": ("lr=0.000178", "lr=0.000562", "lr=0.00178", "lr=0.00562"),
    "sam": tuple(f"lr={rate},rho=0.158" for rate in (0.00533, 0.0169, 0.0533, 0.169)),
}
"""The step sizes of each optimizer of the second edition: the middles of four equal parts of the logarithmic space that
its submission declares, so neighbours are a factor of 3.16 apart. What else a submission tunes is at its space's
middle."""

LEVELS: Mapping[str, tuple[Any, ...]] = {
    "data": ("digits", "teacher", "cifar", "sequence"),
    "network": ("mlp", "cnn", "transformer"),
    "depth": (1, 2),
    "width": (32, 64),
    "normalisation": ("none", "layer"),
    "shortcut": ("none", "identity"),
    "loss": ("cross_entropy", "squared", "smoothed"),
    "batch": (20, 100),
    "scale": (0.5, 2.0),
}
"""The factors of the second edition's cells, and their levels: arguments of the task `factorial_networks`."""

CELLS = Path(__file__).with_name("study_design.csv")
"""The cells of the second edition, a fraction of all; `benchmarks/choose_study.py` chose them."""


@dataclass(frozen=True)
class Preset:
    """A design: every submission on every task.

    Attributes:
        name: what `--preset` selects.
        settings: optimizers, each with what is written in the brackets of its submissions.
        tasks: the cells, by their tasks' names.
        seeds: runs per combination.
        edition: which edition of the study it belongs to, 1 or 2: they differ in task and analysis.
    """

    name: str
    edition: int
    settings: Mapping[str, tuple[str, ...]]
    tasks: tuple[str, ...]
    seeds: int
    description: str

    def submissions(self) -> tuple[str, ...]:
        """The texts that name the optimizers, each with all its step sizes."""
        return tuple(f"{name}[{setting}]" for name, settings in self.settings.items() for setting in settings)

    def track(self, seeds: int | None = None) -> Track:
        """The cells as a track, with all `seeds` or so many. Nothing is tuned: the step size is a factor."""
        seeds = seeds or self.seeds
        return Track(f"study-{self.name}", self.tasks, seeds, trials=1, tuning_seeds=0, description=self.description)


def _crossed(levels: Mapping[str, tuple[Any, ...]]) -> tuple[str, ...]:
    """All variants of the task `factorial`."""
    cells = (dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values()))
    return tuple(_name("factorial", cell) for cell in cells)


def _name(task: str, cell: Mapping[str, Any]) -> str:
    return f"{task}[{','.join(f'{key}={value}' for key, value in cell.items())}]"


def _chosen(small: bool) -> tuple[str, ...]:
    """The cells of the second edition, or those of them that its small preset runs."""
    with CELLS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        _name("factorial_networks", {key: row[key] for key in LEVELS})
        for row in rows
        if row["small"] == "yes" or not small
    )


SMOKE_LEVELS = {"data": ("teacher",), "depth": (1, 3), "loss": ("cross_entropy",), "batch": (20, 200)}
SMALL_LEVELS: Mapping[str, tuple[Any, ...]] = {
    "data": ("digits", "teacher"),
    "depth": (1, 3),
    "width": (64, 128),
    "normalisation": ("none", "layer"),
    "loss": ("cross_entropy", "squared", "smoothed"),
    "batch": (20, 200),
    "scale": (0.5, 2.0),
}


def _only(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: STUDY_SETTINGS[name] for name in names}


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("smoke", 1, _only("sgd", "adam"), _crossed(SMOKE_LEVELS), 2, "does everything run: seconds"),
        Preset(
            "small",
            1,
            _only("sgd", "adam", "muon"),
            _crossed(SMALL_LEVELS),
            2,
            "a quarter of an hour on two cores",
        ),
        Preset("second-small", 2, LADDERS, _chosen(small=True), 2, "second edition, 16 cells"),
        Preset("second", 2, LADDERS, _chosen(small=False), 3, "second edition, 96 cells"),
    )
}


def find_preset(name: str) -> Preset:
    """The preset of this name; an `InputError` if there is none."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]
