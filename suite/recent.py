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
        self._kept: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()

    def __call__(self, *key: Any) -> T:
        if key not in self._kept:
            self._kept[key] = self._make(*key)
            while len(self._kept) > 1 and sum(map(self._size, self._kept.values())) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
