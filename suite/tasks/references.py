"""The frozen references of the image tasks, read from `references.json`.

``python -m suite.commands.make_references`` makes them and says how. score_0: the mean over seeds of what plain SGD
reaches from an adversarial initialization. score_1: the best mean over seeds among the reference runs, measure by
measure: a stretch value that no single run reaches on every axis.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


@functools.cache
def frozen() -> dict[str, Any]:
    """Per task the references of its axes, the runs that they are from, and those runs' seeds."""
    return dict(json.loads(FILE.read_text())) if FILE.is_file() else {}


def reference(task: str, measure: str) -> tuple[float, float]:
    """(score_0, score_1) of `measure` on `task`; NaN where none is frozen yet."""
    entry = frozen().get(task, {}).get("axes", {}).get(measure, {})
    return entry.get("score_0", math.nan), entry.get("score_1", math.nan)
