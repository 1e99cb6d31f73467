"""neural_collapse: the oracle's weights measure as collapsed, and decay decides whether the rows sum to zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from suite.oracles.collapse import collapsed_minimum, simplex_etf
from suite.task import Oracle, Solution
from suite.tasks import find_task
from suite.tasks.features_collapse import FreeFeatures
from tests.suite.tasks.helpers import trained


def test_the_minimizer_is_collapsed() -> None:
    task = find_task("neural_collapse")
    problem, least = task.problem(0), collapsed_minimum(4, 40, 0.005)
    frame = np.linalg.svd(simplex_etf(4))[0][:, :3]  # rows of an ETF in three dimensions
    classifier = torch.zeros(4, 8, dtype=torch.float64)
    classifier[:, :3] = torch.from_numpy(frame * math.sqrt(least.squared_norm / 3))
    features = classifier[problem.train.y].T / math.sqrt(10)
    model = FreeFeatures(classifier, features)
    assert float(features.square().sum()) == pytest.approx(least.squared_norm)
    measures = task.measure(Solution(model, {}, problem, Oracle(), 0))
    for name in ("etf_distance", "classifier_distance", "duality_distance", "within_class", "row_sum"):
        assert measures[name] == pytest.approx(0, abs=1e-7), name
    assert measures["gap_ratio"] == pytest.approx(1)
    assert measures["squared_norm_ratio"] == pytest.approx(1)
    assert task.loss(model(problem.train.x), problem.train.y).item() == pytest.approx(least.loss)


def test_measures_are_of_directions_and_see_what_is_not_collapsed() -> None:
    task = find_task("neural_collapse")
    problem = task.problem(0)
    classifier, features = problem.ground_truth["classifier"], problem.ground_truth["features"]
    first, scaled = (
        task.measure(Solution(FreeFeatures(classifier * s, features * s), {}, problem, Oracle(), 0)) for s in (1, 3)
    )
    for name in ("etf_distance", "classifier_distance", "duality_distance", "within_class", "row_sum"):
        assert scaled[name] == pytest.approx(first[name])
        assert 0.1 < first[name] < 5
    assert first["row_sum"] == pytest.approx(
        float(np.linalg.norm(np.ones(4) @ classifier.numpy()) / (2 * np.linalg.norm(classifier.numpy())))
    )


def test_gradient_descent_with_coupled_decay_collapses() -> None:
    (measures,) = trained(find_task("neural_collapse"), "sgd", 1.5, seeds=1, weight_decay=0.005)
    assert measures["row_sum"] < 1e-3
    assert measures["etf_distance"] < 0.05
    assert measures["gap_ratio"] == pytest.approx(1, abs=0.05)
