"""`lowlands run --trace`: what is stored beside the log, and read back by frames and figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import lowlands
from leaderboard.cli import main
from suite.storage.log import read
from suite.storage.record import identity
from suite.storage.training_paths import file_of

RUN = ("run", "adam", "--track", "smoke", "--task", "min_norm_regression", "--engine", "local:0")


def lowlands_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traced")
    result = lowlands_command(*RUN, "--results", folder, "--trace", "2", "--trace-all")
    assert result.exit_code == 0, result.output
    assert f"Measures along training: {folder / 'paths' / 'smoke.jsonl'}" in result.stdout
    return folder / "smoke.jsonl"


def test_the_log_is_that_of_a_run_without_traces(log: Path, tmp_path: Path) -> None:
    assert lowlands_command(*RUN, "--results", tmp_path).exit_code == 0
    one, other = ([identity(record) for record in read(path).records] for path in (log, tmp_path / "smoke.jsonl"))
    assert one == other
    assert not file_of(tmp_path / "smoke.jsonl").exists()
    # Runs that are recorded are not made again, and the command says that they have no path.
    result = lowlands_command(*RUN, "--results", tmp_path, "--trace", "2")
    assert "2 of 2 scored runs were recorded before, without --trace" in result.stderr


def test_frames_and_figures_show_every_step_of_every_scored_run(log: Path, tmp_path: Path) -> None:
    results = lowlands.load(log)
    frame = results.frame("path")
    scored = {(r["seed"], r["trial"]): r for r in results.records if r["phase"] == "score"}
    assert set(zip(frame["seed"], frame["trial"], strict=True)) == scored.keys()
    assert {"train_loss", "weight_norm", "update_norm", "sharpness", "excess_norm"} <= set(frame["measure"])
    for (seed, _), record in scored.items():
        losses = frame[(frame["seed"] == seed) & (frame["measure"] == "train_loss")].set_index("step")["value"]
        assert list(losses.index[:6]) == [0, 1, 2, 4, 8, 16]
        assert losses.index[-1] == record["steps"]
        assert losses.iloc[-1] == pytest.approx(record["train_loss"], rel=1e-5)
        excess = frame[(frame["seed"] == seed) & (frame["measure"] == "excess_norm")]["value"].iloc[-1]
        assert excess == pytest.approx(record["measures"]["excess_norm"], rel=1e-5)
    picture = tmp_path / "path.svg"
    drawn = lowlands_command("figure", "path:min_norm_regression", "--results", log, "-o", picture, "--format", "svg")
    assert drawn.exit_code == 0, drawn.output
    assert "weight norm" in picture.read_text()
    assert lowlands_command("export", tmp_path / "tables", "--results", log).exit_code == 0
    assert (tmp_path / "tables" / "path.csv").read_text().count("\n") == len(frame) + 1


def test_runs_that_were_trained_beside_the_tuning_runs_have_paths_too(tmp_path: Path) -> None:
    options = ("--task", "valley_scalar", "--seeds", "2", "--trials", "2", "--searches", "1", "--engine", "local:0")
    result = lowlands_command("run", "sgd", *options, "--results", tmp_path, "--trace", "4")
    assert result.exit_code == 0, result.output
    records = lowlands.load(tmp_path).records
    scored = [record for record in records if record["phase"] == "score"]
    assert len({record["trial"] for record in scored}) == 2  # every setting that trains is scored
    assert all(record["path"]["steps"][-1] == record["steps"] for record in scored)
    assert not any("path" in record for record in records if record["phase"] == "tune")
    assert all("imbalance" in record["path"]["measures"] for record in scored)  # u and v are factors


def test_lines_that_are_damaged_or_of_other_runs_do_not_count(log: Path, tmp_path: Path) -> None:
    copy = tmp_path / "smoke.jsonl"
    copy.write_bytes(log.read_bytes())
    first, second = (json.loads(line) for line in file_of(log).read_text().splitlines())
    file_of(copy).parent.mkdir()
    other = first | {"solution_hash": "0" * 16}
    uneven = second | {"steps": second["steps"][1:]}
    file_of(copy).write_text("\n".join(map(json.dumps, (other, uneven))) + '\n{"submission": "ad')
    results = lowlands.load(copy)
    assert results.frame("path").empty
    assert [note.partition(": ")[2].partition(" (")[0] for note in results.notes] == [
        "line 2 is damaged",
        "line 3 is damaged",
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--trace", "1"), "1.0 is not in the range x>1"),
        (("--trace", "nan"), "nan is not a finite number"),
        (("--trace", "inf"), "inf is not a finite number"),
        (("--trace-all",), "--trace-all needs --trace EVERY"),
        (("--trace", "2", "--isolate"), "--trace cannot be used with --isolate"),
    ],
)
def test_what_cannot_be_traced_is_a_sentence(options: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    result = lowlands_command(*RUN, "--results", tmp_path / "results", *options)
    assert result.exit_code == 2
    assert sentence in result.output
    assert not (tmp_path / "results").exists()


def test_paths_that_cannot_be_written_are_said_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "paths").touch()
    result = lowlands_command(*RUN, "--results", tmp_path, "--trace", "2")
    assert result.exit_code == 2
    assert "The measures along training cannot be written to" in result.output
    assert not (tmp_path / "smoke.jsonl").read_bytes()
