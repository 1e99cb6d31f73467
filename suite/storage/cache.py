"""What takes long to compute is cached on disk: once per machine, not once per process.

One ``.npz`` file of arrays per result under ``$XDG_CACHE_HOME/lowlands/<kind>`` (else ``~/.cache``), named by a hash of
all that the result depends on. The cache is a convenience and never a source of errors: what cannot be read is computed
again, what cannot be written is not written.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


WORTH_KEEPING = 0.02
"""Seconds: a result that is computed faster is not written."""


def directory(kind: str) -> Path | None:
    """Where results of the kind `kind` are cached; None for a user without a home.

    A relative ``$XDG_CACHE_HOME`` counts as unset, as the XDG specification says.
    """
    for root in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(root):
            return Path(root) / "lowlands" / kind
    return None


def cached(kind: str, key: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays, by name, that `compute` returns, from the disk where an earlier process has left them.

    `key` must name everything that decides the answer. Whatever `compute` raises is passed on and nothing is cached.
    """
    home = directory(kind)
    if home is None:
        return compute()
    path = home / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    found = _read(path, key)
    if found is not None:
        return found
    begin = time.perf_counter()
    arrays = compute()
    if time.perf_counter() - begin >= WORTH_KEEPING:
        _write(path, key, arrays)
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    """The arrays in the file `path`; None if there is none, if it is damaged or if it is another key's."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return {name[1:]: file[name] for name in file.files if name != "key"}
    except Exception:  # damage shows in any way of numpy's, zipfile's and zlib's
        return None


def _write(path: Path, key: str, arrays: Arrays) -> None:
    """Keep `arrays`: written beside `path` and moved there, so that no reader ever meets half a file."""
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


class LRUCache(Generic[T]):
    """`make` with its most recent results cached: as many as fit into `limit` bytes, and the newest in any case.

    What `functools.lru_cache` is for results of any size: data sets differ by a factor of 10,000.
    """

    def __init__(self, make: Callable[..., T], size: Callable[[T], int], limit: int) -> None:
        functools.update_wrapper(self, make)
        self._make, self._size, self._limit = make, size, limit
        self._kept: OrderedDict[tuple[Hashable, ...], tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def __call__(self, *key: Any) -> T:
        if key not in self._kept:
            made = self._make(*key)
            self._kept[key] = made, self._size(made)
            self._bytes += self._kept[key][1]
            while len(self._kept) > 1 and self._bytes > self._limit:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
        self._kept.move_to_end(key)
        return self._kept[key][0]
