"""Isolation changes no number: records of isolated and of plain runs agree to the last digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.sandbox.confinement import isolation
from suite.sandbox.limits import Limits
from suite.storage.log import Log, read
from suite.tracks import Track

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")

OF_THE_RUN = {
    "isolation",
    "time",
    "seconds",
    "measure_seconds",
    "unit_seconds",
    "cpu_seconds",
    "peak_memory",
    "checksum",
}
"""Fields that say how, when and for how long."""


def _records(path: Path, submission: str, task: str, trials: int, limits: Limits | None) -> list[dict[str, Any]]:
    """The records of the tuning trials, if there are several, and of two scored seeds, in a fixed order."""
    plan = make_plan((submission,), (task,), Track("smoke", (), 2, trials, 1, ""), limits=limits)
    with connect("local:0") as engine:
        list(Driver(plan, Log(path), engine).steps())
    return sorted(read(path).records, key=lambda record: (record["phase"], record["trial"], record["seed"]))


@pytest.mark.parametrize(
    ("submission", "task", "trials"),
    [
        ("mlp_narrow", "univariate_relu", 1),
        *(
            pytest.param(*pair, 2, marks=pytest.mark.slow)
            for pair in (
                ("adamw", "linf_box"),  # the task sets the weight decay
                ("lion", "linf_box"),
                ("adam", "linf_box"),
                ("sgd[weight_decay=0.01]", "linf_box"),
                ("sam", "adaptive_trap"),
                ("muon", "matrix_completion"),
                ("prodigy", "min_norm_regression"),
                ("schedulefree", "benign_overfitting"),
                ("lbfgs", "sparse_regression"),
                ("torch.optim:Adagrad", "linf_box"),
                ("residual_mlp", "univariate_relu"),
                ("linear_diagonal", "linear_geometry"),
                ("layernorm_mlp", "univariate_relu"),
            )
        ),
    ],
)
def test_records_are_those_of_a_plain_run(submission: str, task: str, trials: int, tmp_path: Path) -> None:
    assert _equal_records(submission, task, trials, tmp_path)[0]["status"] != "failed"


def _equal_records(submission: str, task: str, trials: int, tmp_path: Path) -> list[dict[str, Any]]:
    """The records, which are the same with isolation and without it."""
    plain = _records(tmp_path / "plain.jsonl", submission, task, trials, None)
    isolated = _records(tmp_path / "isolated.jsonl", submission, task, trials, Limits())
    assert {record["isolation"] for record in plain} == {None}
    assert {record["isolation"] for record in isolated} == {isolation()}
    for records in (plain, isolated):
        for record in records:
            for name in OF_THE_RUN:
                del record[name]
    assert plain == isolated
    return isolated


def test_what_is_seen_of_an_optimizer_is_seen_in_the_sandbox(tmp_path: Path) -> None:
    """Numbers and words of the probe, on gradients that the host gives; of the first scored seed alone."""
    first, second = _equal_records("sgd[weight_decay=0.01]", "min_norm_regression", 1, tmp_path)
    assert second["probe"] is None
    assert first["probe"]["behaviors"] == ["decays its weights"]
    # A displacement shrinks by the share lr * 0.01 in every step: it is off by what that makes at the end, at most.
    lr = first["hyperparameters"]["lr"]
    lost = 1 - (1 - 0.01 * lr) ** first["probe"]["steps"]
    assert 0 < first["probe"]["displaced"] < 1.01 * lost


NARROW = """
import torch
from suite import LogUniform, Submission

class Narrow(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad @ torch.zeros_like(parameter, dtype=torch.float32)
        super().step()

submission = Submission(name="narrow", optimizer=Narrow, space={"lr": LogUniform(0.1, 1.0)})
"""


@pytest.mark.slow
def test_a_guest_that_refuses_double_precision_meets_the_same_copy_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "narrow.py"
    path.write_text(NARROW)
    records = _equal_records(str(path), "min_norm_regression", 1, tmp_path)
    assert {record["precision"] for record in records} == {"float32"}
