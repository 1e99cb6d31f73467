"""Records and results made up for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from leaderboard.results import Results
from leaderboard.scoring import Scores, add_scores, tabulate

LINEAR = {"scale": "linear", "null": 1.0, "ideal": 0.0, "floor": None}


def record(submission: str, task: str, seed: int, value: float, axis: str = "norm", **more: Any) -> dict[str, Any]:
    """A scored lane whose score is ``1 - value`` on `axis`; the task's first letter is its family."""
    return {
        "submission": submission,
        "kind": "optimizer",
        "explicit": False,
        "task": task,
        "family": task[0],
        "seed": seed,
        "phase": "score",
        "trial": 0,
        "converged": True,
        "measures": {f"m_{axis}": value},
        "axes": {axis: LINEAR | {"measure": f"m_{axis}"}},
        "gradient_evaluations": 10,
        "seconds": 1.0,
        "suite_version": "1",
        "data_fingerprint": f"{task}{seed}",
    } | more


def lanes(scores: Mapping[tuple[str, str, str], Any]) -> list[dict[str, Any]]:
    """Records of (submission, task, axis) -> the scores of its seeds; the axes of a task share their records."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for (submission, task, axis), values in scores.items():
        for seed, score in enumerate(values):
            made = found.setdefault((submission, task, seed), record(submission, task, seed, 0.0) | {"axes": {}})
            made["axes"] = made["axes"] | {axis: LINEAR | {"measure": f"m_{axis}"}}
            made["measures"] = made["measures"] | {f"m_{axis}": 1 - score}
    return list(found.values())


def noisy(names: Mapping[str, float], seeds: int = 8, spread: float = 0.05) -> list[dict[str, Any]]:
    """Submissions of the given mean scores on two tasks, with noise that the seeds share and a little of their own."""
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
