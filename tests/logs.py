"""Logs as tests compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.storage.log import read
from suite.storage.record import identity


def runs_of(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Run -> identity of its record in the log at `path`; no run is recorded twice."""
    records = read(path).records
    identities = {tuple(r[f] for f in ("submission", "task", "phase", "trial", "seed")): identity(r) for r in records}
    assert len(identities) == len(records)
    return identities
