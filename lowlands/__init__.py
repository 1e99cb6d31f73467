"""Which minimum does your optimizer prefer? All that a notebook, a script or a submission's file imports.

    import lowlands

    results = lowlands.run(["sgd", "my_optimizer.py", MyOptimizer], track="smoke")
    results.table()                                  # a table in a notebook; print() anywhere else
    results.with_shipped().table("why").render("latex")
    results.frame("measures")                        # pandas
    lowlands.landscape("valley_relu", ["sgd", "adam"]).figure  # of solutions that were kept

Other distributions install modules called `suite` and `leaderboard` too, which are this package's parts: import their
names from here. Torch, pandas and matplotlib are loaded by the functions that need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from suite import __version__
from suite.errors import InputError
from suite.submission import Choice, LogUniform, Submission, Uniform

if TYPE_CHECKING:
    from lowlands.catalogue import tasks
    from lowlands.landscapes import Landscape, landscape
    from lowlands.loggers import TensorBoard, WeightsAndBiases
    from lowlands.results import Results, Tables, load
    from lowlands.running import run
    from suite.measures import Estimate, declare, measure, measure_all
    from suite.task import (
        ArchitectureInterface,
        Axis,
        Curve,
        Decay,
        LabelNoise,
        Oracle,
        Problem,
        Solution,
        Split,
        Target,
        Task,
    )
    from suite.tasks.registry import task

__all__ = [
    "ArchitectureInterface",
    "Axis",
    "Choice",
    "Curve",
    "Decay",
    "Estimate",
    "InputError",
    "LabelNoise",
    "Landscape",
    "LogUniform",
    "Oracle",
    "Problem",
    "Results",
    "Solution",
    "Split",
    "Submission",
    "Tables",
    "Target",
    "Task",
    "TensorBoard",
    "Uniform",
    "WeightsAndBiases",
    "__version__",
    "declare",
    "landscape",
    "load",
    "measure",
    "measure_all",
    "run",
    "task",
    "tasks",
]

LATER = {
    "lowlands.catalogue": ("tasks",),
    "lowlands.landscapes": ("Landscape", "landscape"),
    "lowlands.results": ("Results", "Tables", "load"),
    "lowlands.running": ("run",),
    "suite.measures": ("Estimate", "declare", "measure", "measure_all"),
    "suite.task": (
        "ArchitectureInterface", "Axis", "Curve", "Decay", "LabelNoise", "Oracle", "Problem", "Solution", "Split",
        "Target", "Task",
    ),
    "lowlands.loggers": ("TensorBoard", "WeightsAndBiases"),
    "suite.tasks.registry": ("task",),
}  # fmt: skip
"""Names that are imported when they are first asked for, by the module that defines them."""

MODULES = {name: module for module, names in LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of `LATER`."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
