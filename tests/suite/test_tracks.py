"""Tracks name tasks that there are, by the names that their records carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import InputError
from suite.tasks import find_task
from suite.tracks import TRACKS, TUNING_SEEDS_FROM, Track, find_track


@pytest.mark.parametrize("track", TRACKS.values(), ids=lambda track: track.name)
def test_tracks_name_tasks_as_their_records_do(track: object) -> None:
    names = track.tasks  # type: ignore[attr-defined]
    assert [find_task(name).name for name in names] == list(names)
    assert len(set(names)) == len(names)


def test_tuning_and_scoring_seeds_are_disjoint() -> None:
    assert all(track.seeds < TUNING_SEEDS_FROM for track in TRACKS.values())


def test_searches_share_no_tuning_seed() -> None:
    for track in TRACKS.values():
        seeds = [seed for search in range(track.searches) for seed in track.tuning_seeds_of(search)]
        assert len(set(seeds)) == len(seeds) == track.searches * track.tuning_seeds
        assert min(seeds) == TUNING_SEEDS_FROM


@given(st.integers(1, 30), st.integers(1, 8))
def test_scored_seeds_are_dealt_out_to_the_searches_evenly(seeds: int, searches: int) -> None:
    track = Track("t", (), seeds, 1, 1, "")
    dealt = [list(track.scored_seeds_of(search, searches)) for search in range(searches)]
    assert sorted(seed for own in dealt for seed in own) == list(range(seeds))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_an_unknown_track() -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        find_track("quik")
