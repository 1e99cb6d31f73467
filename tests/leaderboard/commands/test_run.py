"""What `lowlands run` asks the engine for."""

from __future__ import annotations

import re
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


def test_a_dry_run_says_what_is_left_and_writes_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["run", "sgd", "--track", "smoke", "--results", str(results), "--engine", "local:0"]
    result = CliRunner().invoke(main, [*command, "--dry-run"])
    assert result.exit_code == 0, result.output
    # Two searches of two settings and of a scored seed each, on two tasks.
    assert re.search(r"min_norm_regression\W+0\W+6\W+4\W", result.stdout)
    assert "12 runs are left" in result.stdout
    assert not results.exists()
    assert CliRunner().invoke(main, command).exit_code == 0
    log = (results / "smoke.jsonl").read_bytes()
    result = CliRunner().invoke(main, [*command, "--dry-run"])
    assert re.search(r"min_norm_regression\W+6\W+0\W+0\W+0 s", result.stdout)
    assert "0 runs are left; about 0 s here" in result.stdout
    assert (results / "smoke.jsonl").read_bytes() == log
