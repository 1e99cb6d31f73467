"""Every benchmark of asv runs: one that is broken goes unnoticed where only times are looked at."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import asv_bench

FOLDER = Path(asv_bench.__file__).parent
PREFIXES = ("time_", "track_", "peakmem_")
SLOW = ("bench_images", "bench_measures", "bench_training")
"""Seconds to minutes; the others are run in every check."""


def classes() -> list[Any]:
    modules = sorted(path.stem for path in FOLDER.glob("bench_*.py"))
    found = []
    for name in modules:
        module = importlib.import_module(f"asv_bench.{name}")
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if own and any(member.startswith(PREFIXES) for member in dir(kind)):
                marks = [pytest.mark.slow] if name in SLOW else []
                found.append(pytest.param(kind, id=f"{name}.{kind.__name__}", marks=marks))
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", classes())
def test_every_benchmark_runs_once(kind: type) -> None:
    """With the last of its parameters, as asv calls it; what it skips here may be skipped."""
    prepared: Any = kind()
    cache = [prepared.setup_cache()] if hasattr(prepared, "setup_cache") else []
    arguments = [*cache, *(values[-1] for values in getattr(kind, "params", ()))]
    for name in (member for member in dir(kind) if member.startswith(PREFIXES)):
        benchmark: Any = kind()
        try:
            if hasattr(benchmark, "setup"):
                benchmark.setup(*arguments)
            try:
                result = getattr(benchmark, name)(*arguments)
            finally:
                if hasattr(benchmark, "teardown"):
                    benchmark.teardown(*arguments)
        except NotImplementedError:
            continue
        assert not name.startswith("track_") or result > 0, name


def test_asv_can_import_the_folder() -> None:
    """It imports every file where one commit is installed, without its tests and without this repository's commands."""
    outside = set()
    for path in FOLDER.glob("*.py"):
        for line in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            names += [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            outside |= {(path.name, name) for name in names if name.partition(".")[0] in {"benchmarks", "tests"}}
    assert outside == set()
    assert json.loads((FOLDER.parent / "asv.conf.json").read_text(encoding="utf-8"))["benchmark_dir"] == FOLDER.name
