"""What a guest answers: typed JSON and tensors, one after the other in a single stream of bytes.

    8 bytes, the length of the JSON | JSON | a safetensors file (empty where there are no tensors)

The host takes all of it for hostile. JSON is decoded straight into the types below: a wrong type, an unknown field, a
number out of range or not finite is an error. The header of the tensors must describe exactly the bytes that follow,
before anything is allocated for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
import safetensors.torch
import torch
from msgspec import Meta, Struct
from torch import Tensor

from suite.behavior import Probe
from suite.entries.description import Described, Text, Word
from suite.errors import sentence, trace_of
from suite.sandbox.network import Network
from suite.task import Weights
from suite.training.run import Snapshot, Stepping, TrainingResult

MOST_JSON = 64 * 1024**2
MOST_HEADER = 16 * 1024**2
"""Bytes of JSON, and of the header of the tensors."""

Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]


class Failed(Struct, tag="failed", frozen=True, forbid_unknown_fields=True):
    """The guest could not do its job, or not this run of it.

    Attributes:
        trace: the traceback of what a submission raised.
        of_shape: whether an architecture may just not take inputs of the shape (`ShapeError`).
    """

    reason: Text
    trace: Text = ""
    of_shape: bool = False


class Taken(Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of a `suite.training.run.Snapshot`, whose tensors come beside the weights."""

    step: Count
    gradient_evaluations: Count
    update_norm: float | None


class Trained(Struct, tag="trained", frozen=True, forbid_unknown_fields=True):
    """How a run ended; the fields of `suite.training.TrainingResult` but for tensors."""

    status: Literal["converged", "diverged", "stalled", "budget", "raced"]
    train_loss: float | None
    gradient_evaluations: Count
    steps: Count
    seconds: Seconds
    stepping: Stepping
    target_evaluations: Count | None
    history: Annotated[tuple[tuple[Count, float | None], ...], Meta(min_length=1, max_length=100_000)]
    placement: Annotated[dict[Word, Count], Meta(max_length=20)]
    implementations: Annotated[dict[Word, Word], Meta(max_length=20)]
    probe: Probe | None
    snapshots: Annotated[tuple[Taken, ...], Meta(max_length=10_000)] = ()


class Runs(Struct, tag="runs", frozen=True, forbid_unknown_fields=True):
    """How every run of a job ended.

    Attributes:
        alone: they were not trained as one program after all: each is to be trained alone, in another process.
    """

    runs: tuple[Trained | Failed, ...]
    alone: bool = False


Answer = Failed | Described | Runs | Network

T = TypeVar("T", Described, Runs, Network)


def encode(answer: Answer, tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of an answer."""
    text = msgspec.json.encode(answer)
    return len(text).to_bytes(8, "little") + text + (safetensors.torch.save(dict(tensors)) if tensors else b"")


NOT_ANSWERED = ("weights", "initial", "precision")
"""What the asker has or settles by itself."""


def of_results(results: Sequence[TrainingResult | Exception]) -> tuple[Runs, dict[str, Tensor]]:
    """The answer that says how every run ended, and the weights of all."""
    weights: dict[str, Tensor] = {}
    answers: list[Trained | Failed] = []
    for number, result in enumerate(results):
        if isinstance(result, Exception):
            answers.append(Failed(sentence(result), trace_of(result)))
            continue
        weights |= _named(str(number), result.weights)
        for place, snapshot in enumerate(result.snapshots):
            weights |= _named(_snapshot_name(number, place), snapshot.weights)
            weights |= _named(_preconditioner_name(number, place), snapshot.preconditioner or {})
        fields = {name: value for name, value in vars(result).items() if name not in NOT_ANSWERED}
        taken = tuple(Taken(each.step, each.gradient_evaluations, each.update_norm) for each in result.snapshots)
        answers.append(Trained(**fields | {"snapshots": taken}))
    return Runs(tuple(answers)), weights


def _named(group: str, tensors: Weights) -> Weights:
    """The tensors as an answer holds them, under names that begin with that of their `group`."""
    return {f"{group}/{name}": tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _snapshot_name(number: int, place: int) -> str:
    return f"{number}.{place}"


def _preconditioner_name(number: int, place: int) -> str:
    return f"{number}.{place}.preconditioner"


def groups_of(tensors: Weights) -> dict[str, Weights]:
    """The tensors of an answer by the name of their group: the number of a run, or what `snapshots_of` looks for."""
    groups: dict[str, Weights] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return groups


def snapshots_of(number: int, row: Trained, groups: Mapping[str, Weights]) -> tuple[Snapshot, ...]:
    """The snapshots of the run of this number."""
    return tuple(
        Snapshot(
            taken.step,
            taken.gradient_evaluations,
            groups.get(_snapshot_name(number, place), {}),
            taken.update_norm,
            groups.get(_preconditioner_name(number, place)),
        )
        for place, taken in enumerate(row.snapshots)
    )


def decode(data: bytes, kind: type[T]) -> tuple[T | Failed, dict[str, Tensor]]:
    """The answer in `data`, of the type `kind` or `Failed`, and its tensors.

    Raises:
        ValueError: it is neither; says why in a sentence.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < length <= min(len(data) - 8, MOST_JSON):
        raise ValueError("it is not whole")
    try:
        answer = msgspec.json.decode(data[8 : 8 + length], type=kind | Failed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"its text is not of the format: {error}") from error
    return answer, _tensors(data[8 + length :])


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What the header of a safetensors file says of a tensor."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: Annotated[tuple[Count, ...], Meta(max_length=16)]
    data_offsets: tuple[Count, Count]

    @property
    def size(self) -> int:
        """Bytes."""
        width = {"BF16": 2, "BOOL": 1}.get(self.dtype) or int(self.dtype[1:]) // 8
        return width * math.prod(self.shape)


def _tensors(data: bytes) -> dict[str, Tensor]:
    if not data:
        return {}
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < length <= min(len(data) - 8, MOST_HEADER):
        raise ValueError("its tensors are not whole")
    try:
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[Word, _Entry])
        entries = sorted(header.values(), key=lambda entry: entry.data_offsets)
        ends = [0, *(entry.data_offsets[1] for entry in entries)]
        starts = [*(entry.data_offsets[0] for entry in entries), len(data) - 8 - length]
        sizes = [end - start for start, end in (entry.data_offsets for entry in entries)]
        if starts != ends or sizes != [entry.size for entry in entries]:
            raise ValueError("the header of its tensors does not describe what follows")
        tensors = safetensors.torch.load(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"its tensors are not of the format: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype == torch.bool and tensor.numel() and tensor.view(torch.uint8).max() > 1:
            raise ValueError(f"its tensor {name[:40]!r} holds what is neither true nor false")
    return tensors
