"""rich_mixture: the references are what they are called, and turning the inputs concerns entrywise methods alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from suite.task import Oracle, Solution
from suite.tasks import find_task
from suite.tasks.features_mixture import CLUSTERS, HiddenLayer, affine_share, turn
from tests.suite.tasks.helpers import trained


@pytest.mark.parametrize("name", ["rich_mixture", "rich_mixture[rotation=45.0]"])
def test_the_line_scores_zero(name: str) -> None:
    task = find_task(name)
    problem = task.problem(0)
    direction = turn(float(task.variant["rotation"]))[:, 0]
    line = HiddenLayer(math.sqrt(2) * torch.stack([direction, -direction]))
    with torch.no_grad():
        plane = problem.required_test.x @ turn(float(task.variant["rotation"]))
        assert torch.allclose(line(problem.required_test.x)[:, 0], plane[:, 0], atol=1e-12)
    measures = task.measure(Solution(line, {}, problem, Oracle(), 0))
    error = 3 * math.sqrt(CLUSTERS.linear_error / 20_000)
    assert measures["test_error"] == pytest.approx(CLUSTERS.linear_error, abs=error)
    assert measures["affine_share"] == pytest.approx(1, abs=1e-12)
    assert measures["bayes_disagreement"] > 0.05


def test_the_data_are_the_clusters() -> None:
    test = find_task("rich_mixture").problem(1).required_test
    x, y = test.x.numpy(), test.y.numpy()[:, 0]
    wrong = np.mean(np.sign(CLUSTERS.log_odds(x)) != y)
    assert wrong == pytest.approx(CLUSTERS.bayes_error, abs=3 * math.sqrt(CLUSTERS.bayes_error / 20_000))
    assert x[y < 0].mean(0) == pytest.approx([-CLUSTERS.behind, 0], abs=0.05)
    assert np.abs(x[y > 0, 1]).mean() == pytest.approx(CLUSTERS.far, abs=0.05)


def test_the_turned_task_is_the_task_in_other_coordinates() -> None:
    plain, turned = (find_task(name).problem(0) for name in ("rich_mixture", "rich_mixture[rotation=45.0]"))
    assert torch.allclose(turned.train.x @ turn(45.0), plain.train.x, atol=1e-12)
    assert torch.equal(plain.train.y, turned.train.y)


def test_the_affine_share_is_the_coefficient_of_determination() -> None:
    generator = torch.Generator().manual_seed(0)
    x, values = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((50, 2), (50,)))
    slopes = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), values.numpy(), rcond=None)
    expected = 1 - float(slopes[1][0]) / float(((values - values.mean()) ** 2).sum())
    assert affine_share(values, x) == pytest.approx(expected, rel=1e-10)


def test_adam_comes_closer_to_the_bayes_classifier_until_the_inputs_are_turned() -> None:
    plain, turned = find_task("rich_mixture"), find_task("rich_mixture[rotation=45.0]")
    for straight, rotated, descent in zip(
        trained(plain, "adam", 0.02), trained(turned, "adam", 0.02), trained(plain, "sgd", 0.2), strict=True
    ):
        assert straight["test_error"] < descent["test_error"] < CLUSTERS.linear_error
        assert straight["bayes_disagreement"] < 0.7 * descent["bayes_disagreement"]
        assert rotated["bayes_disagreement"] > 1.5 * straight["bayes_disagreement"]
