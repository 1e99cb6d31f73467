"""`import lowlands`: names, runs from Python, and what comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lowlands
from leaderboard.analysis.baselines import BASELINES
from suite.entries.loading import PICKLED, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def smoke() -> lowlands.Results:
    """The shipped results of the smoke track."""
    return lowlands.load(track="smoke")


def test_every_name_is_there_and_none_is_slow_to_import() -> None:
    code = """
import sys
import lowlands
from lowlands import Choice, InputError, LogUniform, Submission, Uniform
assert not {"torch", "pandas", "numpy", "scipy", "matplotlib", "click"} & set(sys.modules), sorted(sys.modules)
assert all(getattr(lowlands, name) is not None for name in lowlands.__all__)
assert {*lowlands.MODULES} <= {*lowlands.__all__} == {*dir(lowlands)}
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = lowlands.runs  # type: ignore[attr-defined]


SCRIPT = """
import sys
import torch
import lowlands

FACTOR = 0.5

class Halved(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(FACTOR)
        return super().step(closure)

own = lowlands.Submission(name="halved", optimizer=Halved, space={"lr": 0.5})
where = {"track": "smoke", "tasks": ["min_norm_regression"], "results": "here", "engine": sys.argv[1]}
first = lowlands.run([own, "sgd[lr=0.25]"], **where)
again = lowlands.run(own, **where)
assert again.records == first.records
print(first.frame("measures").to_json(orient="records"))
"""


def test_a_class_of_a_script_runs_in_workers_and_once(tmp_path: Path) -> None:
    """The script does not guard its first line, and its class is known to no module; half a gradient is half a step."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), "local:1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frame = pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))
    values = {name: part["value"].to_numpy() for name, part in frame.groupby("submission")}
    assert len(values["halved"]) > 1
    np.testing.assert_allclose(values["halved"], values["sgd[lr=0.25]"], rtol=1e-6)
    assert "left" in done.stderr


def test_an_optimizer_of_a_module_is_found_by_name_and_one_of_a_notebook_by_a_file(tmp_path: Path) -> None:
    from lowlands.running import _text

    class Own(torch.optim.SGD):
        """One paragraph."""

    assert _text(torch.optim.SGD, tmp_path) == "torch.optim.sgd:SGD"
    assert _text(tmp_path / "mine.py", tmp_path) == str(tmp_path / "mine.py")
    text = _text(Own, tmp_path)
    assert text.endswith(PICKLED)
    loaded = load(text).submission
    assert loaded.tuned == ["lr"]
    assert loaded.optimizer is not None
    assert isinstance(loaded.optimizer([torch.nn.Parameter(torch.ones(2))]), torch.optim.SGD)
    with pytest.raises(lowlands.InputError, match="3 is no submission"):
        _text(3, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(lowlands.InputError, match="cannot be handed to other processes"):
        _text(lowlands.Submission(name="locked", optimizer=Own, loss=partial(len, threading.Lock())), tmp_path)


def test_a_damaged_file_of_a_submission_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / f"broken{PICKLED}"
    path.write_bytes(b"not pickled")
    with pytest.raises(lowlands.InputError, match="cannot be read"):
        load(str(path))


def test_results_are_tables_frames_and_text(smoke: lowlands.Results) -> None:
    table = smoke.table(kind="optimizer", filters=["submission=sgd"], columns=["submission", "overall"])
    assert "<table>" in table._repr_html_()
    assert "Scores: higher is better" in table._repr_html_()
    assert "sgd" in repr(table)
    assert r"\toprule" in table.render("latex")
    assert "<table>" in smoke._repr_html_()
    assert smoke.track == "smoke"
    assert {"sgd", "adam"} <= {*smoke.submissions}
    with pytest.raises(lowlands.InputError, match="did you mean 'ranking'"):
        smoke.table("rankin")
    with pytest.raises(lowlands.InputError, match="did you mean 'scores'"):
        smoke.frame("score")


def test_frames_hold_what_the_records_hold(smoke: lowlands.Results) -> None:
    frames = {name: smoke.frame(name) for name in ("runs", "scores", "measures", "settings", "curves")}
    scored = [record for record in smoke.records if record["phase"] == "score"]
    assert len(frames["runs"]) == len(smoke.records)
    assert len(frames["measures"]) == sum(len(record["measures"]) for record in scored)
    assert len(frames["scores"]) == sum(len(record["axes"]) for record in scored)
    assert len(frames["settings"]) == sum(len(record["hyperparameters"]) for record in smoke.records)
    points = sum(len(curve["x"]) for record in smoke.records for curve in record.get("curves", {}).values())
    assert len(frames["curves"]) == points
    run = scored[0]
    rows = frames["measures"]
    for field in ("submission", "task", "seed", "trial"):
        rows = rows[rows[field] == run[field]]
    rows = rows[(rows["kind"] == run["kind"]) & (rows["phase"] == "score")]
    assert dict(zip(rows["measure"], rows["value"], strict=True)) == run["measures"]
    assert frames["scores"]["score"].between(0, 2).all()


def test_which_log_of_a_folder_is_meant(tmp_path: Path) -> None:
    with pytest.raises(lowlands.InputError, match=r"holds results of full, quick, smoke, theory: name one"):
        lowlands.load(BASELINES)
    with pytest.raises(lowlands.InputError, match="There are no results"):
        lowlands.load(tmp_path)
    (tmp_path / "mine.jsonl").symlink_to(BASELINES / "smoke.jsonl")
    assert lowlands.load(tmp_path).records == lowlands.load(track="smoke").records


def test_tasks_are_a_frame() -> None:
    tasks = lowlands.tasks()
    assert tasks.loc["min_norm_regression", "tracks"] == "smoke, quick, theory, default, untuned, full"
    assert list(lowlands.tasks("sparse_regression[alpha=0.01]").index) == ["sparse_regression[alpha=0.01]"]


def test_measures_of_a_network() -> None:
    """A linear network's l2 norm and the largest eigenvalue of its squared loss are closed forms."""
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(3, 1, bias=False).double()
    values = lowlands.measure(model, (x, x[:, :1]), ["lambda_max", "l2_norm"])
    # mean((x w - y)^2) has the Hessian 2 X'X / n.
    assert float(values["lambda_max"]) == pytest.approx(float(torch.linalg.eigvalsh(2 * x.T @ x / 20)[-1]), rel=1e-3)
    assert float(values["l2_norm"]) == pytest.approx(float(model.weight.detach().norm()))
