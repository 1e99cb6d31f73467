"""What `lowlands run` asks the engine for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from leaderboard.cli import main
from suite.errors import InputError
from suite.tracks import Track


@pytest.mark.parametrize(("options", "seeds"), [((), [10, 5]), (("--seeds", "3"), [3, 3])])
def test_the_seeds_are_the_tracks_or_those_that_are_asked_for(
    options: tuple[str, ...], seeds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Track] = []

    def make_plan(submissions: object, tasks: object, track: Track, *_: object) -> None:
        asked.append(track)
        raise InputError("That is all.")

    monkeypatch.setattr("suite.engine.plan.make_plan", make_plan)
    result = CliRunner().invoke(main, ["run", "--results", str(tmp_path), "--engine", "local:0", *options])
    assert result.exit_code == 2
    assert [asked[0].seeds_of(task) for task in ("spectral_margin", "mnist5k_mlp")] == seeds
