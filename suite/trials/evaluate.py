"""Trials from start to records: build, train, measure.

A `Unit` is what one worker does at a time: some trials of one submission on some seeds of one task, as lanes of one
program where that pays. It is plain data, so that any executor can carry it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

import suite
from suite.entries.entry import Entry, bind
from suite.errors import sentence
from suite.estimate import uncertainties
from suite.oracles.oracle_cache import cached_oracle
from suite.sandbox.process import kind as jail_kind
from suite.storage.cache import LRUCache
from suite.storage.record import SCHEMA, seal
from suite.storage.solutions import keep, solution_hash
from suite.task import CURVE_POINTS, Axis, Curve, Oracle, Problem, Solution, Task, Weights
from suite.tasks.registry import find_task
from suite.training.loop import TrainingResult, TrainingRun, train
from suite.trials.provenance import environment, suite_hash, task_hash
from suite.trials.unit import Unit

Record = dict[str, Any]


PROBLEM_BYTES = 300_000_000
"""What a worker spends on the data of recent lanes: 20 lanes of 5,000 digits, one of all of MNIST."""


CURVE_SEED = 0
"""The scored seed whose records carry curves: a picture shows one data set."""


def _reference(value: float | str, oracle: Oracle | None) -> float | None:
    if isinstance(value, str):
        return None if oracle is None else oracle.values[value]
    return value


def resolve_axes(axes: Sequence[Axis], oracle: Oracle | None) -> dict[str, dict[str, Any]]:
    """The axes as a record states them: references that theory gives per data set become numbers.

    Without an oracle (it did not solve, or no data were met) such references are null.
    """
    return {
        axis.axis: {
            "measure": axis.measure,
            "scale": axis.scale,
            "score_0": _reference(axis.score_0, oracle),
            "score_1": _reference(axis.score_1, oracle),
            "floor": axis.floor,
        }
        for axis in axes
    }


def _made_problem(task_name: str, seed: int) -> tuple[Problem, str]:
    problem = find_task(task_name).problem(seed)
    return problem, problem.fingerprint()


# A worker meets the same seeds for every submission: build the data and solve the oracle once.
_problem = LRUCache(_made_problem, lambda made: made[0].size(), limit=PROBLEM_BYTES)


@functools.lru_cache(maxsize=256)
def _oracle(task_name: str, seed: int) -> Oracle:
    task = find_task(task_name)
    if task.oracle is None:
        return Oracle()
    problem, fingerprint = _problem(task_name, seed)
    return cached_oracle(f"{task_name} {fingerprint} {suite_hash()}", functools.partial(task.oracle, problem, seed))


def _with_weights(task: Task, lane: TrainingRun, weights: Weights, device: str) -> nn.Module:
    model = task.model(lane.problem, lane.seed).to(device)
    model.load_state_dict(weights)
    return model.eval()


def _training_curve(trained: TrainingResult) -> Curve:
    # Drawn on a log scale, which has no place for the start at 0 evaluations.
    evaluations, losses = zip(*((max(1, at), loss) for at, loss in trained.history[-CURVE_POINTS:]), strict=True)
    return Curve(evaluations, losses, "gradient evaluations", "training loss", x_log=True, y_log=min(losses) > 0)


def _rounded(curves: Mapping[str, Curve]) -> dict[str, dict[str, Any]]:
    """Curves as a record states them: four significant digits are enough for a picture."""

    def short(values: Sequence[float] | None) -> list[float] | None:
        return None if values is None else [float(f"{value:.4g}") for value in values]

    return {
        name: asdict(curve) | {"x": short(curve.x), "y": short(curve.y), "oracle": short(curve.oracle)}
        for name, curve in curves.items()
    }


@torch.no_grad()
def _validation_loss(task: Task, lane: TrainingRun, model: nn.Module, device: str) -> float | None:
    split = lane.problem.validation
    return None if split is None else task.loss(model(split.x.to(device)), split.y.to(device)).item()


def _train(entry: Entry, lanes: list[TrainingRun], unit: Unit) -> list[TrainingResult | Exception]:
    """Train all lanes together; if a submission raises, each lane by itself, so that it fails alone."""
    task, own = entry.task, entry.tuned
    race = unit.phase == "tune" and task.selection == "gradient_evaluations"
    if unit.jail is not None and unit.jail.loaded.submission.kind == "optimizer":
        from suite.sandbox import host as outside

        return outside.train(task, unit.submission, lanes, unit.jail.limits, unit.device, race)
    try:
        return list(train(task, lanes, entry.make, unit.device, race=race, schedule=own.schedule, loss=own.loss))
    except Exception as error:
        if len(lanes) == 1:
            return [error]
    return [_train(entry, [lane], unit)[0] for lane in lanes]


def run_unit(unit: Unit) -> list[Record]:
    """Train and measure every lane of `unit`; returns one sealed record per lane, in lane order.

    A submission that raises gives records with status `failed` and the reason; the rest goes on. So does a task whose
    data or oracle cannot be had, with status `unavailable`: the submission is not to blame; a later run tries again.
    """
    entry = bind(unit.loaded().submission, find_task(unit.task))
    task = entry.task
    try:
        problems = {seed: _problem(task.name, seed)[0] for seed in unit.seeds}
    except Exception as error:
        return failed(unit, sentence(error), "unavailable")
    lanes = [
        TrainingRun(problems[seed], seed, number, dict(settings))
        for number, settings in unit.trials
        for seed in unit.seeds
    ]
    results = _train(entry, lanes, unit)
    return [_record(unit, task, lane, result) for lane, result in zip(lanes, results, strict=True)]


def measure_again(unit: Unit, weights: Weights) -> Record:
    """What the measures say of a solution of the unit's only lane: the fields that hang on nothing but its weights."""
    (trial, settings), (seed,) = unit.trials[0], unit.seeds
    task = bind(unit.loaded().submission, find_task(unit.task)).task
    problem, fingerprint = _problem(task.name, seed)
    lane = TrainingRun(problem, seed, trial, dict(settings))
    initial = {name: tensor.clone() for name, tensor in task.model(problem, seed).state_dict().items()}
    model = _with_weights(task, lane, weights, unit.device)
    with torch.no_grad():
        loss = task.loss(model(problem.train.x.to(unit.device)), problem.train.y.to(unit.device)).item()
    solution = TrainingResult("converged", weights, initial, loss, 0, 0, 0.0, "", history=((1, loss),))
    return seal(
        _measured(unit, task, lane, solution)
        | {"train_loss": loss, "data_fingerprint": fingerprint}
        | {"axes": resolve_axes(task.axes, _oracle(task.name, seed))}
    )


