"""One thread per process, as the suite itself runs: tests share the cores by processes. No test changes another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to time, or to judge times, under xdist: pytest-benchmark is off there, and its gate always open."""
    asked = config.getoption("benchmark_only", False) or config.getoption("benchmark_compare_fail", None)
    if asked and config.getoption("numprocesses", None):
        raise pytest.UsageError("Benchmarks are off under xdist, and a gate of them is open: pass -n 0.")


@pytest.fixture(autouse=True)
def _settings_of_torch_are_left_as_they_were() -> Iterator[None]:
    """Fail the test that leaves gradients disabled, another dtype or other threads, not whichever comes next."""
    if "torch" not in sys.modules:
        yield
        return
    from suite.training.global_state import SETTINGS

    before = [read() for read, _ in SETTINGS]
    yield
    after = [read() for read, _ in SETTINGS]
    for (_, write), value in zip(SETTINGS, before, strict=True):
        write(value)
    assert after == before, "this test leaves settings of torch changed"
