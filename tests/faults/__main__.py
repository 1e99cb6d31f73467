"""``python -m tests.faults``: every fault test, and at the end the table that docs/reliability.md shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    # In one process, where the figures meet; some of these tests take longer than an ordinary test may.
    options = ["-m", "faults", "-q", "-n", "0", "--timeout", "3600"]
    sys.exit(pytest.main([*options, str(Path(__file__).parent), *sys.argv[1:]]))
