"""The tasks as plain data, to be printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from suite import plugins
from suite.task import Task
from suite.tasks import find_task, open_task, task_functions
from suite.tracks import TRACKS


def task_list(names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One entry per task named, or for every task, ordered by family: strings, numbers, lists and dicts only.

    Raises:
        InputError: there is no such task or variant.
    """
    tasks = [open_task(name) for name in names or (*task_functions(), *plugins.names("tasks"))]
    return [_entry(task) for task in (tasks if names else sorted(tasks, key=lambda task: task.family))]


def _entry(task: Task) -> dict[str, Any]:
    """One task as plain data."""
    scored = next((variant for variant in _on_tracks(task) if variant.axes), task)
    interface = None
    if task.interface is not None:
        interface = {
            "input_shape": list(task.interface.input_shape),
            "outputs": task.interface.outputs,
            "optimizer": task.interface.optimizer.__name__,
            "space": {name: str(value) for name, value in task.interface.space.items()},
            "tokens": task.interface.tokens,
        }
    return {
        "name": task.name,
        "family": task.family,
        "description": task.description,
        "target": dataclasses.asdict(task.target),
        "selection": task.selection,
        "batch_size": task.batch_size,
        "axes": [dataclasses.asdict(axis) for axis in scored.axes],
        "axes_of": scored.name,
        "reported": list(scored.reported),
        "variant": dict(task.variant),
        "interface": interface,
        "papers": list(task.papers),
    }


def _on_tracks(task: Task) -> Iterator[Task]:
    """The task itself, then its variants that a track holds: references may be frozen for those alone."""
    names = dict.fromkeys(name for track in TRACKS.values() for name in track.tasks if name.startswith(f"{task.name}["))
    yield task
    yield from map(find_task, names)
