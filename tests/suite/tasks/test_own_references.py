"""References of tasks of one's own: made from runs, kept beside the task, part of its source."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from leaderboard.cli import main
from suite.commands.own_references import references_of, track_of_references
from suite.errors import InputError
from suite.storage.log import read
from suite.task import Axis
from suite.tasks import find_task, open_task, place_of_references
from suite.tasks.own_references import Pair, write
from suite.trials import task_hash
from tests.suite.tasks.test_own_tasks import TASK

OPEN = TASK.replace('"linear", 1.0, 0.0', '"linear", float("nan"), float("nan")')


def _run(submission: str, value: float | None, converged: bool = True) -> dict[str, Any]:
    return {"submission": submission, "converged": converged, "measures": {} if value is None else {"error": value}}


def test_the_best_mean_scores_1_and_the_worst_0() -> None:
    runs = [_run("a", 1.0), _run("a", 3.0), _run("b", 5.0), _run("b", 7.0), _run("c", 0.0), _run("c", 0.0, False)]
    lower = Axis("norm", "error", "log", math.nan, math.nan)
    higher = Axis("norm", "error", "log", math.nan, math.nan, higher=True)
    assert references_of(runs, [lower]) == {"error": Pair(6.0, 2.0, "b", "a")}
    assert references_of(runs, [higher]) == {"error": Pair(2.0, 6.0, "a", "b")}
    with pytest.raises(InputError, match="1 of 2 reference optimizers reached the target loss"):
        references_of([_run("a", 1.0), _run("b", None)], [lower])
    with pytest.raises(InputError, match="is 1 for every reference optimizer"):
        references_of([_run("a", 1.0), _run("b", 1.0)], [lower])


def test_their_seeds_serve_nothing_else() -> None:
    track = track_of_references("max_margin", 3)
    scored = {seed for search in range(2) for seed in track.scored_seeds_of("max_margin", search, 2)}
    assert scored == {20_000, 20_001, 20_002}
    assert not scored & set(track.tuning_seeds_of(0))


def test_a_task_is_scored_once_the_file_has_its_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_task.py").write_text(OPEN.format(name="line"))
    before = open_task("my_task.py:line")
    assert (before.axes, before.reported) == ((), ("error",))
    path, name = place_of_references(before)
    assert (path, name) == (Path("my_task.references.json"), "line")
    write(path, name, {"error": Pair(2.0, 0.5)})
    after = find_task("my_task.py:line")
    (axis,) = after.axes
    assert (axis.score_0, axis.score_1, after.reported) == (2.0, 0.5, ())
    assert task_hash(after) != task_hash(before)
    assert find_task("my_task.py:line[slope=3.0]").axes == ()
    path.write_text("{}}")
    with pytest.raises(InputError, match="holds no references"):
        find_task("my_task.py:line")
    with pytest.raises(InputError, match="are frozen"):
        place_of_references(find_task("max_margin"))


def test_the_command_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("suite.commands.own_references.SUBMISSIONS", ("sgd[lr=0.5]", "sgd[lr=0.1]"))
    Path("my_task.py").write_text(OPEN.format(name="line"))
    result = CliRunner().invoke(main, ["references", "my_task.py:line", "--seeds", "2", "--engine", "local:0"])
    assert result.exit_code == 0, result.output
    runs = read(tmp_path / "results" / "references" / "my_task.py_line.jsonl").records
    means: dict[str, float] = {}
    for run in runs:
        assert run["seed"] in (20_000, 20_001)
        means[run["submission"]] = means.get(run["submission"], 0.0) + run["measures"]["error"] / 2
    (axis,) = find_task("my_task.py:line").axes
    assert (axis.score_1, axis.score_0) == pytest.approx((min(means.values()), max(means.values())))
    for task, sentence in (("max_margin", "are frozen"), ("my_task.py:unmarked", "leaves no references open")):
        if task.endswith("unmarked"):
            Path("my_task.py").write_text(TASK.format(name="line"))
        refused = CliRunner().invoke(main, ["references", task, "--engine", "local:0"])
        assert refused.exit_code == 2
        assert sentence in refused.output
