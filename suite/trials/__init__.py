"""From one unit of work to sealed records."""

from suite.trials.evaluate import declared, failed, measure_again, resolve_axes, run_unit
from suite.trials.provenance import environment, suite_hash, task_hash
from suite.trials.resolved import ResolvedUnit, resolve
from suite.trials.selection import select
from suite.trials.unit import Isolation, Trial, Unit

__all__ = [
    "Isolation",
    "ResolvedUnit",
    "Trial",
    "Unit",
    "declared",
    "environment",
    "failed",
    "measure_again",
    "resolve",
    "resolve_axes",
    "run_unit",
    "select",
    "suite_hash",
    "task_hash",
]
