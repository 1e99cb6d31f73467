"""Solutions on disk: the state of scored runs' networks (`suite.models.hold`), as safetensors, named by their hash.

Since a file's name is the hash of its content, other content under the same name is detected, and a record's
`solution_hash` finds its file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from suite.errors import InputError
from suite.task import Weights


def solution_hash(weights: Weights) -> str:
    """SHA-256 (16 hex digits) of a solution's weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        flat = weights[name].detach().cpu().contiguous().reshape(-1)
        digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())  # numpy has not every dtype
    return digest.hexdigest()[:16]


def save(directory: Path, weights: Weights) -> None:
    """Write the solution, whole or not at all, if it is not there yet; raises `InputError` if that is impossible."""
    path = directory / f"{solution_hash(weights)}.safetensors"
    if path.exists():
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            temporary = Path(scratch) / path.name
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"Solutions cannot be kept in {directory} ({error.strerror or error}).") from error


def load(directory: Path, name: str) -> Weights | None:
    """The weights whose hash is `name`; None if there is no such file. Raises `InputError` for a damaged one."""
    path = directory / f"{name}.safetensors"
    if not path.is_file():
        return None
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The solution {path} cannot be read ({error}).") from error
    if solution_hash(weights) != name:
        raise InputError(f"The solution {path} holds other weights than its name says.")
    return weights
