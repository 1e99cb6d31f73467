"""One thread per process, as the suite itself runs: tests share the cores by processes. No test changes another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


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
