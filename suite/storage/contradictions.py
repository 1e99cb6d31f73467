"""Runs of which one log tells two stories.

`lowlands run` never records a run twice, but where its data were unavailable. Code of a submission that runs without
`--isolate` could write into the log, and which of two records is the true one cannot be seen: neither counts.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from suite.storage.record import Record, RunKey, Status, run_key

STATED = ("status", "explicit", "method", "train_loss", "gradient_evaluations", "axes", "measures", "undefined")
"""The fields that enter tables; of the probe, the words that were found do."""

SAME_MACHINE, OTHER_MACHINE = 1e-4, 0.05
"""Relative tolerances for two records that state the same versions and machine, or others, as in `lowlands verify`."""

ROUNDING = 1e-12
"""Numbers so near to each other are equal, whatever they are relative to each other."""

_RUN = itemgetter("submission", "task", "phase", "trial", "seed")


def contradictions(records: Sequence[Record]) -> dict[RunKey, str]:
    """The runs of a log that have records that differ beyond rounding -> what differs, in words."""
    groups: defaultdict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record["status"] != Status.UNAVAILABLE:
            groups[_RUN(record)].append(record)
    runs: defaultdict[RunKey, list[Record]] = defaultdict(list)
    for record in itertools.chain.from_iterable(group for group in groups.values() if len(group) > 1):
        runs[run_key(record)].append(record)
    found = {}
    for key, repeated in runs.items():
        differences = (_difference(one, other) for one, other in itertools.pairwise(repeated))
        if difference := next(filter(None, differences), None):
            found[key] = difference
    return found


def in_words(found: dict[RunKey, str]) -> list[str]:
    """A sentence for each submission and task with such runs, with the first of them."""
    groups: defaultdict[tuple[str, str], list[RunKey]] = defaultdict(list)
    for key in found:
        groups[key.submission, key.task].append(key)
    return [
        f"Two records of one run differ, and neither counts: {name} on {task}, {_run_in_words(keys[0])} "
        f"({found[keys[0]]}){f', and {len(keys) - 1} more of its runs there' if len(keys) > 1 else ''}. "
        "`lowlands verify` repeats it and tells which is true."
        for (name, task), keys in groups.items()
    ]


def rescored(records: Sequence[Record]) -> list[str]:
    """A sentence for each submission and task that has seeds scored with several settings, where one is selected."""
    first: dict[tuple[str, str, int], Any] = {}
    found: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for record in records:
        if record["phase"] == "score" and record.get("selection") != "convergence":
            name, task, seed = record["submission"], record["task"], record["seed"]
            if first.setdefault((name, task, seed), record["hyperparameters"]) != record["hyperparameters"]:
                found[name, task].add(seed)
    return [
        f"{name} on {task}: {len(seeds)} of its seeds were scored with several settings, as after a search with other "
        "trials; the last recorded counts."
        for (name, task), seeds in found.items()
    ]


def _run_in_words(key: RunKey) -> str:
    return f"seed {key.seed}" if key.phase == "score" else f"tuning trial {key.trial}, seed {key.seed}"


def _difference(one: Record, other: Record) -> str | None:
    """The first field in which two records of a run differ beyond rounding, with both values; None if there is none."""
    tolerance = SAME_MACHINE if one["environment"] == other["environment"] else OTHER_MACHINE
    for path, first, second in itertools.chain(*(_leaves(name, one.get(name), other.get(name)) for name in STATED)):
        if not _alike(first, second, tolerance):
            return f"{path} {first} and {second}"
    behaviors = [(record.get("probe") or {}).get("behaviors") for record in (one, other)]
    return None if behaviors[0] == behaviors[1] else f"probe {behaviors[0]} and {behaviors[1]}"


def _leaves(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values below a field of two records, side by side, with their dotted paths."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _leaves(f"{path}.{name}", one.get(name), other.get(name))
    else:
        yield path, one, other


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if type(one) in (int, float) and type(other) in (int, float):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=ROUNDING)
    return bool(one == other)
