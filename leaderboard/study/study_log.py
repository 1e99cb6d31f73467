"""Logs of studies: which there are, and whether they are complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leaderboard.analysis.results import load
from suite.storage.record import Record
from suite.tracks import PRESETS, Preset


@dataclass(frozen=True)
class Study:
    """The records of a study.

    Attributes:
        records: those of every run.
        source: the name of their file.
        command: what makes the findings from them.
    """

    records: list[Record]
    source: str
    command: str


def open_study(path: Path) -> Study:
    """The study whose log is `path`.

    Raises:
        InputError: the log cannot be read.
    """
    return Study(load([path]).records, path.name, f"lowlands study --records {path.name}")


def find_study(directory: Path) -> Study | None:
    """The largest complete study among the logs of `directory`; None if there is none, or only unfinished ones."""
    for preset in sorted(PRESETS.values(), key=_size, reverse=True):
        for path in directory.glob(f"{preset.track().name}.jsonl*"):
            study = open_study(path)
            if sum(record["phase"] == "score" for record in study.records) >= _size(preset):
                return study
    return None


def _size(preset: Preset) -> int:
    """How many runs the preset comes to."""
    return len(preset.submissions()) * len(preset.track().tasks) * preset.seeds
