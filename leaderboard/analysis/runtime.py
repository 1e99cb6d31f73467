"""The history of the runtime, from asv's result files (`.asv/results`).

asv's own pages need a network; these numbers are drawn on the site.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leaderboard.analysis.statistics import geometric_mean
from suite.errors import InputError, sentence


@dataclass(frozen=True)
class Point:
    """What one commit took: the geometric mean over the benchmark's parameters, and the value of each."""

    commit: str
    date: datetime
    mean: float
    values: dict[str, float]


@dataclass(frozen=True)
class History:
    """One benchmark on one machine: its points, oldest commit first; `unit` is seconds, bytes or what it tracks."""

    machine: str
    benchmark: str
    unit: str
    points: tuple[Point, ...]


def read(directory: Path) -> list[History]:
    """Every benchmark's history in asv's results directory; an empty list where there is none.

    Raises:
        InputError: a file is not what asv writes.
    """
    if not directory.is_dir():
        return []
    descriptions = _load(directory / "benchmarks.json") if (directory / "benchmarks.json").is_file() else {}
    histories: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for path in sorted(directory.glob("*/*.json")):
        if path.name != "machine.json":
            for benchmark, point in _points(_load(path), path):
                histories[path.parent.name, benchmark].append(point)
    units = {benchmark: _unit(descriptions.get(benchmark)) for _, benchmark in histories}
    return [
        History(machine, benchmark, units[benchmark], tuple(sorted(points, key=lambda point: point.date)))
        for (machine, benchmark), points in sorted(histories.items())
    ]


def _unit(description: Any) -> str:
    """The unit that asv's description of a benchmark states; empty if it states none."""
    return str(description.get("unit", "")) if isinstance(description, dict) else ""


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a result of asv ({error}).") from error


def _points(content: dict[str, Any], path: Path) -> list[tuple[str, Point]]:
    try:
        columns, date = content["result_columns"], datetime.fromtimestamp(content["date"] / 1000, UTC)
        points = []
        for benchmark, row in content["results"].items():
            entry = dict(zip(columns, row, strict=False))
            names = [", ".join(choice) for choice in itertools.product(*entry.get("params", []))]
            values = {
                name: float(value)
                for name, value in zip(names, entry["result"] or [], strict=False)
                if value is not None and math.isfinite(value)
            }
            if values:
                mean = float(geometric_mean(list(values.values())))
                points.append((benchmark, Point(content["commit_hash"][:8], date, mean, values)))
        return points
    except KeyError as error:
        raise InputError(f"{path} is not a result of asv (it lacks {error}).") from error
    except (TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise InputError(f"{path} is not a result of asv 0.4 or later ({sentence(error)}).") from error
