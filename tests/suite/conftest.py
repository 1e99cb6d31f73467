"""Real data for the tests, where the machine has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory with MNIST and CIFAR-10."""
    directory = Path(os.environ.get("LOWLANDS_DATA") or CHECKOUT.parent / "shared" / "data").resolve()
    if not directory.is_dir():
        pytest.skip(f"no real data: $LOWLANDS_DATA is not set and there is no {directory}")
    return directory
