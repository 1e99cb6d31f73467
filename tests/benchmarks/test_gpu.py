"""The program for GPUs runs to its end on a CPU, and sees records that differ."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu


@pytest.mark.timeout(900)
def test_the_program_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--tiny"]) == 0
    printed = capsys.readouterr().out
    assert "they agree" in printed
    assert printed.count("| MLP 784-256-256-10 |") == printed.count("| CNN of `cifar10_cnn` |") == len(gpu.TINY.lanes)
    assert "5 eigenvalues" in printed


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "Error: torch finds no cuda device here.\n"


def test_records_that_differ_are_named() -> None:
    record = {
        "submission": "sgd",
        "task": "t",
        "phase": "score",
        "trial": 0,
        "seed": 1,
        "status": "converged",
        "gradient_evaluations": 1000,
        "measures": {"norm": 2.0, "test_error": 0.0},
    }
    near = record | {"gradient_evaluations": 1001, "measures": {"norm": 2.001, "test_error": 1e-12}}
    assert gpu.differences([record], [near]) == []
    far = record | {"gradient_evaluations": 1003, "measures": {"norm": 2.01, "test_error": 0.0}}
    assert gpu.differences([record], [far]) == [
        "sgd t score 0 1: gradient evaluations 1000, 1003",
        "sgd t score 0 1: norm 2, 2.01",
    ]
    assert gpu.differences([record], [record | {"status": "budget"}]) == ["sgd t score 0 1: converged, budget"]
    assert gpu.differences([record], []) == gpu.differences([], [record]) == ["sgd t score 0 1: missing"]
