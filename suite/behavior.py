"""What an optimizer is seen to do beside following its gradients. No torch import.

`suite.training.behavior_probe` measures it on every task that an optimizer is scored on, and records hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Size = Annotated[float, Meta(ge=0, le=sys.float_info.max)]


class Behavior(StrEnum):
    """A way in which weights are not start plus a function of the gradients at them."""

    DECAYS = "decays its weights"
    EDITS_START = "edits the start"
    RETURNS = "returns to earlier weights"
    DEPENDS = "moves by its weights"
    UNPROMPTED = "moves without gradients"
    NOISE = "draws random numbers"
    BESIDE_PATH = "takes gradients beside its path"
    ASCENDS = "steps uphill"
    """As flooding does, which holds the loss above a level (Ishida et al. 2020, arXiv:2002.08709), to go on longer."""
    OWN_LOSS = "descends a loss of its own"
    SCALES = "scales its steps by its weights"
    """As layer-wise rates do (LAMB): gradients alone decide where a step points, weights how long it is."""
    REMEMBERS = "keeps copies of its weights"
    """As averages do (schedule-free methods, Lookahead), and estimates of the distance from the start (Prodigy)."""
    AMPLIFIES = "amplifies rounding"
    """Gradients that differ in the ninth digit give other weights, as where noise is divided by its own size."""


HARMLESS = frozenset({Behavior.SCALES, Behavior.REMEMBERS, Behavior.AMPLIFIES})
"""What is shown and is no explicit regularization."""


class Probe(Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of an optimizer on one task, as the record of its first scored seed holds it.

    Attributes:
        behaviors: sorted; empty for an implicit method.
        steps: the length of the path that was followed.
        resting: the largest step under zero gradients, relative to the path's largest step (to the weights where the
            path has none).
        displaced, kicked: how far the paths from another start, and after a push, were from their places at most,
            relative to the displacement.
        reseeded, jittered: how far the paths with other random numbers, and with gradients that differ in the ninth
            digit, were from the path at their end, relative to its length.
        ringing: how far zero gradients after the path lead, relative to its length.
        rotated: how far the path ends from its place in rotated coordinates, relative to its length: every tensor's
            entries are turned by an orthogonal matrix. None where the start or rounding decides, and in older records.
        turned: the same where only the rows and the columns of matrices are turned, as rotations of a layer's inputs
            and outputs do; None also where there is no matrix.
    """

    behaviors: Annotated[tuple[Behavior, ...], Meta(max_length=len(Behavior))]
    steps: Annotated[int, Meta(ge=1, le=2**53)]
    resting: Size
    displaced: Size
    kicked: Size
    reseeded: Size
    jittered: Size
    ringing: Size
    rotated: Size | None = None
    turned: Size | None = None


ROTATED = 1e-3
"""By more of its length than this a path must not differ in rotated coordinates if its method is rotation invariant."""


class Invariance(StrEnum):
    """Under which rotations of weights an optimizer takes the same steps, turned."""

    ANY = "yes"
    """Any rotation of a tensor's entries: its steps know no coordinates."""
    SIDES = "of inputs and outputs"
    """Those of the rows and the columns of matrices alone, as steps along singular vectors have it."""
    NONE = "no"


def invariance(rotated: float | None, turned: float | None) -> Invariance | None:
    """What the distances of a probe say (`Probe.rotated` and `Probe.turned`); None where they say nothing."""
    if rotated is None:
        return None
    if rotated <= ROTATED:
        return Invariance.ANY
    return Invariance.SIDES if turned is not None and turned <= ROTATED else Invariance.NONE


def regularizes(behaviors: Iterable[str]) -> bool:
    """Whether one of `behaviors` is explicit regularization; a word that is not known here counts as such."""
    return any(behavior not in HARMLESS for behavior in behaviors)


def explicit(declared: bool, probes: Collection[Collection[str] | None]) -> tuple[bool, tuple[str, ...]]:
    """Whether a submission regularizes on purpose, and what it was seen to do.

    Args:
        declared: what the submission says of itself; it counts only where nothing was measured.
        probes: the behaviors that each of its runs recorded; None where the run was not probed.
    """
    measured = [probe for probe in probes if probe is not None]
    seen = tuple(sorted({behavior for probe in measured for behavior in probe}))
    return (regularizes(seen) if measured else declared), seen
