"""Results that are kept in memory as long as they fit."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """`make` with its most recent results kept: as many as fit into `limit` bytes, and the newest in any case.

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
