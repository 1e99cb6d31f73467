"""The frozen references of the image tasks: read from `references.json`, made by ``python -m suite.commands.make_references``.

null: the mean over seeds of what plain SGD makes of an adversarial start. ideal: the best mean over seeds among the
reference runs below, measure by measure: a stretch value that no single run reaches on every axis. The seeds are
neither scoring nor tuning seeds. Rerun and commit the output whenever a task, its model or a measure changes.
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
    return dict(json.loads(FILE.read_text())) if FILE.is_file() else {}


def reference(task: str, measure: str) -> tuple[float, float]:
    """(null, ideal) of `measure` on `task`; NaN where none is frozen yet."""
    entry = frozen().get(task, {}).get("axes", {}).get(measure, {})
    return entry.get("score_0", math.nan), entry.get("score_1", math.nan)
