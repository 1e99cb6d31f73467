"""Optimizers that raise for weights in double precision: a copy of the task where it will do, a sentence where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite.namesakes.collections import find, installed
from suite.storage.record import Record
from suite.task import Target
from suite.tasks import find_task
from suite.training.single_precision import in_single_precision, is_reachable, refuses_double
from suite.trials import resolved
from suite.trials.evaluate import run_unit
from suite.trials.unit import Trial, Unit

SOURCE = """
import torch
from suite import LogUniform, Submission

class Narrow(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                {check}
        super().step()

submission = Submission(name="narrow", optimizer=Narrow, space={{"lr": LogUniform(0.1, 1.0)}})
"""
REFUSING = "parameter.grad @ torch.zeros_like(parameter, dtype=torch.float32)"
"""Raises for what is not float32, as the eigenbases of heavyball do."""


def _records(tmp_path: Path, check: str, task: str = "min_norm_regression", **more: Any) -> list[Record]:
    path = tmp_path / f"narrow_{len(check)}.py"  # a file is loaded once
    path.write_text(SOURCE.format(check=check))
    return run_unit(Unit(str(path), task, "smoke", "score", (Trial(0, {"lr": 0.9}),), (0, 1), **more))


def test_it_is_trained_on_a_copy_and_measured_on_the_task(tmp_path: Path) -> None:
    """Its solution is the pseudo-inverse's up to single precision, and at the target loss in double precision."""
    records = _records(tmp_path, REFUSING)
    plain = _records(tmp_path, "pass")
    target = find_task("min_norm_regression").target
    for record, other in zip(records, plain, strict=True):
        assert (record["status"], record["precision"], other["precision"]) == ("converged", "float32", None)
        assert target.admits(record["train_loss"])
        assert record["data_fingerprint"] == other["data_fingerprint"]
        assert record["axes"] == other["axes"]
        assert record["measures"]["excess_norm"] < 1e-3
        assert record["measures"]["l2_norm"] == pytest.approx(other["measures"]["l2_norm"], rel=1e-4)


def test_it_is_refused_in_a_sentence_where_rounding_is_larger_than_the_target_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task("min_norm_regression")
    deep = replace(task, target=replace(task.target, loss=1e-16))
    monkeypatch.setattr(resolved, "open_task", lambda _: deep)
    for record in _records(tmp_path, REFUSING):
        assert (record["status"], record["precision"]) == ("failed", None)
        assert "refuses weights in double precision" in record["reason"]
        assert "single precision does not reach the target loss 1e-16" in record["reason"]


@pytest.mark.parametrize("check", ["raise ValueError('no such group')", 'raise RuntimeError("expected scalar type")'])
def test_what_fails_on_the_copy_too_fails_as_before(tmp_path: Path, check: str) -> None:
    for record in _records(tmp_path, check):
        assert (record["status"], record["precision"]) == ("failed", None)
        assert record["reason"].split(": ")[-1] in ("no such group", "expected scalar type")


@pytest.mark.parametrize(
    ("loss", "reachable"), [(1e-10, True), (1e-8, True), (0.3, True), (-30.0, True), (1e-14, False), (0.0, False)]
)
def test_which_targets_are_reachable(loss: float, reachable: bool) -> None:
    assert is_reachable(Target(loss, 100)) is reachable


def test_rounding_hides_less_than_the_copy_leaves() -> None:
    """Residuals of length r at outputs of about 1, rounded to float32: the loss is off by less than the distance."""
    rng = np.random.default_rng(0)
    task = find_task("min_norm_regression")
    for exponent in range(-10, -2):
        copy = in_single_precision(replace(task, target=replace(task.target, loss=10.0**exponent)))
        residuals = rng.normal(size=400)
        residuals *= np.sqrt(copy.target.loss / np.mean(residuals**2))
        targets = rng.normal(size=400)
        rounded = (targets + residuals).astype(np.float32).astype(float)
        assert np.mean((rounded - targets) ** 2) < 10.0**exponent


def test_the_copy_is_in_single_precision_and_one_that_is_so_already_stays() -> None:
    task = find_task("spectral_margin")
    copy = in_single_precision(task)
    problem = copy.problem(0)
    assert problem.train.x.dtype == torch.float32
    assert {p.dtype for p in copy.model(problem, 0).parameters()} == {torch.float32}
    assert in_single_precision(copy) is copy


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("expected scalar type Double but found Float", True),
        ("expected m1 and m2 to have the same dtype, but got: double != float", True),
        ("no such group", False),
    ],
)
def test_errors_that_speak_of_precision(text: str, refuses: bool) -> None:
    assert refuses_double([RuntimeError(text)] * 2) is refuses
    assert not refuses_double([RuntimeError(text), None])


@pytest.mark.slow
@pytest.mark.skipif(installed("heavyball") is None, reason="heavyball is not installed")
def test_a_real_one_finds_a_solution_of_the_task() -> None:
    """heavyball's SOAP raises for matrices of float64 (docs/namesakes.md), and steps vectors of them."""
    find("heavyball:SOAP")  # without its compiler
    make = Trial(0, {"lr": 0.01, "weight_decay": 0.0})
    for task, precision in (("spectral_margin", "float32"), ("min_norm_regression", None)):
        (record,) = run_unit(Unit("heavyball:SOAP", task, "smoke", "score", (make,), (0,)))
        assert record["precision"] == precision
        assert record["placement"].keys() == {"SOAP"}
        assert task != "spectral_margin" or record["status"] == "converged"
