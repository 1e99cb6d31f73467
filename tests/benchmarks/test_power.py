"""Planted regressions are found by their updates, and the optimizers that they are planted in are what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import benchmarks
from benchmarks import planted
from benchmarks.power import TASKS, found_by_updates
from suite.commands.updates import Outcome, compare_updates, make_plan, trajectories
from suite.submission import Submission


@pytest.mark.slow
@pytest.mark.parametrize("name", planted.PLANTS | planted.FURTHER)
def test_every_plant_is_found_by_its_updates(name: str) -> None:
    assert found_by_updates(name) != "no"


@pytest.mark.parametrize("name", ["state lost on reload", "foreach wrong for the second group"])
def test_what_no_run_shows_is_found_by_its_updates(name: str) -> None:
    scenario = {"state lost on reload": "saved and reloaded", "foreach wrong for the second group": "foreach=True"}
    assert scenario[name] in found_by_updates(name)


def test_what_is_measured_is_what_the_workflow_runs() -> None:
    script = (Path(benchmarks.__file__).parents[1] / ".ci" / "regress").read_text(encoding="utf-8")
    assert re.findall(r"--task (\S+?)[\s\"]", script) == [*TASKS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "settings", "of_torch"),
    [
        (planted.AdamW, {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW),
        (planted.Momentum, {"lr": 0.03, "weight_decay": 0.0}, torch.optim.SGD),
        (planted.Dampened, {"lr": 0.03, "weight_decay": 0.0}, torch.optim.SGD),
        (planted.Maximizing, {"lr": 0.03, "weight_decay": 0.0}, torch.optim.SGD),
        (planted.AMSGrad, {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW),
    ],
)
def test_the_optimizers_are_those_of_torch(own: type, settings: dict[str, float], of_torch: type) -> None:
    more = {
        planted.Momentum: {"momentum": 0.9, "nesterov": True},
        planted.Maximizing: {"momentum": 0.9, "nesterov": True},
        planted.Dampened: {"momentum": 0.9, "dampening": 0.5},
        planted.AMSGrad: {"amsgrad": True},
    }.get(own, {})
    base, new = Submission("x", of_torch, space=settings | more), Submission("x", own, space=settings)
    # One group: of a second one's own momentum and betas the planted ones know nothing.
    plan = replace(make_plan(base), layout="whole")
    found = compare_updates(plan, trajectories(base, plan), trajectories(new, plan))
    same = {one.scenario.partition(",")[0] for one in found if one.outcome in (Outcome.IDENTICAL, Outcome.ROUNDING)}
    assert same >= {"as it is", "weight_decay=0.1", "weight_decay=0", "saved and reloaded", "a gradient missing"}
    assert {one.scenario.partition(",")[0] for one in found if one.outcome is Outcome.DIFFERENT} == set()
