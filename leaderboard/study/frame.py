"""The study's logs -> the frame that is analysed, and its design: which factors vary, which pairs are crossed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from leaderboard.analysis.results import load
from suite.errors import InputError
from suite.storage.record import Record
from suite.study_design import PRESETS, Preset

FACTORS = ("optimizer", "step", "data", "depth", "width", "normalisation", "loss", "batch", "scale")
"""Columns of the frame: what the design crosses."""

VARIANTS = {*FACTORS} - {"optimizer", "step"}
"""Those that are variants of the task."""


@dataclass(frozen=True)
class Study:
    """The records of a study, the name of their file, and the command that makes the findings from them."""

    records: list[Record]
    source: str
    command: str


def open_study(path: Path) -> Study:
    """The study whose log is `path`; an InputError if it cannot be read."""
    return Study(load([path]).records, path.name, f"lowlands study --records {path.name}")


def find_study(directory: Path) -> Study | None:
    """The largest complete study of the first edition in `directory`, if there is one."""
    first = [preset for preset in PRESETS.values() if preset.edition == 1]
    for preset in sorted(first, key=_size, reverse=True):
        for path in directory.glob(f"{preset.track().name}.jsonl*"):
            study = open_study(path)
            if sum(record["phase"] == "score" for record in study.records) >= _size(preset):
                return study
    return None


def _size(preset: Preset) -> int:
    """How many runs the preset comes to."""
    return len(preset.submissions()) * len(preset.track().tasks) * preset.seeds


def study_frame(records: Sequence[Record]) -> pd.DataFrame:
    """The scored runs of the task `factorial`, a row each: `FACTORS`, ``seed``, ``converged``, and every measure.

    The factor ``step`` is `small` or `large` among the step sizes that the optimizer was run with. An InputError says
    that there are no such runs.
    """
    runs = [record for record in _scored(records) if not _of_second(record)]
    for record in runs:
        if "lr" not in record["hyperparameters"] or VARIANTS - record["variant"].keys():
            raise InputError(f"The record of {record['submission']} on {record['task']} lacks a factor of the study.")
    rows = [
        {
            "optimizer": record["submission"].partition("[")[0],
            "rate": record["hyperparameters"]["lr"],
            **record["variant"],
            "seed": record["seed"],
            "converged": record["converged"],
            **record["measures"],
        }
        for record in runs
    ]
    if not rows:
        raise InputError("There are no records of the study: run `lowlands study` first.")
    frame = pd.DataFrame(rows)
    middle = frame.groupby("optimizer")["rate"].transform(lambda rates: (rates.min() + rates.max()) / 2)
    return frame.assign(step=(frame["rate"] > middle).map({False: "small", True: "large"}))


def second_frame(records: Sequence[Record]) -> pd.DataFrame:
    """The runs of the second edition (the task `factorial_networks`), a row each, those that failed too.

    Columns: the cell's factors and ``cell``, all of them in one text; ``optimizer``; ``rung``, the place of its step
    size among those that it was run with, from 0; ``seed``, ``converged``, ``gradient_evaluations``, and every measure.
    An InputError says that there are no such runs.
    """
    rows = [
        {
            "optimizer": record["submission"].partition("[")[0],
            "rate": record["hyperparameters"]["lr"],
            **record["variant"],
            "cell": " ".join(f"{name}={record['variant'][name]}" for name in sorted(record["variant"])),
            "seed": record["seed"],
            "converged": record["converged"],
            "gradient_evaluations": record["gradient_evaluations"],
            **record["measures"],
        }
        for record in _scored(records)
        if _of_second(record)
    ]
    if not rows:
        raise InputError("There are no records of the second edition: run `lowlands study --preset second` first.")
    frame = pd.DataFrame(rows)
    rungs = frame.groupby("optimizer")["rate"].rank(method="dense").astype(int) - 1
    return frame.assign(rung=rungs).drop(columns="rate")


def _scored(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record["family"] == "factorial" and record["phase"] == "score"]


def _of_second(record: Record) -> bool:
    """Whether the run is of the second edition, whose cells also vary the kind of network."""
    return "network" in record["variant"]


def varied(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """The factors that take more than one level in `frame`."""
    return [name for name in factors if len(frame[name].unique()) > 1]


def crossed(frame: pd.DataFrame, pair: tuple[str, str]) -> bool:
    """Whether every combination of the two factors' levels occurs: only then can their interaction be estimated."""
    a, b = pair
    return len(frame[[a, b]].drop_duplicates()) == len(frame[a].unique()) * len(frame[b].unique())
