"""``python -m tests.faults``: every fault test, and at the end the table that docs/reliability.md shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-m", "faults", "-q", str(Path(__file__).parent), *sys.argv[1:]]))
