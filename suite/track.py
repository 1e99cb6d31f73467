"""Tracks: a list of tasks with seeds and tuning budget. No torch import."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from suite.errors import InputError

TUNING_SEEDS_FROM = 10_000
"""Tuning seeds start here and scoring seeds at 0, so that the two never meet."""


@dataclass(frozen=True)
class Track:
    """tasks by name; `seeds` lanes are scored per task; `trials` settings are tried on `tuning_seeds` other seeds."""

    name: str
    tasks: tuple[str, ...]
    seeds: int
    trials: int
    tuning_seeds: int
    description: str


QUICK = ("min_norm_regression", "adaptive_trap", "max_margin", "sparse_regression", "mnist5k_mlp")

TRACKS = {
    track.name: track
    for track in (
        Track("smoke", ("min_norm_regression", "adaptive_trap"), 2, 2, 1, "does everything run: seconds"),
        Track("quick", QUICK, 3, 4, 2, "a first true table on a laptop: minutes"),
        Track("full", QUICK, 10, 8, 3, "the table to publish"),
    )
}


def find_track(name: str) -> Track:
    """The track `name`; an unknown one raises InputError with the nearest name."""
    if name not in TRACKS:
        near = difflib.get_close_matches(name, TRACKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TRACKS)}."
        raise InputError(f"There is no track {name!r}: {hint}")
    return TRACKS[name]
