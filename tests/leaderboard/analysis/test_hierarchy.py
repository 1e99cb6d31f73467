"""Variances over families, tasks and seeds, against statsmodels' REML and against simulated truths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from statsmodels.formula.api import mixedlm

from leaderboard.analysis import hierarchy
from leaderboard.analysis.hierarchy import components, differences_over_tasks, spread_over_tasks
from leaderboard.analysis.scoring import Cell, Scores
from leaderboard.analysis.statistics import Array

AXES = ("norm", "flatness")


def _scores(layout: Sequence[tuple[str, str, str]], values: Array) -> Scores:
    """`layout` is (family, task, axis) of every cell, `values` [submissions, cells] the score of both its seeds."""
    cells = []
    for (family, task, axis), column in zip(layout, values.T, strict=True):
        runs = np.stack([column, column], axis=1)
        cells.append(Cell(task, family, axis, "m", True, (0, 1), runs, runs, np.zeros(runs.shape, dtype=np.intp)))
    return Scores(tuple(f"s{number}" for number in range(len(values))), tuple(cells))


def _draw(rng: np.random.Generator, layout: Sequence[tuple[str, str, str]], submissions: int, *sd: float) -> Array:
    """0.5 + effects of cells, and of submissions on axes, families, tasks and cells (standard deviations `sd`)."""
    values = 0.5 + 0.1 * rng.normal(size=len(layout)) + np.zeros((submissions, 1))
    for place, deviation in zip(((2,), (0,), (1,), (0, 1, 2)), (0.1, *sd), strict=True):
        keys = [tuple(cell[part] for part in place) for cell in layout]
        names = sorted(set(keys))
        effects = deviation * rng.normal(size=(submissions, len(names)))
        values = values + effects[:, [names.index(key) for key in keys]]
    return values


def test_balanced_it_is_restricted_maximum_likelihood() -> None:
    layout = [(f"f{f}", f"t{f}{t}", "norm") for f in range(5) for t in range(3)]
    values = _draw(np.random.default_rng(3), layout, 8, 0.1, 0.05, 0.0)
    found = components(_scores(layout, values))
    assert found is not None
    frame = pd.DataFrame(
        [
            {"y": values[s, c], "submission": f"s{s}", "task": task, "pair": f"s{s}{family}"}
            for s, (c, (family, task, _)) in itertools.product(range(8), enumerate(layout))
        ]
    )
    fitted = mixedlm("y ~ C(submission) + C(task)", frame, groups="pair").fit(reml=True)
    # In statsmodels the family's effect has all of its variance; here all submissions' mean is taken out of both.
    assert found.family == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=1e-3)
    assert found.task + found.cell == pytest.approx(fitted.scale, rel=1e-3)


def test_known_variances_are_found_again() -> None:
    tasks = [(f"f{f}", f"t{f}{t}", AXES[: 1 + (f + t) % 2]) for f in range(8) for t in range(1 + f % 3)]
    layout = [(family, task, axis) for family, task, axes in tasks for axis in axes]
    rng, results = np.random.default_rng(0), []
    for _ in range(120):
        found = components(_scores(layout, _draw(rng, layout, 12, 0.2, 0.1, 0.1)))
        assert found is not None
        results.append((found.family, found.task, found.cell))
    assert np.mean(results, axis=0) == pytest.approx([0.04, 0.01, 0.01], rel=0.1)


def test_the_interval_of_a_difference_holds_over_other_tasks() -> None:
    """One axis, whose overall score is linear: equal submissions on tasks drawn anew."""
    layout = [(f"f{f}", f"t{f}{t}", "norm") for f in range(6) for t in range(1 + f % 3)]
    rng, hits = np.random.default_rng(1), []
    for _ in range(300):
        values = _draw(rng, layout, 6, 0.1, 0.05, 0.02)
        differences = differences_over_tasks(_scores(layout, values))
        truth = 0.0  # but for the submissions' own effects on the axis, which are drawn with 0.1
        assert differences is not None
        t = (differences.difference[0, 1] - truth) / np.hypot(differences.spread.error[0, 1], 0.1 * np.sqrt(2))
        hits.append(abs(t) < 1.96)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_where_nothing_is_known_of_other_tasks() -> None:
    one_family = [("f", "t0", "norm"), ("f", "t1", "norm")]
    one_cell_each = [("f", "t", "norm"), ("g", "u", "flatness")]
    rng = np.random.default_rng(2)
    for layout, submissions in ((one_family, 3), (one_cell_each, 3), ([*one_family, ("g", "u", "norm")], 1)):
        scores = _scores(layout, rng.uniform(size=(submissions, len(layout))))
        assert components(scores) is None
        assert spread_over_tasks(scores) is None
        assert differences_over_tasks(scores) is None


@pytest.mark.parametrize("seed", range(20))
def test_variances_that_are_not_negative_are_those_of_scipy(seed: int) -> None:
    stream = np.random.default_rng(seed)
    matrix, values = stream.random((3, 3)) + np.eye(3), stream.normal(size=3)
    np.testing.assert_allclose(hierarchy._nonnegative(matrix, values), nnls(matrix, values)[0], rtol=1e-9, atol=1e-12)
