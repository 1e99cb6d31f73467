"""The hot functions, for information: ``pytest -n 0 tests/benchmarks --benchmark-only``. asv is the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from asv_bench.bench_scoring import made_up
from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.ranking import board
from leaderboard.analysis.scoring import add_scores, tabulate
from suite.measures import measure
from suite.storage.log import read
from suite.tasks import find_task
from suite.training.lanes import StackedModels


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.benchmark(group="lanes")
@pytest.mark.parametrize("name", ["min_norm_regression", "sparse_regression", "mnist5k_mlp"])
def test_gradients_of_eight_lanes(benchmark: BenchmarkFixture, name: str) -> None:
    task = find_task(name)
    problems = [task.problem(seed) for seed in range(8)]
    models = [task.model(problem, seed) for seed, problem in enumerate(problems)]
    stack = StackedModels(models, task.loss, torch.ones(8, dtype=task.dtype))
    x, y = (torch.stack([getattr(p.train, part)[:64] for p in problems]) for part in ("x", "y"))
    losses = benchmark(stack.evaluate, x, y, None)
    assert losses.shape == (8,)


@pytest.mark.benchmark(group="measures")
@pytest.mark.parametrize("name", ["lambda_max", "hessian_trace", "adaptive_sharpness"])
def test_curvature(benchmark: BenchmarkFixture, name: str) -> None:
    task = find_task("mnist5k_mlp")
    problem = task.problem(0)
    model = task.model(problem, 0)
    values = benchmark.pedantic(measure, args=(model, problem.train, [name]), rounds=3)
    assert np.isfinite(list(values.values())).all()


@pytest.mark.benchmark(group="scoring")
def test_a_board(benchmark: BenchmarkFixture) -> None:
    results = made_up(20, 25, 10)
    assert len(benchmark(board, results).standings) == 20


@pytest.mark.benchmark(group="scoring")
def test_the_overall_scores_of_a_frame(benchmark: BenchmarkFixture) -> None:
    frame = made_up(20, 25, 10).frame()
    assert len(benchmark(lambda: tabulate(add_scores(frame)).overall)) == 20


@pytest.mark.benchmark(group="records")
def test_reading_the_shipped_log(benchmark: BenchmarkFixture) -> None:
    log: Path = BASELINES / "quick.jsonl"
    assert not benchmark(read, log).damaged
