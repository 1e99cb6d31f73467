"""What a record keeps for pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suite.entries.loading import load
from suite.task import CURVE_POINTS, Curve, Solution
from suite.tasks import find_task
from suite.trials import resolved
from suite.trials.evaluate import run_unit
from suite.trials.unit import Trial, Unit


def _unit(phase: str, seeds: tuple[int, ...]) -> Unit:
    return Unit("sgd", "min_norm_regression", "smoke", phase, (Trial(0, load("sgd").submission.settings(1)[0]),), seeds)


def test_the_first_scored_seed_keeps_its_training_curve() -> None:
    first, second = run_unit(_unit("score", (0, 1)))
    curve = first["curves"]["training_loss"]
    assert len(curve["x"]) == len(curve["y"]) <= CURVE_POINTS
    assert curve["x"] == sorted(curve["x"])
    assert curve["x"][-1] == first["gradient_evaluations"]
    assert curve["y"][-1] == pytest.approx(first["train_loss"], rel=1e-3)
    assert curve["y"][0] > 1e6 * curve["y"][-1]
    assert second["curves"] == {}
    assert run_unit(_unit("tune", (0,)))[0]["curves"] == {}


def test_a_task_adds_curves_of_the_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    def curves(solution: Solution) -> dict[str, Curve]:
        weight = solution.model.get_parameter("weight").tolist()
        oracle = solution.oracle.solutions["min_norm"].tolist()
        return {"weights": Curve(range(len(weight)), weight, "feature", "weight", oracle, points=True)}

    monkeypatch.setattr(resolved, "open_task", lambda name: replace(find_task(name), curves=curves))
    record = run_unit(_unit("score", (0,)))[0]
    drawn = record["curves"]["weights"]
    assert drawn["points"]
    assert drawn["y"] == pytest.approx(drawn["oracle"], abs=1e-4)


def test_a_curve_is_small_and_even() -> None:
    with pytest.raises(ValueError, match="one length"):
        Curve([1, 2], [1], "x", "y")
    with pytest.raises(ValueError, match="one length"):
        Curve([1], [1], "x", "y", oracle=[1, 2])
    with pytest.raises(ValueError, match="at most"):
        Curve(range(999), range(999), "x", "y")