def failed(unit: Unit, reason: str, status: str = "failed") -> list[Record]:
    """The records of a unit that gave none: no worker lived to its end, or its data cannot be had. Needs no data."""
    task = bind(unit.loaded().submission, find_task(unit.task)).task
    axes = resolve_axes(task.axes, None) if unit.phase == "score" else {}
    return [
        seal(_blank(unit, task, number, dict(settings), seed) | {"status": status, "reason": reason, "axes": axes})
        for number, settings in unit.trials
        for seed in unit.seeds
    ]


def _blank(unit: Unit, task: Task, trial: int, settings: Mapping[str, Any], seed: int) -> Record:
    """The record of a lane of which nothing is known yet."""
    loaded = unit.loaded()
    return {
        "schema": SCHEMA,
        "suite_version": suite.__version__,
        "track": unit.track,
        "phase": unit.phase,
        "submission": loaded.submission.name,
        "kind": loaded.submission.kind,
        "explicit": loaded.submission.explicit,
        "submission_hash": loaded.source_hash,
        "task": task.name,
        "family": task.family,
        "variant": dict(task.variant),
        "task_hash": task_hash(task),
        "data_fingerprint": None,
        "trial": trial,
        "hyperparameters": settings,
        "seed": seed,
        "converged": False,
        "status": "failed",
        "reason": None,
        "train_loss": None,
        "validation_loss": None,
        "gradient_evaluations": 0,
        "target_evaluations": None,
        "steps": 0,
        "seconds": 0.0,
        "measure_seconds": 0.0,
        "stepping": None,
        "measures": {},
        "uncertainties": {},
        "axes": {},
        "reported": list(task.reported),
        "curves": {},
        "solution_hash": None,
        "isolation": None if unit.jail is None else jail_kind(),
        "environment": environment(unit.device),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _record(unit: Unit, task: Task, lane: TrainingRun, result: TrainingResult | Exception) -> Record:
    begin = time.perf_counter()
    record = _blank(unit, task, lane.trial, dict(lane.settings), lane.seed)
    record["data_fingerprint"] = _problem(task.name, lane.seed)[1]
    if isinstance(result, TrainingResult):
        record |= _trained(result)
    else:
        record["reason"] = sentence(result)
    if unit.phase == "score":
        try:
            record["axes"] = resolve_axes(task.axes, _oracle(task.name, lane.seed))
        except Exception as error:
            unsolved = {"status": "unavailable", "reason": sentence(error), "axes": resolve_axes(task.axes, None)}
            return seal(record | unsolved | {"converged": False})
    if isinstance(result, TrainingResult):
        if unit.solutions is not None and unit.phase == "score" and result.converged:
            keep(Path(unit.solutions), result.weights)
        try:
            record |= _measured(unit, task, lane, result)
        except Exception as error:
            record |= {"converged": False, "status": "failed", "reason": f"Measuring raised {sentence(error)}"}
    return seal(record | {"measure_seconds": round(time.perf_counter() - begin, 4)})


def _trained(result: TrainingResult) -> Record:
    """What training says of a lane."""
    return {
        "converged": result.converged,
        "status": result.status,
        "train_loss": result.train_loss,
        "gradient_evaluations": result.gradient_evaluations,
        "target_evaluations": result.target_evaluations,
        "steps": result.steps,
        "seconds": round(result.seconds, 4),
        "stepping": result.stepping,
        "solution_hash": solution_hash(result.weights),
    }


def _measured(unit: Unit, task: Task, lane: TrainingRun, result: TrainingResult) -> Record:
    """What the measures and the curves say of a lane: measures where it met the stop, in the scoring phase."""
    validation_loss = None
    measures: Mapping[str, float] = {}
    curves: dict[str, Curve] = {}
    draws = unit.phase == "score" and lane.seed == CURVE_SEED
    if draws:
        curves["training_loss"] = _training_curve(result)
    if result.converged:
        model = _with_weights(task, lane, result.weights, unit.device)
        validation_loss = _validation_loss(task, lane, model, unit.device)
        if unit.phase == "score":
            solution = Solution(
                model,
                result.initial,
                lane.problem.to(unit.device),
                _oracle(task.name, lane.seed),
                lane.seed,
                lane.settings,
            )
            measures = task.measure(solution)
            if draws and task.curves is not None:
                curves |= task.curves(solution)
    return {
        "validation_loss": validation_loss,
        "measures": {name: float(value) for name, value in measures.items()},
        "uncertainties": uncertainties(measures),
        "curves": _rounded(curves),
    }
