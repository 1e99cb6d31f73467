"""Logs of studies: which there are, and whether they are whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leaderboard.analysis.results import load
from suite.storage.record import Record
from suite.tracks import PRESETS, Preset


@dataclass(frozen=True)
class Study:
    """A study's records, the file that they lie in, and the command that makes its findings from them."""

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
    """The largest whole study among the logs of `directory`; one that is still running is not shown."""
    for preset in sorted(PRESETS.values(), key=_lanes, reverse=True):
        for path in directory.glob(f"{preset.track().name}.jsonl*"):
            found = open_study(path)
            if sum(record["phase"] == "score" for record in found.records) >= _lanes(preset):
                return found
    return None


def _lanes(preset: Preset) -> int:
    return len(preset.submissions()) * len(preset.track().tasks) * preset.seeds
