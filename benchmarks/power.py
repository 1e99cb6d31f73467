"""What `lowlands compare` finds: ``python -m benchmarks.power [--false-alarms] [TASK]...``; docs/ci.md.

Twelve regressions are planted (`benchmarks.planted`). Each is looked for in two ways: by the updates of both versions
(`lowlands compare --updates`), and by runs of both on a few tasks with as many seeds as the track has (`lowlands
compare BASE NEW`). Seconds are of the processor, with the runs of BASE, which a cache would keep.

With --false-alarms: 200 comparisons of two disjoint sets of ten seeds from one pool of 40, and ten optimizers of torch
against themselves with `foreach` on and off.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks.planted import FURTHER, PLANTS, submission_of
from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.comparison import Comparison, Quantity, compare
from leaderboard.analysis.results import Results, load
from leaderboard.cli import main as lowlands
from suite.commands.updates import compare_updates, make_plan, trajectories

TASKS = ("valley_scalar", "sparse_regression", "teacher_student")
SEEDS, POOL, DRAWS = 10, 40, 200
ALL = PLANTS | FURTHER
HARMLESS = ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")


def run(text: str, folder: Path, tasks: Sequence[str], seeds: int = SEEDS) -> Results:
    """The records of a submission: no setting is tuned."""
    chosen = [part for task in tasks for part in ("--task", task)]
    options = [*chosen, "--seeds", str(seeds), "--trials", "1", "--results", str(folder), "--engine", "local:0"]
    result = CliRunner().invoke(lowlands, ["run", text, *options], catch_exceptions=False)
    if result.exit_code:
        raise SystemExit(result.output)
    return load([folder / "quick.jsonl"])


def found_by_updates(name: str) -> str:
    """The first update that differs, or that none does."""
    base, new = map(submission_of, ALL[name])
    plan = make_plan(base)
    differing = [one for one in compare_updates(plan, trajectories(base, plan), trajectories(new, plan)) if one.differs]
    if not differing:
        return "no"
    first = min(differing, key=lambda one: one.step)
    return f"step {first.step}, {first.scenario.rpartition(',')[0]}, {100 * first.relative:.2g} %"


def outcome(comparison: Comparison) -> str:
    """What runs say: the regressions, by kind, or what else changed."""
    kinds = [f"{one.axis} ({one.task or 'all'})" for one in comparison.regressions]
    better = len(comparison.improvements)
    words = (
        f"yes: {', '.join(kinds[:2])}" + (f" and {len(kinds) - 2} more" if len(kinds) > 2 else "") if kinds else "no"
    )
    return words + (f"; {better} better" if better else "")


def power(tasks: Sequence[str]) -> None:
    """Print the table of plants."""
    shipped = load([BASELINES / "quick.jsonl"])
    print("| planted | by updates | seconds | by runs | seconds |\n| --- | --- | ---: | --- | ---: |", flush=True)
    runs: dict[str, tuple[Results, float]] = {}

    def recorded(kind: type) -> tuple[Results, float]:
        if kind.__name__ not in runs:
            begin = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                results = run(f"benchmarks.planted:run_{kind.__name__}", Path(folder), tasks)
            runs[kind.__name__] = results, time.process_time() - begin
        return runs[kind.__name__]

    for name, (base, new) in ALL.items():
        begin = time.process_time()
        updates = found_by_updates(name)
        spent = time.process_time() - begin
        (before, first), (after, second) = recorded(base), recorded(new)
        begin = time.process_time()
        by_runs = outcome(compare(before, after, shipped=shipped))
        total = first + second + time.process_time() - begin
        print(f"| {name} | {updates} | {spent:.0f} | {by_runs} | {total:.0f} |", flush=True)


def disjoint(pool: Results, generator: np.random.Generator) -> Comparison:
    """A comparison of two disjoint sets of seeds: the same optimizer, other data."""
    drawn = generator.permutation(POOL)[: 2 * SEEDS]
    sides = []
    for seeds in (drawn[:SEEDS], drawn[SEEDS:]):
        place = {int(seed): number for number, seed in enumerate(seeds)}
        records = [
            r | {"seed": place[r["seed"]], "data_fingerprint": None} for r in pool.scored() if r["seed"] in place
        ]
        sides.append(Results(records))
    return compare(*sides)


def false_alarms(tasks: Sequence[str]) -> None:
    """Print how many comparisons of equals raise an alarm."""
    with tempfile.TemporaryDirectory() as folder:
        pool = run("torch.optim:Adam[lr=0.01]", Path(folder), tasks, POOL)
        alarms = [bool(disjoint(pool, np.random.default_rng(draw)).regressions) for draw in range(DRAWS)]
        print(f"disjoint seeds: {sum(alarms)} alarms in {DRAWS} draws", flush=True)
        for name in HARMLESS:
            sides = []
            for foreach in (False, True):
                text = f"torch.optim:{name}[lr=0.01,foreach={foreach}]"
                results = run(text, Path(folder) / f"{name}{foreach}", tasks)
                sides.append(Results([record | {"submission": name} for record in results.records]))
            found = compare(*sides)
            same = sum(one.verdict == "identical" for one in found.differences)
            cost = [one for one in found.differences if one.quantity is Quantity.TARGET and not one.task]
            reached = f"{cost[0].base:.0f} and {cost[0].new:.0f} of {SEEDS * len(tasks)} runs at the target loss"
            print(
                f"{name}, foreach off and on: {len(found.regressions)} alarms, {same} of {len(found.differences)} "
                f"differences identical, {reached}",
                flush=True,
            )


def main(arguments: Sequence[str]) -> None:
    """Print what is asked for."""
    os.nice(5)
    tasks = [name for name in arguments if not name.startswith("-")] or TASKS
    (false_alarms if "--false-alarms" in arguments else power)(tasks)


if __name__ == "__main__":
    main(sys.argv[1:])
