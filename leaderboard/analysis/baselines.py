"""The results that come with the package, which stand in a user's tables without being run again."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import leaderboard
from suite.errors import InputError

if TYPE_CHECKING:
    from leaderboard.analysis.results import Results
    from suite.storage.record import Record

BASELINES = Path(leaderboard.__file__).parent / "baselines"


def shipped_logs() -> list[Path]:
    """The shipped logs, one for a track."""
    return sorted(BASELINES.glob("*.jsonl"))


def with_shipped(results: Results) -> Results:
    """`results` with the submissions that it lacks from the shipped ones of its track, on the tasks and seeds it has.

    Their seconds are left out, because they are another machine's. Where nothing is shipped for the track, `results` is
    returned as it is; where the shipped ones must not share a table with it, with a note that says why.
    """
    from leaderboard.analysis.results import Results, check, load

    log = BASELINES / f"{results.track}.jsonl"
    if not log.is_file():
        return results
    submissions = {(record["kind"], record["submission"]) for record in results.records}
    runs = {(record["kind"], record["task"], record["seed"]) for record in results.scored()}
    tasks = {(kind, task) for kind, task, _ in runs}
    shipped = [
        record | {"seconds": None}
        for record in load([log]).records
        if (record["kind"], record["submission"]) not in submissions
        and ((record["kind"], record["task"], record["seed"]) in runs or _tuning(record, tasks))
    ]
    try:
        check([*results.records, *shipped])
    except InputError as error:
        return Results(results.records, [*results.notes, f"Without the shipped results: {error}"])
    return Results([*results.records, *shipped], results.notes)


def _tuning(record: Record, tasks: Collection[tuple[str, str]]) -> bool:
    """Whether a record is of a trial on one of `tasks` (kind of submission, task): it says what was tuned."""
    return record["phase"] == "tune" and (record["kind"], record["task"]) in tasks
