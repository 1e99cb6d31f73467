"""Scoring: records to a leaderboard."""

from __future__ import annotations

import numpy as np

from leaderboard.ranking import board
from leaderboard.results import Results


class Scoring:
    """A board of 20 submissions on 10 tasks."""

    params = (3, 10)
    param_names = ("seeds",)

    def setup(self, seeds: int) -> None:
        rng = np.random.default_rng(0)
        axis = {"measure": "m", "scale": "linear", "null": 1.0, "ideal": 0.0, "floor": None}
        self.results = Results(
            [
                {
                    "submission": f"s{s}", "kind": "optimizer", "explicit": False, "task": f"t{t}",
                    "family": f"f{t % 4}",
                    "seed": seed, "phase": "score", "converged": True, "measures": {"m": rng.uniform()},
                    "axes": {"flatness": axis, "norm": axis, "generalization": axis},
                    "gradient_evaluations": 10, "seconds": 0.1,
                }
                for s in range(20) for t in range(10) for seed in range(seeds)
            ]
        )  # fmt: skip

    def time_board(self, seeds: int) -> None:
        board(self.results)
