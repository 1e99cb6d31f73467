"""Who floods the board moves nobody else."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import leaderboard
from leaderboard.analysis.ranking import Board, board
from leaderboard.analysis.results import Results
from leaderboard.analysis.results import load as load_results

SHIPPED = Path(leaderboard.__file__).parent / "baselines"


@functools.cache
def shipped() -> Results:
    return load_results([SHIPPED / "quick.jsonl"])


def made(records: list[dict[str, Any]]) -> Board:
    return board(Results(records), resamples=20)


def of(name: str) -> list[dict[str, Any]]:
    return [record for record in shipped().records if record["submission"] == name and record["kind"] == "optimizer"]


def optimizers() -> list[dict[str, Any]]:
    return [record for record in shipped().records if record["kind"] == "optimizer"]


def near_copy(records: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The records under another name, with measures that differ in the fourth digit."""
    factor = 1 + number * 1e-4
    return [
        record
        | {
            "submission": f"{record['submission']}_{number}",
            "measures": {name: None if value is None else value * factor for name, value in record["measures"].items()},
        }
        for record in records
    ]


def test_near_copies_move_nobody_elses_position() -> None:
    plain = made(optimizers())
    for copied in (plain.names[0], "adam"):
        copies = [record for number in range(1, 6) for record in near_copy(of(copied), number)]
        flooded = made([*optimizers(), *copies])
        scores = {standing.submission: standing.overall.value for standing in flooded.standings}
        assert [name for name in flooded.names if name in plain.names] == plain.names
        for standing in plain.standings:
            assert scores[standing.submission] == standing.overall.value
        # A position is the number of those above it, who are the others' and the copies.
        for standing in flooded.standings:
            assert standing.rank is not None
            assert standing.rank <= 1 + sum(score > standing.overall.value for score in scores.values())
