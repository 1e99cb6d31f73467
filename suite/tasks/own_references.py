"""References of tasks that are not of the suite: a file beside the task or its data, which `lowlands references` makes.

A task leaves the references of an axis open as NaN (``Axis("norm", "l2_norm", "log", nan, nan)``); until the file has
them the axis is reported and not scored. They are part of the task's source: with other references it is run anew.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from suite.errors import InputError
from suite.task import Axis, Task

ENDING = ".references.json"


class Pair(msgspec.Struct, frozen=True):
    """The references of a measure, and the submissions whose means they are."""

    score_0: float
    score_1: float
    score_0_run: str = ""
    score_1_run: str = ""


References = dict[str, dict[str, Pair]]
"""By task and measure."""


def file_of_task(file: str) -> Path:
    """Where the references of the tasks in a file are: ``my_task.references.json`` beside ``my_task.py``."""
    return Path(file).with_suffix(ENDING)


def file_of_data(data: str) -> Path | None:
    """Where those of tasks on a data set of the user's are; None without a directory of data sets."""
    directory = os.environ.get("LOWLANDS_DATA")
    return Path(directory) / f"{data}{ENDING}" if directory else None


def read(path: Path | None) -> References:
    """The references in a file, of which there are none if there is no such file; an InputError if it is damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=References)
    except (msgspec.MsgspecError, OSError) as error:
        raise InputError(f"{path} holds no references ({error}).") from None


def write(path: Path, task: str, pairs: dict[str, Pair]) -> None:
    """Put the references of a task into a file, in place of earlier ones; an InputError if it cannot be written."""
    content = msgspec.json.encode(read(path) | {task: pairs}, order="sorted")
    try:
        path.write_bytes(msgspec.json.format(content, indent=1) + b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error


def is_open(axis: Axis) -> bool:
    """Whether the axis states no references."""
    return any(isinstance(value, float) and math.isnan(value) for value in (axis.score_0, axis.score_1))


def referenced(task: Task, axes: Sequence[Axis], path: Path | None, name: str) -> Task:
    """The task with those of `axes` that have references: their own, or those that the file has for the task `name`."""
    known = read(path).get(name, {})
    found = {axis.measure: known[axis.measure] for axis in axes if is_open(axis) and axis.measure in known}
    scored = tuple(
        replace(axis, score_0=found[axis.measure].score_0, score_1=found[axis.measure].score_1)
        if axis.measure in found
        else axis
        for axis in axes
        if not is_open(axis) or axis.measure in found
    )
    shown = [axis.measure for axis in axes if is_open(axis) and axis.measure not in found]
    source = task.source
    if found:
        words = f"{source} {sorted((measure, repr(pair)) for measure, pair in found.items())}"
        source = hashlib.sha256(words.encode()).hexdigest()[:16]
    reported = tuple(dict.fromkeys((*shown, *task.reported)))
    return replace(task, axes=scored, open_axes=tuple(filter(is_open, axes)), reported=reported, source=source)
