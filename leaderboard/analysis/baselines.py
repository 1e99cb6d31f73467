"""The results that come with the package, and how they stand beside a user's own without being run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import leaderboard
from suite.errors import InputError

if TYPE_CHECKING:
    from leaderboard.analysis.results import Results


BASELINES = Path(leaderboard.__file__).parent / "baselines"


def shipped_logs() -> list[Path]:
    """The shipped logs, one for a track."""
    return sorted(BASELINES.glob("*.jsonl"))


def with_shipped(own: Results) -> Results:
    """`own` with the shipped results of its track: of all submissions that it lacks, on the lanes that it holds.

    Seconds are left out, since they are another machine's. Where nothing is shipped for the track, or what is shipped
    must not share a table with `own`, it is `own` alone, with a note that says why.
    """
    from leaderboard.analysis.results import Results, check, load

    log = BASELINES / f"{own.track}.jsonl"
    if not log.is_file():
        return own
    held = {(record["kind"], record["submission"]) for record in own.records}
    lanes = {(record["kind"], record["task"], record["seed"]) for record in own.scored()}
    added = [
        record | {"seconds": None}
        for record in load([log]).scored()
        if (record["kind"], record["submission"]) not in held
        and (record["kind"], record["task"], record["seed"]) in lanes
    ]
    try:
        check([*own.records, *added])
    except InputError as error:
        return Results(own.records, [*own.notes, f"Without the shipped results: {error}"])
    return Results([*own.records, *added], own.notes)
