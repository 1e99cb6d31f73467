"""The command through its real entry point, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from leaderboard.cli import main
from suite.storage.log import read
from suite.storage.record import identity, seal
from tests.suite.tasks.test_own_tasks import TASK

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--track", "smoke", "--task", "min_norm_regression", "--engine", "local:0")


def lowlands(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "leaderboard", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the log of a finished run of two submissions."""
    directory = tmp_path_factory.mktemp("finished")
    result = lowlands("run", "sgd", "adam", *SMALL, cwd=directory)
    assert result.returncode == 0, result.stderr
    assert "adam" in result.stdout
    assert "smoke.jsonl" in result.stdout
    return directory


def _by_run(path: Path) -> dict[tuple[object, ...], dict[str, object]]:
    return {
        tuple(record[key] for key in ("submission", "task", "phase", "trial", "seed")): identity(record)
        for record in read(path).records
    }


def test_resume_runs_nothing_again(finished: Path) -> None:
    log = finished / "results" / "smoke.jsonl"
    before = log.read_bytes()
    result = lowlands("run", "sgd", "adam", *SMALL, cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "reached the target loss" not in result.stderr
    assert log.read_bytes() == before


def test_more_seeds_add_runs_only(finished: Path, tmp_path: Path) -> None:
    log = tmp_path / "results" / "smoke.jsonl"
    log.parent.mkdir()
    log.write_bytes((finished / "results" / "smoke.jsonl").read_bytes())
    old = read(log).records
    assert lowlands("run", "sgd", *SMALL, "--seeds", "3", cwd=tmp_path).returncode == 0
    new = read(log).records
    assert new[: len(old)] == old
    assert [(r["phase"], r["seed"]) for r in new[len(old) :]] == [("score", 2)]


def test_same_seed_same_record_and_seeds_differ(finished: Path, tmp_path: Path) -> None:
    assert lowlands("run", "adam", "sgd", *SMALL, cwd=tmp_path).returncode == 0
    first = _by_run(finished / "results" / "smoke.jsonl")
    assert first == _by_run(tmp_path / "results" / "smoke.jsonl")
    for field in ("data_fingerprint", "solution_hash"):
        values = [r[field] for r in first.values() if r["submission"] == "sgd" and r["phase"] == "score"]
        assert len(set(values)) == len(values) == 2


def test_sgd_finds_the_oracle_and_adam_does_not(finished: Path) -> None:
    for record in read(finished / "results" / "smoke.jsonl").records:
        if record["phase"] == "score":
            assert record["converged"]
            excess = record["measures"]["excess_norm"]
            assert excess < 1e-3 if record["submission"] == "sgd" else excess > 0.3


def test_torn_line_is_repaired_and_its_run_repeated(finished: Path, tmp_path: Path) -> None:
    log = tmp_path / "results" / "smoke.jsonl"
    log.parent.mkdir()
    whole = (finished / "results" / "smoke.jsonl").read_bytes()
    log.write_bytes(whole[:-40])
    result = lowlands("run", "sgd", "adam", *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torn" in result.stderr
    assert _by_run(log) == _by_run(finished / "results" / "smoke.jsonl")


def test_damaged_line_is_named_and_its_run_repeated(finished: Path, tmp_path: Path) -> None:
    log = tmp_path / "results" / "smoke.jsonl"
    log.parent.mkdir()
    lines = (finished / "results" / "smoke.jsonl").read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"score"', b'"sc0re"', 1)
    log.write_bytes(b"".join(lines))
    result = lowlands("run", "sgd", "adam", *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"line {len(lines)}" in result.stderr
    assert _by_run(log) == _by_run(finished / "results" / "smoke.jsonl")


def test_resume_after_sigkill_equals_an_uninterrupted_run(finished: Path, tmp_path: Path) -> None:
    log = tmp_path / "results" / "smoke.jsonl"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "leaderboard", "run", "sgd", "adam", *SMALL],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lowlands("run", "sgd", "adam", *SMALL, cwd=tmp_path).returncode == 0
    assert _by_run(log) == _by_run(finished / "results" / "smoke.jsonl")


FAILING = """import torch
from suite import LogUniform, Submission

class Bad(torch.optim.SGD):
    def step(self, closure=None):
        {body}

submission = Submission(name="bad", optimizer=Bad, space={{"lr": LogUniform(1e-2, 1.0)}})
"""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("raise RuntimeError('I give up')", "failed"),
        ("[p.data.fill_(float('nan')) for p in self.param_groups[0]['params']]", "diverged"),
    ],
)
def test_an_optimizer_that_breaks_is_recorded_and_the_run_goes_on(tmp_path: Path, body: str, status: str) -> None:
    (tmp_path / "bad.py").write_text(FAILING.format(body=body))
    result = lowlands("run", "bad.py", "sgd", *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{status.capitalize()} runs: bad 2." in result.stdout
    ranking = result.stdout[result.stdout.index("Lowlands: optimizers") :]
    assert ranking.index(" sgd ") < ranking.index(" bad (no solutions)")
    records = read(tmp_path / "results" / "smoke.jsonl").records
    bad = [r for r in records if r["submission"] == "bad"]
    assert {r["status"] for r in bad} == {status}
    assert not any(r["converged"] for r in bad)
    assert any(r["submission"] == "sgd" and r["converged"] for r in records)
    if status == "failed":
        assert {r["reason"] for r in bad} == {"RuntimeError: I give up"}
        where = tmp_path / "results" / "failures" / "bad.txt"
        assert "bad.py:6, in step: raise RuntimeError('I give up')" in result.stderr
        assert result.stderr.count("The traceback:") == 1
        assert where.read_text().count("Traceback (most recent call last)") == 1
        assert "RuntimeError: I give up" in where.read_text()
        alone = lowlands("run", "bad.py", *SMALL, cwd=tmp_path)  # resumed, and nothing of it works
        assert alone.returncode == 1
        assert "Every run has failed." in alone.stderr
        assert not any("traceback" in record for record in records)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "adm"), "did you mean 'adam'"),
        (("run", "--task", "max_margn"), "did you mean 'max_margin'"),
        (("run", "--task", "image:nothing"), "There is no data set 'nothing'"),
        (("run", "--task", "sparse_regression[beta=1]"), "has no variant 'beta'"),
        (("run", "--track", "quik"), "did you mean 'quick'"),
        (("run", "--engine", "clay"), "must be local, local:N, dask or dask:SCHEDULER"),
        (("run", "--time-limit", "soon"), "is not a number with a unit, such as 90s or 8h"),
        (("run", "--memory-limit", "0GB"), "is not a number with a unit, such as 4GB"),
        (("run", "sgd", "--engine", "local:0", "--trial-time-limit", "5s"), "needs worker processes"),
        (("run", "--seeds", "-3"), "Invalid value for '--seeds'"),
        (("run", "--device", "abacus"), "cannot be used"),
        (("run", "nothing.py"), "There is no file"),
        (("run", "--data", "nowhere"), "There is no directory"),
        (("run", "sgd", "sgd"), "Two of the submissions are named 'sgd'"),
        (("run", "sgd", "--results", "a_file/below"), "cannot be written"),
        (("table", "--results", "nowhere"), "There are no results"),
        (("table", "--columns", "overal"), "did you mean 'overall'"),
        (("table", "--filter", "overall"), "must look like"),
        (("table", "--track", "theory", "--kind", "architecture"), "The results hold no 'architecture'"),
        (("table", "--track", "quikc"), "did you mean 'quick'?"),
        (("table", "--results", "a_file"), "The results hold no records"),
        (("tasks", "nothing"), "There is no task"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    """In this process: starting one takes seconds. The next test has one of its own."""
    (tmp_path / "a_file").write_text("")
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"COLUMNS": "160"}).invoke(main, arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert isinstance(result.exception, SystemExit)  # nothing else was raised


def test_a_process_ends_with_status_2(tmp_path: Path) -> None:
    result = lowlands("run", "adm", cwd=tmp_path)
    assert result.returncode == 2
    assert "did you mean 'adam'" in result.stderr
    assert "Traceback" not in result.stderr


def test_images_of_your_own(tmp_path: Path) -> None:
    labels = np.arange(90) % 3
    images = np.zeros((90, 6, 7), dtype=np.uint8)
    images[np.arange(90), 0, labels] = 255
    np.savez(tmp_path / "blobs.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    options = ("--task", "image:blobs[network=mlp]", "--data", ".", "--seeds", "1", "--engine", "local:0")
    result = lowlands("run", "adam[lr=0.01]", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (record,) = read(tmp_path / "results" / "quick.jsonl").records
    assert record["converged"]
    assert record["measures"]["test_error"] == 0
    assert record["axes"] == {}
    assert record["stepping"] == "alone"


def test_tasks_and_a_track_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(TASK.format(name="line"))
    (tmp_path / "mine.toml").write_text("tasks = ['my_task.py:line']\nseeds = 2\ntrials = 2\nsearches = 1\n")
    result = lowlands("run", "sgd", "--track", "mine.toml", "--engine", "local:1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    records = [record for record in read(tmp_path / "results" / "mine.jsonl").records if record["phase"] == "score"]
    assert [(record["task"], record["family"], record["track"]) for record in records] == [
        ("my_task.py:line", "my_task", "mine")
    ] * 2
    assert all(record["measures"]["error"] < 1e-3 for record in records)  # the slope is the only solution
    shown = lowlands("table", "--results", "results", "--format", "json", cwd=tmp_path)
    assert json.loads(shown.stdout)[0]["rows"][0]["overall"]["value"] == pytest.approx(1, abs=1e-3)
    refused = lowlands("verify", "results", "--sample", "1", cwd=tmp_path)  # no code runs because a log names it
    assert refused.returncode == 1
    named = lowlands("verify", "results", "--sample", "1", "--task", "my_task.py:line", cwd=tmp_path)
    assert named.returncode == 0, named.stdout + named.stderr


def test_a_factory_that_raises_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from suite import Submission\n"
        "def make(params, lr):\n    raise ValueError('no such thing')\n"
        "submission = Submission(name='bad', optimizer=make, space={'lr': 0.1})\n"
    )
    result = lowlands("run", "bad.py", cwd=tmp_path)
    assert result.returncode == 2
    assert "cannot be built with {'lr': 0.1} (ValueError: no such thing)" in result.stderr


@pytest.mark.parametrize("style", ["markdown", "latex", "csv", "html", "json"])
def test_table_in_every_format(finished: Path, style: str) -> None:
    result = lowlands("table", "--results", "results", "--track", "smoke", "--format", style, cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "adam" in result.stdout
    if style == "json":
        json.loads(result.stdout)


def test_table_chooses_sorts_and_filters(finished: Path) -> None:
    choice = ("--columns", "submission,overall", "--sort", "-overall", "--filter", "overall>0.5", "--format", "csv")
    result = lowlands("table", "--results", "results", "--track", "smoke", *choice, cwd=finished)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "submission,overall,overall_low,overall_high"
    assert [line.split(",")[0] for line in lines[1:]] == ["sgd"]


@pytest.mark.parametrize("command", ["run", "tasks", "submissions", "table", "verify", "new"])
def test_help_has_an_example(command: str, tmp_path: Path) -> None:
    result = lowlands(command, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "Example: lowlands" in result.stdout


def test_lists(tmp_path: Path) -> None:
    listed = lowlands("tasks", cwd=tmp_path).stdout
    assert all(name in listed for name in ("sparse_regression", "image:NAME", "my_task.py:function"))
    assert "arXiv" in lowlands("tasks", "max_margin", cwd=tmp_path).stdout
    assert "nesterov" in lowlands("submissions", cwd=tmp_path).stdout


def test_verify_agrees_and_finds_what_was_changed(tmp_path: Path) -> None:
    assert lowlands("run", "sgd", *SMALL, "--keep-solutions", cwd=tmp_path).returncode == 0
    right = lowlands("verify", "results", "--sample", "1", cwd=tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    assert "2 solutions measured again, 1 runs repeated" in right.stdout
    log = tmp_path / "results" / "smoke.jsonl"
    records = read(log).records
    records[-1]["measures"]["excess_norm"] /= 2
    log.write_text("".join(json.dumps(seal(record), sort_keys=True) + "\n" for record in records))
    wrong = lowlands("verify", "results", "--sample", "0", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "DISAGREES sgd on min_norm_regression, score" in wrong.stdout
    assert "measures.excess_norm is" in wrong.stdout
    assert lowlands("verify", "nowhere", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 128 + signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_leaves_a_whole_log_and_says_how_to_go_on(
    finished: Path, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    log = tmp_path / "results" / "smoke.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "leaderboard", "run", "sgd", "adam", *SMALL],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    while "About" not in line:
        assert line, "the run ended before it began"
        line = process.stderr.readline()
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert process.returncode == status
    assert "Stopped. What is done lies in" in err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    raw = log.read_bytes()
    assert not raw or raw.endswith(b"\n")
    whole = _by_run(finished / "results" / "smoke.jsonl")
    assert all(whole[run] == record for run, record in _by_run(log).items())


def test_a_time_limit_leaves_a_whole_log_and_says_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    result = lowlands("run", "sgd", *SMALL[:-2], "--engine", "local:1", "--time-limit", "0.001s", cwd=tmp_path)
    assert result.returncode == 124
    assert "The time limit has passed. What is done lies in" in result.stderr
    assert not read(tmp_path / "results" / "smoke.jsonl").damaged


def test_a_new_optimizer_runs_as_it_is(tmp_path: Path) -> None:
    made = lowlands("new", "optimizer", "my_momentum", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "lowlands run my_momentum.py --track smoke" in made.stdout
    result = lowlands("run", "my_momentum.py", *SMALL, "--seeds", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (score,) = [r for r in read(tmp_path / "results" / "smoke.jsonl").records if r["phase"] == "score"]
    assert score["submission"] == "my_momentum"
    assert score["converged"]
    again = lowlands("new", "optimizer", "my_momentum", cwd=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert lowlands("new", "optimizer", "my momentum", cwd=tmp_path).returncode == 2
