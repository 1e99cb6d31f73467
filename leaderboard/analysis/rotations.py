"""What the probes of optimizers say of rotated coordinates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from leaderboard.analysis.results import Results
from suite.behavior import Invariance, invariance


@dataclass(frozen=True)
class RotationProbe:
    """What was measured of an optimizer on one task; `rotated` and `turned` as in `suite.behavior.Probe`."""

    task: str
    rotated: float
    turned: float | None
    invariance: Invariance


def rotation_probes(results: Results, kind: str) -> dict[str, list[RotationProbe]]:
    """Submission of `kind` -> what the probes of its scored runs found, those left out that found nothing."""
    found: defaultdict[str, list[RotationProbe]] = defaultdict(list)
    for record in results.scored():
        probe = record.get("probe") or {}
        rotated, turned = probe.get("rotated"), probe.get("turned")
        word = invariance(rotated, turned)
        if record["kind"] == kind and rotated is not None and word is not None:
            found[record["submission"]].append(RotationProbe(record["task"], rotated, turned, word))
    return dict(found)
