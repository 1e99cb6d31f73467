"""Records and results made up for tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import Scores, add_scores, tabulate
from leaderboard.study.preregistered import PREDICTORS, PROPERTIES
from tests.logs import RUN

LINEAR = {"scale": "linear", "score_0": 1.0, "score_1": 0.0, "floor": None}


def record(submission: str, task: str, seed: int, value: float, axis: str = "norm", **more: Any) -> dict[str, Any]:
    """A scored run whose score is ``1 - value`` on `axis`; the task's first letter is its family."""
    run = {
        "submission": submission,
        "task": task,
        "family": task[0],
        "seed": seed,
        "measures": {f"m_{axis}": value},
        "uncertainties": {},
        "axes": {axis: LINEAR | {"measure": f"m_{axis}"}},
        "curves": {},
        "reported": [],
        "track": "",
        "hyperparameters": {},
        "data_fingerprint": f"{task}{seed}",
    }
    return RUN | run | more


def runs_of(scores: Mapping[tuple[str, str, str], Any]) -> list[dict[str, Any]]:
    """Records of (submission, task, axis) -> the scores of its seeds; the axes of a task share their records."""
    records: dict[tuple[str, str, int], dict[str, Any]] = {}
    for (submission, task, axis), values in scores.items():
        for seed, score in enumerate(values):
            key = submission, task, seed
            run = records.setdefault(key, record(*key, 0.0) | {"axes": {}})
            run["axes"] = run["axes"] | {axis: LINEAR | {"measure": f"m_{axis}"}}
            run["measures"] = run["measures"] | {f"m_{axis}": 1 - score}
    return list(records.values())


def noisy(names: Mapping[str, float], seeds: int = 8, spread: float = 0.05) -> list[dict[str, Any]]:
    """Submissions of the given mean scores on two tasks, with noise that they mostly share on a seed."""
    rng = np.random.default_rng(1)
    shared = rng.normal(scale=spread, size=(seeds, 2))
    return [
        record(name, task, seed, 1 - score + shared[seed, t] + rng.normal(scale=0.01))
        for name, score in names.items()
        for t, task in enumerate(("a1", "b1"))
        for seed in range(seeds)
    ]


def scores_of(records: list[dict[str, Any]]) -> Scores:
    """The scores of all records."""
    return tabulate(add_scores(Results(records).frame()))


def whole_run(
    submissions: int = 3, tasks: int = 4, seeds: int = 3, trials: int = 3, kind: str = "optimizer"
) -> Results:
    """What a run leaves behind: scored and tuning records, all axes, reported measures, curves and trouble.

    Every third task is like an image task (three axes, tuned by validation loss), the others have one axis and race;
    the last is reported and not scored. The last submission misses a target loss and regularizes on purpose.
    """
    rng = np.random.default_rng(7)
    records = []
    for number in range(submissions):
        name = f"{kind[:3]}_{number}" if number else "sgd"
        merit = rng.uniform(0.2, 0.8)
        common = {"kind": kind, "explicit": number == submissions - 1, "track": "quick"}
        for t in range(tasks):
            image, reported = t % 3 == 0, t == tasks - 1
            task = f"{'images' if image else 'exact'}_{t}" + ("[alpha=0.1]" if t == 1 else "")
            axes = () if reported else ("flatness", "norm", "generalization") if image else ("norm",)
            place = {"task": task, "family": "images" if image else f"family{t % 4}", **common}
            for trial in range(trials):
                records.append(_tuning_run(name, place, trial, image, rng))
            for seed in range(seeds):
                records.append(_scored_run(name, place, axes, seed, merit, reported, rng))
        records[-1] |= {"converged": False, "status": "budget", "measures": {}} if number == submissions - 1 else {}
    return Results(records)


def _tuning_run(name: str, place: dict[str, Any], trial: int, image: bool, rng: np.random.Generator) -> dict[str, Any]:
    status = "converged" if trial or image else "raced"
    loss = rng.uniform(0.2, 0.6) if image else None
    tuned = {"phase": "tune", "trial": trial, "status": status, "converged": status == "converged", "axes": {}}
    settings = {"hyperparameters": {"lr": 0.1**trial, "momentum": 0.9}, "validation_loss": loss}
    return record(name, str(place["task"]), 10_000, 0.0) | place | tuned | settings


def _scored_run(
    name: str,
    place: dict[str, Any],
    axes: tuple[str, ...],
    seed: int,
    merit: float,
    reported: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    x = np.geomspace(1, 400, 40).round(1).tolist()
    line = {"x": x, "x_label": "gradient evaluations", "y_label": "training loss", "x_log": True, "points": False}
    curves = {
        "training_loss": line | {"y": [1 / a for a in x], "oracle": None, "y_log": True},
        "learned_function": line
        | {"y": np.sin(x).tolist(), "oracle": np.cos(x).tolist(), "y_log": False, "x_log": False},
    }
    measures = {f"m_{axis}": 1 - merit - 0.1 * rng.normal() for axis in axes} | {"beside": rng.uniform(1, 9)}
    return (
        record(name, str(place["task"]), seed, 0.0)
        | place
        | {
            "axes": {axis: LINEAR | {"measure": f"m_{axis}"} for axis in axes},
            "measures": measures,
            "reported": ["beside"] if reported else [],
            "hyperparameters": {"lr": 0.1, "momentum": 0.9},
            "status": "converged",
            "reason": None,
            "gradient_evaluations": int(rng.integers(50, 900)),
            "train_loss": 1e-3,
            "stepping": "stacked",
            "time": "2026-01-02T03:04:05Z",
            "curves": curves if seed == 0 else {},
        }
    )


STUDY_RATES = {"sgd": (0.1, 0.3), "adam": (0.001, 0.004)}
STUDY_VARIANT = {"width": 64, "data": "digits", "normalisation": "none", "loss": "squared"}


def study_records(missing: int = 3) -> list[dict[str, Any]]:
    """A crossing in which small batches are flatter by a factor of 2, and depth makes functions less smooth."""
    generator = np.random.default_rng(0)
    rows = []
    crossing = itertools.product(STUDY_RATES, (0, 1), (1, 3), (20, 200), (0.5, 2.0), range(3))
    for number, (optimizer, step, depth, batch, scale, seed) in enumerate(crossing):
        noise = np.exp(0.1 * generator.normal(size=8))
        converged = number >= missing
        measures = dict.fromkeys({*PROPERTIES, *PREDICTORS}, 1.0)
        measures |= {
            "adaptive_sharpness": (0.5 if batch == 20 else 1.0) * noise[0],
            "input_gradient_norm": depth * noise[1],
            "lambda_max": noise[2],
            "l2_norm": noise[3],
            "test_error": 0.2 + 0.05 * (depth == 3) + 0.01 * float(generator.normal()),
        }
        measures |= {name: float(generator.normal()) for name in PREDICTORS if measures[name] == 1.0}
        rows.append(
            {
                "submission": f"{optimizer}[lr={STUDY_RATES[optimizer][step]}]",
                "hyperparameters": {"lr": STUDY_RATES[optimizer][step]},
                "family": "factorial",
                "phase": "score",
                "variant": STUDY_VARIANT | {"depth": depth, "batch": batch, "scale": scale},
                "seed": seed,
                "converged": converged,
                "measures": measures if converged else {},
            }
        )
    return rows
