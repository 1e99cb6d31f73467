"""Tracks name tasks that there are, by the names that their records carry."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import InputError
from suite.task import AXES
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
    dealt = [list(track.scored_seeds_of("t", search, searches)) for search in range(searches)]
    assert sorted(seed for own in dealt for seed in own) == list(range(seeds))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_a_track_may_ask_for_fewer_seeds_on_a_task() -> None:
    track = Track("t", ("small", "large"), 10, 1, 1, "", searches=2, fewer_seeds={"large": 1})
    assert [track.seeds_of(task) for task in ("small", "large", "another")] == [10, 1, 10]
    assert [track.searches_of(task) for task in ("small", "large")] == [2, 1]
    assert list(track.scored_seeds_of("large", 0, 1)) == [0]
    assert [track.with_seeds(3).seeds_of(task) for task in ("small", "large")] == [3, 3]


def test_the_quick_track_holds_every_family_and_every_axis_on_a_third_of_its_tasks() -> None:
    tasks = [find_task(name) for name in TRACKS["quick"].tasks]
    # What takes a minute a run is for `full` alone.
    scored = [task for task in map(find_task, TRACKS["full"].tasks) if task.axes and (task.seconds or 0) < 60]
    assert {task.family for task in tasks} == {task.family for task in scored}
    axes = Counter(axis.axis for task in tasks for axis in task.axes)
    assert all(task.axes for task in tasks)
    assert all(3 * axes[axis] >= len(tasks) for axis in AXES)


def test_the_quick_track_has_ten_seeds_on_small_tasks_and_five_on_digits() -> None:
    track = TRACKS["quick"]
    seeds = {name: track.seeds_of(name) for name in track.tasks}
    assert seeds == {name: 5 if find_task(name).family == "images" else 10 for name in track.tasks}
    assert track.searches == 2


def test_an_unknown_track() -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        find_track("quik")


def test_a_track_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'tasks = ["max_margin", "tasks/own.py:line[a=1]"]\nseeds = 3\nfirst_seed = 500\n[fewer_seeds]\nmax_margin = 2\n'
    )
    track = find_track(str(path))
    assert track.name == "mine"
    assert track.tasks == ("max_margin", f"{tmp_path}/tasks/own.py:line[a=1]")
    assert (track.seeds_of("max_margin"), track.seeds_of(track.tasks[1]), track.trials) == (2, 3, 4)
    assert [*track.scored_seeds_of("max_margin", 0, 1)] == [500, 501]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("mine", None, "cannot be read"),
        ("mine", "tasks = [", "is not TOML"),
        ("mine", "seeds = 3", "needs a list of names"),
        ("mine", "tasks = ['max_margin']\nseed = 3", "there is no 'seed'"),
        ("mine", "tasks = ['max_margin']\nseeds = 0", "seeds must be a whole number of at least 1"),
        ("mine", "tasks = ['max_margin']\nfewer_seeds = 3.5", "fewer_seeds must be"),
        ("mine", "tasks = ['max_margin']\nfirst_seed = -1", "first_seed must be a whole number from 0 to 9,990"),
        ("mine", "tasks = ['max_margin']\nseeds = 3\nfirst_seed = 9998", "from 0 to 9,997, not 9998"),
        ("quick", "tasks = ['max_margin']", "cannot be named 'quick'"),
        ("my own", "tasks = ['max_margin']", "cannot be named 'my own'"),
    ],
)
def test_what_is_wrong_with_a_track_is_one_sentence(tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    path = tmp_path / f"{name}.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        find_track(str(path))
