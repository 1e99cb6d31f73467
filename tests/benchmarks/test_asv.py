"""Every benchmark of asv runs: one that is broken goes unnoticed where only times are looked at."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

import benchmarks

PREFIXES = ("time_", "track_", "peakmem_")


def classes() -> list[type]:
    modules = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("bench_*.py"))
    found = []
    for name in modules:
        module = importlib.import_module(f"benchmarks.{name}")
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if own and any(member.startswith(PREFIXES) for member in dir(kind)):
                found.append(kind)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", classes(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
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
