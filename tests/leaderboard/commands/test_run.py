"""What `lowlands run` asks the engine for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import lowlands
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import load as load_results
from leaderboard.cli import main
from leaderboard.commands.execution import COSTS, opened, recorded_costs
from leaderboard.commands.run import DEFAULT
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.entries.loading import load
from suite.errors import InputError
from suite.storage.log import Log, read
from suite.storage.record import Record, canonical, identity, seal
from suite.tracks import TRACKS, Track, find_track


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


@pytest.mark.parametrize("slowness", [1.0, 3.0])
def test_the_default_run_is_estimated_as_it_was_measured(
    slowness: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the operating system, of the whole command; on a machine where everything takes longer, by that much."""
    measured = json.loads(COSTS.read_text())
    monkeypatch.setattr("suite.engine.speed.reference_seconds", lambda: slowness * measured["reference_seconds"])
    track = find_track("quick")
    with connect("local:0") as engine:
        plan = make_plan(DEFAULT, track.tasks, track, engine=engine)
        driver = Driver(plan, Log(tmp_path / "quick.jsonl", writable=False), engine, recorded_costs())
    assert driver.seconds_left() == pytest.approx(slowness * measured["whole_seconds"], rel=0.3)
    assert sum(task.seconds for task in driver.outlook()) == pytest.approx(driver.seconds_left())


CONVOLUTION = """
from torch import nn
from lowlands import Submission

def build(input_shape, outputs):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, outputs)
    )

submission = Submission("own", architecture=build)
"""


