"""The fields of a record, with their types and ranges: what a reader may rely on.

A log is a file that anyone may write, and a checksum only says that a line is as somebody sealed it. So each line is
checked against these types when it is read, and whoever gets a record may use its fields without looking. Fields that
are not named here (of newer versions) are kept and not checked.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from suite.behavior import Size
from suite.boards import BOARD_VERSIONS
from suite.storage.record import Record, Status

# Bounds keep out infinities and NaN, which JSON has not but Python reads, and integers that no float can hold.
Number = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# Submissions and tasks have printable names; what ends a line or cannot be written as UTF-8 is no name.
_BoardVersion = Annotated[str, Meta(pattern=r"\A\d{4}\.\d{1,4}\Z")]
Name = Annotated[str, Meta(min_length=1, pattern=r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z")]

CONTAINERS = (list, dict)

MAX_DEPTH = 20
"""How deep settings and variants may be nested: what can just be read could not be written again elsewhere."""


class _Axis(Struct):
    """What a record states of one axis; references are null where the oracle did not solve.

    `provisional` says why they will be made anew; it is empty where they are final.
    """

    measure: Name
    scale: Literal["log", "linear"]
    score_0: Number | None
    score_1: Number | None
    floor: Number | None
    provisional: str = ""


class _Uncertainty(Struct):
    """How far a measured value can be trusted; the error is null where none is known, the note for most is empty."""

    kind: Literal["exact", "bound", "estimate"]
    error: Number | None
    note: str = ""


class _Curve(Struct):
    """The fields of `suite.task.Curve`; a value that was not finite is null."""

    x: list[Number | None]
    y: list[Number | None]
    x_label: str
    y_label: str
    oracle: list[Number | None] | None
    x_log: bool
    y_log: bool
    points: bool

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or (self.oracle is not None and len(self.oracle) != len(self.x)):
            raise ValueError("A curve's x, y and oracle differ in length")


class _Probe(Struct):
    """What tables read of a probe of an optimizer (`suite.behavior.Probe`)."""

    behaviors: list[Name]
    steps: Count
    rotated: Size | None = None
    turned: Size | None = None


class _Environment(Struct):
    """The machine and the versions that a run was made with."""

    device: Name
    numpy: str
    platform: str
    python: str
    threads: Count
    torch: str


class _Fields(Struct):
    """The fields of every record of the current schema; those with a default came later than the schema."""

    schema: int
    suite_version: str
    track: str
    phase: Literal["tune", "score"]
    submission: Name
    kind: Literal["optimizer", "architecture"]
    explicit: bool
    submission_hash: str
    task: Name
    family: Name
    variant: dict[str, Any]
    task_hash: str
    data_fingerprint: str | None
    trial: Count
    hyperparameters: dict[str, Any]
    seed: Seed
    converged: bool
    status: Status
    reason: str | None
    train_loss: Number | None
    validation_loss: Number | None
    gradient_evaluations: Count
    target_evaluations: Count | None
    steps: Count
    seconds: Seconds
    measure_seconds: Seconds
    stepping: str | None
    measures: dict[str, Number | None]
    uncertainties: dict[str, _Uncertainty]
    axes: dict[Literal["flatness", "norm", "generalization"], _Axis]
    reported: list[Name]
    curves: dict[str, _Curve]
    solution_hash: str | None
    environment: _Environment
    time: str
    method: Name | None = None
    search: Count = 0
    isolation: str | None = None
    selection: str = ""
    placement: dict[Name, Count] = {}
    implementations: dict[Name, Name] = {}
    probe: _Probe | None = None
    undefined: dict[Name, Name] = {}
    unit_seconds: Seconds = 0.0
    cpu_seconds: Seconds | None = None
    peak_memory: Count | None = None
    precision: Literal["float32"] | None = None
    board_version: _BoardVersion = BOARD_VERSIONS[0]

    def __post_init__(self) -> None:
        if self.converged != (self.status == Status.CONVERGED):
            raise ValueError(f"`converged` is {str(self.converged).lower()}, and the status is {self.status}")
        if self.status == Status.UNAVAILABLE and self.reason is None:
            raise ValueError("The status is unavailable, without a reason")
        if self.converged and self.phase == "tune" and self.target_evaluations is None:
            raise ValueError("The run reached the target loss, and `target_evaluations` is null")


def check(record: Record) -> None:
    """Raise a ValueError that names the field of `record`, of the current schema, that is missing or not as above."""
    try:
        msgspec.convert(record, _Fields)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for field in ("hyperparameters", "variant"):
        if _is_deeper(record[field], MAX_DEPTH):
            raise ValueError(f"`{field}` is nested too deeply")


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects in `value` are nested more than `depth` times."""
    if not isinstance(value, CONTAINERS):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(isinstance(part, CONTAINERS) and _is_deeper(part, depth - 1) for part in parts)
