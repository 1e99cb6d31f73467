"""Oracles on disk: what takes a solver seconds is solved once per data set, not once per process.

One ``.npz`` file per oracle under ``$XDG_CACHE_HOME/lowlands/oracles`` (else ``~/.cache``), named by a hash of all that
the oracle depends on. The cache is a convenience and never a source of errors: what cannot be read is solved again,
what cannot be written is not written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from suite.task import Oracle

WORTH_KEEPING = 0.02
"""Seconds: an oracle that is solved faster is not written."""


def directory() -> Path | None:
    """Where oracles are kept; None for a user without a home.

    A relative ``$XDG_CACHE_HOME`` counts as unset, as the XDG specification says.
    """
    for root in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(root):
            return Path(root) / "lowlands" / "oracles"
    return None


def cached(key: str, solve: Callable[[], Oracle]) -> Oracle:
    """The oracle that `solve` computes, from the disk where an earlier process has left it.

    `key` must name everything that decides the answer: the task with its variant, the fingerprint of the data, and the
    hash of the source that solves. Whatever `solve` raises is passed on and nothing is kept.
    """
    home = directory()
    if home is None:
        return solve()
    path = home / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    kept = _read(path, key)
    if kept is not None:
        return kept
    begin = time.perf_counter()
    oracle = solve()
    if time.perf_counter() - begin >= WORTH_KEEPING:
        _write(path, key, oracle)
    return oracle


def _read(path: Path, key: str) -> Oracle | None:
    """The oracle in the file `path`; None if there is none, if it is damaged or if it is another key's."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays.pop("key")) != key:
            return None
        parts: dict[str, dict[str, np.ndarray]] = {"solution": {}, "value": {}}
        for name, array in arrays.items():
            kind, _, own = name.partition(":")
            parts[kind][own] = array
        return Oracle(
            {name: torch.from_numpy(array) for name, array in parts["solution"].items()},
            {name: float(array) for name, array in parts["value"].items()},
        )
    except Exception:  # damage shows in any way of numpy's, zipfile's and zlib's
        return None


def _write(path: Path, key: str, oracle: Oracle) -> None:
    """Keep `oracle`: written beside `path` and moved there, so that no reader ever meets half a file."""
    arrays = {f"solution:{name}": tensor.detach().cpu().numpy() for name, tensor in oracle.solutions.items()}
    arrays |= {f"value:{name}": np.array(value) for name, value in oracle.values.items()}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez(file, **(arrays | {"key": np.array(key)}))  # type: ignore[arg-type]  # stubs mix in a flag
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