def test_a_network_for_images_skips_the_other_tasks_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(CONVOLUTION)
    command = ["run", str(file), "vit", "--results", str(tmp_path), "--engine", "local:0", "--dry-run"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert {task for task in TRACKS["quick"].tasks if task in result.stdout} == {"mnist5k_mlp"}
    said = " ".join(result.stderr.split())
    for name, reason in (("own", "Expected 3D"), ("vit", "not enough values to unpack")):
        assert re.search(
            rf"Submission '{name}' skips linear_convolution\[network=full\], univariate_relu, teacher_student, whose "
            rf"inputs it does not take: [^.]*{reason}",
            said,
        )


def test_a_mistake_in_a_network_is_no_reason_to_skip(tmp_path: Path) -> None:
    """It is built for images; for vectors it has a name that is wrong: a failure, with the line and the traceback."""
    file = tmp_path / "own.py"
    build = "return nn.Sequential(nn.Flatten(), nn.Linear(784 if len(input_shape) == 3 else widht, outputs)) or ("
    file.write_text(CONVOLUTION.replace("return nn.Sequential(", build))
    tasks = ("--task", "univariate_relu", "--task", "mnist5k_mlp")
    command = ["run", str(file), *tasks, "--seeds", "1", "--trials", "1", "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(main, [*command, "--engine", "local:0"])
    assert result.exit_code == 0, result.output
    assert "skips" not in result.stderr
    records = read(tmp_path / "results" / "quick.jsonl").records
    failed = {record["task"]: record["reason"] for record in records if record["status"] == "failed"}
    assert list(failed) == ["univariate_relu"]
    assert "NameError: name 'widht' is not defined" in failed["univariate_relu"]
    assert "mnist5k_mlp" in {record["task"] for record in records}
    trace = (tmp_path / "results" / "failures" / "own.txt").read_text()
    assert f'File "{file}"' in trace
    assert "NameError" in trace


FORGER = """
import os
import torch
from suite import Submission

def forge():
    if "FORGED" in os.environ:
        with open(os.environ["LOG"], "a") as log:
            log.write(os.environ["FORGED"])

class Forger(torch.optim.SGD):
    def step(self, closure=None):
        forge()
        return super().step(closure)

forge()
submission = Submission("forger", Forger, space={"lr": 0.5})
"""


def test_records_that_a_submission_writes_itself_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When its file is imported, and in its steps: sealed ones, of runs of its own, later in the log than the true."""
    file = tmp_path / "forger.py"
    file.write_text(FORGER)
    track = Track("test", ("min_norm_regression",), seeds=1, trials=1, tuning_seeds=1, description="")

    def run(path: Path) -> tuple[str, list[Record]]:
        with connect("local:0") as engine, opened(path) as log:
            plan = make_plan([str(file)], track.tasks, track, engine=engine)
            list(Driver(plan, log, engine).steps())
        return capsys.readouterr().err.replace("\n", ""), read(path).records

    said, honest = run(tmp_path / "honest.jsonl")
    assert not said
    forged = [seal(record | {"measures": dict.fromkeys(record["measures"], 1e-9)}) for record in honest]
    path = tmp_path / "forged.jsonl"
    monkeypatch.setenv("LOG", str(path))
    monkeypatch.setenv("FORGED", "".join(canonical(record) + "\n" for record in forged))
    load.cache_clear()
    said, records = run(path)
    assert list(map(identity, records)) == list(map(identity, honest))
    assert f"foreign lines (1) were moved to {path}.foreign" in said
    assert read(Path(f"{path}.foreign")).records[:1] == forged


@pytest.mark.parametrize(("submission", "folder"), [("sdg", "new"), ("sgd", 300 * "n"), ("sgd", "a\0b")])
def test_a_command_that_cannot_begin_leaves_no_folder(submission: str, folder: str, tmp_path: Path) -> None:
    command = ["run", submission, "--results", str(tmp_path / folder), "--engine", "local:0"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, []), result.output
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("track", "submission", "sentence"),
    [
        ("untuned", "adam", "optimizers without a step size to choose, and adam has lr: the track default gives it"),
        ("untuned", "muon", "and muon has adamw_lr and lr"),
        ("default", "mlp", "The track default is of optimizers: mlp[default] is an architecture."),
    ],
)
def test_tracks_without_tuning_say_whom_they_are_not_for(
    tmp_path: Path, track: str, submission: str, sentence: str
) -> None:
    command = ["run", submission, "--track", track, "--results", str(tmp_path), "--engine", "local:0"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
    assert read(tmp_path / f"{track}.jsonl").records == []


def test_nothing_is_tuned_on_the_default_track(tmp_path: Path) -> None:
    """One setting on every task, and records that `lowlands verify` finds by their own names."""
    tasks = ["--task", "min_norm_regression", "--task", "valley_scalar", "--seeds", "2"]
    command = ["run", "sgd", "adam", "--track", "default", *tasks, "--results", str(tmp_path), "--engine", "local:0"]
    assert CliRunner().invoke(main, command).exit_code == 0
    records = read(tmp_path / "default.jsonl").records
    assert {(r["submission"], r["phase"], *r["hyperparameters"].values()) for r in records} == {
        ("sgd[default]", "score", 0.2),
        ("adam[default]", "score", 0.003),
    }
    assert len(records) == 8
    results = load_results([tmp_path / "default.jsonl"])
    (sgd,) = [one for one in board(results, "optimizer").standings if one.submission == "sgd[default]"]
    assert sgd.relative_seconds == pytest.approx(1.0)
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "default.jsonl"), "--sample", "2"])
    assert verified.exit_code == 0, verified.output
    assert "2 runs repeated" in verified.output


def test_measures_of_shipped_submissions_stand_beside_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command = ["run", "sam[lr=0.05]", "--track", "smoke", "--task", "min_norm_regression", "--seeds", "2"]
    options = ["--trials", "1", "--engine", "local:0", "--results", str(tmp_path), "--implicit-only"]
    result = CliRunner().invoke(main, [*command, *options])
    assert result.exit_code == 0, result.output
    _, _, printed = result.output.partition("What each solution measures")
    header, row = ([cell.strip() for cell in re.split("[┃│]", line)] for line in printed.splitlines()[2:6:2])
    values = dict(zip(header, row, strict=True))
    assert "sam[lr=0.05] †" in values
    shipped = lowlands.load(track="smoke").of_tasks("min_norm_regression").frame("measures")
    of_sgd = shipped[(shipped["submission"] == "sgd") & (shipped["measure"] == "excess_norm") & (shipped["seed"] < 2)]
    printed_mean = float(values["sgd"].split()[0])  # one or two digits
    assert printed_mean == pytest.approx(of_sgd["value"].mean(), rel=0.3)
