"""Tracks name tasks that there are, by the names that their records carry."""

from __future__ import annotations

import pytest

from suite.errors import InputError
from suite.tasks import find_task
from suite.tracks import TRACKS, TUNING_SEEDS_FROM, find_track


@pytest.mark.parametrize("track", TRACKS.values(), ids=lambda track: track.name)
def test_tracks_name_tasks_as_their_records_do(track: object) -> None:
    names = track.tasks  # type: ignore[attr-defined]
    assert [find_task(name).name for name in names] == list(names)
    assert len(set(names)) == len(names)


def test_tuning_and_scoring_seeds_are_disjoint() -> None:
    assert all(track.seeds < TUNING_SEEDS_FROM for track in TRACKS.values())


def test_an_unknown_track() -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        find_track("quik")
