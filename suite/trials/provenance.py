"""What a record says of where its numbers come from: source, versions, machine."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import suite
from suite.task import Task


@functools.cache
def suite_hash() -> str:
    """SHA-256 (16 hex digits) of the suite's Python and JSON files: a helper's change changes every task's hash."""
    root = Path(suite.__file__).parent
    digest = hashlib.sha256()
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.json"))):
        if "_submissions" not in path.parts:
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def task_hash(task: Task) -> str:
    """What a task's numbers depend on: its name with variant, and the suite's source."""
    return hashlib.sha256(f"{task.name} {suite_hash()}".encode()).hexdigest()[:16]


@functools.cache
def environment(device: str) -> dict[str, Any]:
    """Versions and machine facts that a record carries."""
    name = torch.cuda.get_device_name(device) if device != "cpu" and torch.cuda.is_available() else device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "device": name,
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()}-{platform.machine()}",
    }
