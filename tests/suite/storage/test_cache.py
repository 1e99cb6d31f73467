"""What is kept in memory: the newest, within bytes."""

from __future__ import annotations

from suite.storage.cache import cached_in_memory


def test_the_least_recently_used_goes_first_and_the_newest_stays() -> None:
    made: list[int] = []

    def make(size: int) -> bytes:
        made.append(size)
        return bytes(size)

    recent = cached_in_memory(10, len)(make)
    for size in (4, 5, 4, 3, 4, 5):
        assert len(recent(size)) == size
    # 3 pushes out 5 and not 4, which was used later; 5 has to be made again and pushes out 3.
    assert made == [4, 5, 3, 5]
    recent(100)
    recent(100)
    assert made == [4, 5, 3, 5, 100]
    recent(4)
    assert made[-1] == 4


def test_every_result_is_weighed_once_however_many_are_kept() -> None:
    weighed: list[int] = []

    def size(item: int) -> int:
        weighed.append(item)
        return 1

    recent = cached_in_memory(50, size)(lambda item: item)
    for item in range(100):
        recent(item)
    assert weighed == list(range(100))
