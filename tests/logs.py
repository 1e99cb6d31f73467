"""Logs as tests compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.storage.log import read
from suite.storage.record import SCHEMA, Status, identity

RUN: dict[str, Any] = {
    "schema": SCHEMA,
    "suite_version": "1",
    "track": "smoke",
    "phase": "score",
    "submission": "sgd",
    "kind": "optimizer",
    "explicit": False,
    "submission_hash": "5" * 16,
    "task": "min_norm_regression",
    "family": "linear",
    "variant": {},
    "task_hash": "a" * 16,
    "data_fingerprint": "d" * 16,
    "search": 0,
    "trial": 0,
    "hyperparameters": {"lr": 0.1},
    "seed": 0,
    "converged": True,
    "status": Status.CONVERGED.value,
    "reason": None,
    "train_loss": 1e-3,
    "validation_loss": None,
    "gradient_evaluations": 10,
    "target_evaluations": 10,
    "steps": 10,
    "seconds": 1.0,
    "measure_seconds": 0.5,
    "stepping": "stacked",
    "measures": {"excess_norm": 0.5},
    "uncertainties": {"excess_norm": {"kind": "bound", "error": None}},
    "axes": {"norm": {"measure": "excess_norm", "scale": "log", "score_0": 2.0, "score_1": 1.0, "floor": 1e-6}},
    "reported": ["excess_norm"],
    "curves": {
        "training_loss": {
            "x": [1.0, 10.0],
            "y": [1.0, 0.001],
            "oracle": None,
            "x_label": "gradient evaluations",
            "y_label": "training loss",
            "x_log": True,
            "y_log": True,
            "points": False,
        }
    },
    "solution_hash": "b" * 16,
    "isolation": None,
    "environment": {
        "device": "cpu", "numpy": "2", "platform": "Linux", "python": "3.11", "threads": 1, "torch": "2",
    },
    "time": "2026-01-02T03:04:05Z",
}  # fmt: skip
"""A record with every field; tests replace those that they are about."""


def runs_of(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Run -> identity of its record in the log at `path`; no run is recorded twice."""
    records = read(path).records
    identities = {tuple(r[f] for f in ("submission", "task", "phase", "trial", "seed")): identity(r) for r in records}
    assert len(identities) == len(records)
    return identities
