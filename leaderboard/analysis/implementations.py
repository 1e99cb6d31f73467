"""Which algorithms stepped a submission's weights, and the packages that they come from. No torch import."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from suite.storage.record import Record


@dataclass(frozen=True)
class Implementation:
    """An algorithm that steps weights of a submission.

    Attributes:
        algorithm: the name of its class.
        share: of the weights that it steps, the mean over tasks, in (0, 1].
        packages: that its class came from, with versions, such as ``torch 2.14.1``; none for a class of a file, nor in
            records from before this was recorded.
    """

    algorithm: str
    share: float
    packages: tuple[str, ...]

    @property
    def words(self) -> str:
        """Such as ``Muon (torch 2.14.1)``."""
        return f"{self.algorithm} ({', '.join(self.packages)})" if self.packages else self.algorithm


def implementations(records: Iterable[Record]) -> Mapping[str, tuple[Implementation, ...]]:
    """The algorithms of every submission of `records`, that with the largest share first."""
    placements: defaultdict[str, dict[str, Mapping[str, int]]] = defaultdict(dict)
    packages: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        if placement := record.get("placement"):
            placements[record["submission"]][record["task"]] = placement
        for algorithm, package in record.get("implementations", {}).items():
            packages[record["submission"], algorithm].add(package)
    return {
        name: tuple(
            Implementation(algorithm, share, tuple(sorted(packages[name, algorithm])))
            for algorithm, share in _shares(list(of_tasks.values()))
        )
        for name, of_tasks in placements.items()
    }


def _shares(placements: list[Mapping[str, int]]) -> list[tuple[str, float]]:
    shares: defaultdict[str, float] = defaultdict(float)
    for placement in placements:
        weights = sum(placement.values())
        for algorithm, count in placement.items():
            if count:
                shares[algorithm] += count / weights / len(placements)
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))


def in_words(found: Iterable[Implementation]) -> str:
    """Such as ``Muon (torch 2.14.1) 70 %, AdamW (torch 2.14.1) 30 %``; without shares where there is one algorithm."""
    parts = tuple(found)
    return ", ".join(f"{one.words} {100 * one.share:.0f} %" if len(parts) > 1 else one.words for one in parts)
