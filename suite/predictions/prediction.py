"""What a prediction is: which value, bound or order theory expects of a reported measure of a method's solutions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from suite.predictions.claim import Claim
from suite.predictions.methods import Method

LIMIT = 0.05
"""How far a measure may be from a limit that training only approaches, as a share of that limit.

One number for all predictions of limits, so that it cannot be fitted to a result. It is also the bound on what vanishes
in the limit, where that is relative to something (a distance over a norm).
"""

EXACT = 0.01
"""The same for identities that hold at every step: what tasks count as exact (`Axis.floor`)."""


class Relation(StrEnum):
    """How a measure and its predicted value compare."""

    EQUALS = "="
    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True)
class Measured:
    """A predicted value that is itself measured: `measure` of the same run.

    Or of another run on the same seed: of `method`, on the variant `task` of the task, or both.
    """

    measure: str
    method: Method | None = None
    task: str | None = None


@dataclass(frozen=True)
class Prediction:
    """``measure relation value`` for the solutions that `methods` find on a task.

    Attributes:
        task: its name with the variant, as records have it.
        methods: whom it is about.
        measure: the name of a reported measure.
        relation, value: what it is compared with, a number or another measure.
        tolerance: of an equality, how far from the value still counts, as a share of it; 0 for bounds and orders.
        claim: the statement that is tested.
        unmet: what the statement asks for and the task or the method does not give; empty if all conditions are met
            but for the limits that `tolerance` allows for.
        retrospective: whether it was written when records of it were there already. The statement is older than both,
            but measure and form of the comparison could have been chosen by its outcome.
    """

    task: str
    methods: tuple[Method, ...]
    measure: str
    relation: Relation
    value: float | Measured
    tolerance: float
    claim: Claim
    unmet: str = ""
    retrospective: bool = False

    @property
    def formula(self) -> str:
        """The prediction as a short formula."""
        if isinstance(self.value, Measured):
            measure = self.value.measure if self.value.measure != self.measure else "that"
            of = f" of {self.value.method}" if self.value.method else ""
            value = f"{measure}{of}{f' on {self.value.task}' if self.value.task else ''}"
        else:
            value = f"{self.value:g}"
        around = f" ± {100 * self.tolerance:g} %" if self.tolerance else ""
        return f"{self.measure} {self.relation} {value}{around}"
