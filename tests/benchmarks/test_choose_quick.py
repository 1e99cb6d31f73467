"""The choice of the quick track: against brute force, numpy's polyfit, and the track itself."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.choose_quick import (
    CORES,
    COSTS_LIKE,
    MINUTES,
    POOL,
    Pool,
    best,
    choices,
    leave_one_out,
    predictions,
    submission_seconds,
)
from leaderboard.analysis.statistics import Array
from leaderboard.commands.run import DEFAULT
from suite.tasks import find_task
from suite.tracks import TRACKS

BUDGET = 60 * MINUTES * CORES / len(COSTS_LIKE)


def _pool(tasks: int = 8, submissions: int = 5) -> Pool:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(3, tasks, submissions))
    scores[rng.uniform(size=(3, tasks)) < 0.3] = np.nan
    return Pool(
        tuple(f"s{number}" for number in range(submissions)),
        tuple(f"t{number}" for number in range(tasks)),
        tuple(f"f{number % 3}" for number in range(tasks)),
        rng.uniform(1, 5, tasks),
        scores,
        rng.uniform(size=submissions),
    )


def _overall(pool: Pool, chosen: tuple[int, ...]) -> Array:
    """The overall scores as docs/scores.md defines them, in plain loops."""
    axes = []
    for scores in pool.scores:
        families = defaultdict(list)
        for task in chosen:
            if not np.isnan(scores[task]).all():
                families[pool.families[task]].append(scores[task])
        axes.append(np.mean([np.mean(own, axis=0) for own in families.values()], axis=0))
    return np.asarray(np.prod(axes, axis=0) ** (1 / len(axes)))


@pytest.mark.parametrize("budget", [9.0, 16.0, 100.0])
@pytest.mark.parametrize("per_family", [None, 1])
def test_choices_are_those_of_brute_force(budget: float, per_family: int | None) -> None:
    pool = _pool()
    present = ~np.isnan(pool.scores).all(axis=2)
    wanted = {}
    for size in range(1, len(pool.tasks) + 1):
        for chosen in itertools.combinations(range(len(pool.tasks)), size):
            families = [pool.families[task] for task in chosen]
            if (
                set(families) == set(pool.families)
                and pool.seconds[list(chosen)].sum() <= budget
                and all(3 * count >= size for count in present[:, list(chosen)].sum(axis=1))
                and (per_family is None or max(map(families.count, families)) <= per_family)
            ):
                wanted[chosen] = _overall(pool, chosen)
    found = choices(pool, budget, per_family)
    assert wanted
    assert {tuple(np.flatnonzero(row).tolist()) for row in found.chosen} == set(wanted)
    for row, overall in zip(found.chosen, found.overall, strict=True):
        assert overall == pytest.approx(wanted[tuple(np.flatnonzero(row).tolist())])


def test_predictions_are_those_of_polyfit_without_the_submission() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(size=6)
    scores = np.stack([target + rng.normal(0, 0.1, 6), -target])
    for left in range(6):
        rest = np.delete(np.arange(6), left)
        line = np.polyfit(scores[0, rest], target[rest], 1)
        assert predictions(scores, target)[0, left] == pytest.approx(np.polyval(line, scores[0, left]))
        # A falling line would turn the order around that the track shows: the mean predicts instead.
        assert predictions(scores, target)[1, left] == pytest.approx(target[rest].mean())


def test_the_best_choice_and_its_tau() -> None:
    target = np.array([0.1, 0.2, 0.3, 0.5, 0.8])
    scores = np.stack([np.full(5, 0.5), 0.5 * target + 0.2, target[::-1]])
    assert best(scores, target) == 1
    assert leave_one_out(scores, target).tau == 1.0
    assert leave_one_out(scores, target).tau_error == 0.0
    assert leave_one_out(scores[2:], target).tau == pytest.approx(-1.0)


def test_a_submission_is_no_part_of_the_choice_that_it_judges() -> None:
    """Two choices order all but the last rightly; only the last tells them apart, and one puts it wrongly."""
    target = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    wrong = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    noisy = np.array([0.11, 0.19, 0.31, 0.39, 0.5])
    found = leave_one_out(np.stack([wrong, noisy]), target)
    # Without the last, `wrong` is exact and is chosen, and all four pairs of the last are wrong; else `noisy` is.
    assert found.tau == pytest.approx((4 * 1.0 - 1.0) / 5)


def test_a_program_costs_its_steps_at_the_quickest_pace() -> None:
    def run(track: str, phase: str, seconds: float, evaluations: int) -> dict[str, object]:
        costs = {"seconds": seconds, "measure_seconds": 0.0, "gradient_evaluations": evaluations}
        return {"task": "valley_scalar", "submission": "x", "track": track, "phase": phase, **costs}

    records = [
        *(run("theory", "tune", 2.0, 4_000) for _ in range(8)),  # 16 s for 4,000 steps: other work went on
        *(run("theory", "score", 1.0, 4_000) for _ in range(3)),  # 3 s
    ]
    everyone = [record | {"submission": name} for record in records for name in set(COSTS_LIKE.values())]
    # Two searches, each with a program for tuning and one for scoring, of 3 s each.
    assert submission_seconds(everyone) == {"valley_scalar": pytest.approx(12.0)}


def test_the_costs_are_those_of_a_plain_run() -> None:
    assert set(COSTS_LIKE) == set(DEFAULT)


def test_a_pool_is_kept_unchanged(tmp_path: Path) -> None:
    pool = _pool()
    pool.write(tmp_path / "pool.json")
    kept = Pool.read(tmp_path / "pool.json")
    assert (kept.submissions, kept.tasks, kept.families) == (pool.submissions, pool.tasks, pool.families)
    np.testing.assert_array_equal(kept.scores, pool.scores)


def test_the_quick_track_is_the_choice() -> None:
    kept = Pool.read(POOL)
    assert all(find_task(task).axes for task in kept.tasks)
    pool = kept.within(BUDGET)
    allowed = choices(pool, BUDGET)
    chosen = allowed.chosen[best(allowed.overall, pool.target)]
    assert {task for task, inside in zip(pool.tasks, chosen, strict=True) if inside} == set(TRACKS["quick"].tasks)
