"""Where results lie, and those that come with the package: they stand in a user's tables without being run again."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import leaderboard
from suite.errors import InputError
from suite.tracks import find_track

if TYPE_CHECKING:
    from leaderboard.analysis.results import Results
    from suite.storage.record import Record

BASELINES = Path(leaderboard.__file__).parent / "baselines"


def shipped_logs() -> list[Path]:
    """The shipped logs, one for a track."""
    return sorted(BASELINES.glob("*.jsonl"))


def shipped_verifications(track: str) -> dict[str, dict[str, Any]]:
    """What repeating the shipped results of a track has shown, by the names of the files: `lowlands verify --report`.

    They are called TRACK.json, or TRACK-NOTE.json such as quick-torch-2-7.json.
    """
    files = sorted((BASELINES / "verification").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files if file.stem.partition("-")[0] == track}


SHIPPED_TRACK = "quick"
"""The shipped results that are meant where no track is named."""


def find_log(results: Path | None, track: str | None, otherwise: str | None = None) -> Path:
    """The log of a track.

    Args:
        results: a log, which is returned as it is, or a directory of logs; None: the shipped ones.
        track: its name; None: the only log of the directory, or `SHIPPED_TRACK` of the shipped ones.
        otherwise: the track that is meant where none is named and the directory holds several logs.

    Raises:
        InputError: there is none, or no track is named and there are several.
    """
    if results is not None and results.is_file():
        return results
    if track is None and results is not None:
        logs = sorted(results.glob("*.jsonl"))
        if len(logs) > 1 and otherwise is not None:
            return find_log(results, otherwise)
        if len(logs) > 1:
            raise InputError(
                f"{results} holds results of {', '.join(log.stem for log in logs)}: name one with --track (track=)."
            )
        if not logs:
            raise InputError(f"There are no results at {results}.")
        return logs[0]
    track = Path(track or SHIPPED_TRACK).name.removesuffix(".toml")
    path = (BASELINES if results is None else results) / f"{track}.jsonl"
    if not path.is_file():
        if results is None:
            find_track(track)
        raise InputError(f"There are no results at {path}.")
    return path


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
