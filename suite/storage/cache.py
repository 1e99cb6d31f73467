"""Caches for what takes long to compute: on disk, once per machine, and in memory, once per process.

On disk there is one ``.npz`` file of arrays per result under ``$XDG_CACHE_HOME/lowlands/<kind>`` (else ``~/.cache``),
named by a hash of all that the result depends on. The cache is a convenience and never a source of errors: a file that
cannot be read is computed again, a file that cannot be written is skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import cachetools
import numpy as np
from cachetools.keys import hashkey
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

MIN_SECONDS = 0.02
"""A result that is computed faster is not written."""

_read_only = ContextVar("read_only", default=False)


@contextlib.contextmanager
def read_only() -> Iterator[None]:
    """Write no result within: code of a submission may have changed how this process computes."""
    token = _read_only.set(True)
    try:
        yield
    finally:
        _read_only.reset(token)


def directory(kind: str) -> Path | None:
    """Where results of the kind `kind` are cached; None for a user without a home.

    A relative ``$XDG_CACHE_HOME`` counts as unset, as the XDG specification says.
    """
    for root in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(root):
            return Path(root) / "lowlands" / kind
    return None


def cached_on_disk(kind: str, key: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays, by name, that `compute` returns, read from the disk if an earlier process has written them.

    `kind` is the folder; `key` names everything that decides the result. What `compute` raises is passed on.
    """
    folder = directory(kind)
    if folder is None:
        return compute()
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    if (arrays := _read(path, key)) is not None:
        return arrays
    begin = time.perf_counter()
    arrays = compute()
    if time.perf_counter() - begin >= MIN_SECONDS and not _read_only.get():
        _write(path, key, arrays)
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    """The arrays in the file `path`; None if there is none, if it is damaged or if it is another key's."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return {name[1:]: file[name] for name in file.files if name != "key"}
    except Exception:  # numpy, zipfile and zlib report damage by errors of many types
        return None


def _write(path: Path, key: str, arrays: Arrays) -> None:
    """Write a temporary file in the same folder and move it to `path`, so that no reader meets half a file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            named = {f"={name}": array for name, array in arrays.items()}
            np.savez(file, **(named | {"key": np.array(key)}))  # type: ignore[arg-type]  # stubs mix in a flag
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


T = TypeVar("T")


def cached_in_memory(
    limit: int, size: Callable[[T], int], key: Callable[..., Hashable] = hashkey
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A decorator that keeps a function's most recent results: `functools.lru_cache` for results of any size.

    Args:
        limit: how much is kept, in the unit of `size`. The newest result is kept in any case.
        size: a result's size: data sets differ by a factor of 10,000.
        key: what of the arguments identifies a result.
    """
    # The library keeps nothing that is larger than the whole cache.
    return cachetools.cached(cachetools.LRUCache(limit, lambda result: min(size(result), limit)), key)
