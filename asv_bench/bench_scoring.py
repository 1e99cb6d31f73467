"""Scoring: records to a leaderboard, and two of them compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from asv_bench.quiet import Quiet
from leaderboard.analysis.comparison import compare
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results


def made_up(submissions: int, tasks: int, seeds: int) -> Results:
    """The scored records of a whole run, with one to three axes a task."""
    rng = np.random.default_rng(0)
    names = ("flatness", "norm", "generalization")
    axis = {"measure": "m", "scale": "linear", "score_0": 1.0, "score_1": 0.0, "floor": None}

    def record(submission: int, task: int, seed: int) -> dict[str, Any]:
        return {
            "submission": f"s{submission}", "kind": "optimizer", "explicit": False, "task": f"t{task}",
            "family": f"f{task % 4}", "seed": seed, "trial": 0, "phase": "score", "converged": True, "track": "",
            "measures": {"m": rng.uniform()}, "axes": dict.fromkeys(names[: 1 + task % 3], axis),
            "data_fingerprint": f"{task} {seed}", "gradient_evaluations": 10 + seed, "seconds": 0.1,
        }  # fmt: skip

    return Results([record(s, t, n) for s in range(submissions) for t in range(tasks) for n in range(seeds)])


class Scoring(Quiet):
    """A board of 20 submissions on 25 tasks, and one of 100,000 records (a million take ten times as long)."""

    params = (["3 seeds", "10 seeds", "100,000 records"],)
    param_names = ("size",)
    timeout = 300
    repeat = (2, 5, 5.0)

    def setup(self, size: str) -> None:
        shape = {"3 seeds": (20, 25, 3), "10 seeds": (20, 25, 10), "100,000 records": (50, 50, 40)}[size]
        self.results = made_up(*shape)

    def time_board(self, size: str) -> None:
        board(self.results)

    def peakmem_board(self, size: str) -> None:
        board(self.results)


class Comparing(Quiet):
    """Two runs of five submissions on 25 tasks."""

    repeat = (2, 5, 5.0)

    def setup(self) -> None:
        self.results = made_up(5, 25, 10)

    def time_compare(self) -> None:
        compare(self.results, self.results)
