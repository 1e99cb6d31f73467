"""What `lowlands compare` finds: ``python -m benchmarks.power [--false-alarms] [--results FOLDER] [TASK]...``.

Twelve regressions and three further ones are planted (`benchmarks.planted`). Each is looked for in two ways: by the
updates of both versions (`lowlands compare --updates`), and by runs of both on three tasks that take little time, with
ten seeds and fixed settings (`lowlands compare BASE NEW`, and `--any-change`). Seconds are of the processor, with the
runs of BASE, which a cache would keep. Records are kept in --results FOLDER, and what is there is not run again.

With --false-alarms: 200 comparisons of two disjoint sets of ten seeds from one pool of 40, and ten harmless rewrites:
eight optimizers of torch with `foreach` off and on, and two of torch against the plain ones of `benchmarks.planted`. On
a CPU torch 2.14's `foreach` gives other bits for ASGD, NAdam and RAdam alone; the plain ones give other bits too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import lowlands
from benchmarks.planted import FURTHER, PLANTS, submission_of
from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.comparison import Comparison, Difference, Quantity, Verdict, compare
from leaderboard.analysis.results import Results, load
from leaderboard.tables.reports import report
from suite.commands.updates import compare_updates, make_plan, trajectories

TASKS = ("linear_convolution[network=full]", "spectral_margin", "teacher_student")
SEEDS, POOL, DRAWS = 10, 40, 200
COUNTS = (3, 5, SEEDS)
"""Numbers of seeds with which a plant is looked for."""
ALL = PLANTS | FURTHER
FOREACH = ("ASGD[lr=0.1]", "NAdam[lr=0.01]", "RAdam[lr=0.01]", "Adam[lr=0.01]", "Adamax[lr=0.01]", "Adagrad[lr=0.1]",
           "RMSprop[lr=0.003]", "SGD[lr=0.03,momentum=0.9]")  # fmt: skip
REWRITES = {
    **{text: tuple(f"torch.optim:{text[:-1]},foreach={value}]" for value in (False, True)) for text in FOREACH},
    "AdamW": ("torch.optim:AdamW[lr=0.01,weight_decay=0.1]", "benchmarks.planted:run_AdamW"),
    "SGD, nesterov": ("torch.optim:SGD[lr=0.03,momentum=0.9,nesterov=True]", "benchmarks.planted:run_Momentum"),
}
"""Harmless rewrites: a name, BASE and NEW."""


def run(text: str, folder: Path, tasks: Sequence[str], seeds: int = SEEDS) -> Results:
    """The records of a submission: no setting is tuned."""
    lowlands.run(text, tasks=tasks, seeds=seeds, trials=1, results=folder, engine="local:0", progress=False)
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


def named(differences: Sequence[Difference]) -> str:
    """Two of the differences by name, and how many more there are."""
    kinds = [f"{one.axis} ({one.task or 'all'})" for one in differences]
    return ", ".join(kinds[:2]) + (f", {len(kinds) - 2} more" if len(kinds) > 2 else "") or "no"


def fewest(before: Results, after: Results, shipped: Results, any_change: bool) -> str:
    """The fewest of `COUNTS` seeds with which a comparison fails."""
    for count in COUNTS:
        sides = [Results([r for r in side.scored() if r["seed"] < count]) for side in (before, after)]
        if report(compare(*sides, shipped=shipped), any_change).failed:
            return str(count)
    return "-"


def power(tasks: Sequence[str], folder: Path) -> None:
    """Print the table of plants."""
    shipped = load([BASELINES / "quick.jsonl"])
    print(
        "| planted | by updates | seconds | regressions | seeds | changes | seeds | seconds |\n"
        "| --- | --- | ---: | --- | ---: | --- | ---: | ---: |",
        flush=True,
    )

    def recorded(kind: type) -> tuple[Results, float]:
        name, spent = kind.__name__, folder / kind.__name__ / "seconds"
        begin = time.process_time()
        results = run(f"benchmarks.planted:run_{name}", folder / name, tasks)
        if not spent.exists():
            spent.write_text(str(time.process_time() - begin))
        return results, float(spent.read_text())

    for name, (base, new) in ALL.items():
        begin = time.process_time()
        updates = found_by_updates(name)
        seconds = time.process_time() - begin
        (before, first), (after, second) = recorded(base), recorded(new)
        found = compare(before, after, shipped=shipped)
        counts = [fewest(before, after, shipped, any_change) for any_change in (False, True)]
        print(
            f"| {name} | {updates} | {seconds:.1f} | {named(found.regressions)} | {counts[0]} | "
            f"{named([*found.improvements, *found.changes])} | {counts[1]} | {first + second:.0f} |",
            flush=True,
        )


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


def alarms(comparisons: Sequence[Comparison]) -> str:
    """How many of them fail, and how many of them with --any-change."""
    counts = [sum(report(one, any_change).failed for one in comparisons) for any_change in (False, True)]
    return f"{counts[0]} of {len(comparisons)}, with --any-change {counts[1]}"


def false_alarms(tasks: Sequence[str], folder: Path) -> None:
    """Print how many comparisons of equals raise an alarm."""
    pool = run("torch.optim:Adam[lr=0.01]", folder / "pool", tasks, POOL)
    draws = [disjoint(pool, np.random.default_rng(draw)) for draw in range(DRAWS)]
    print(f"disjoint seeds: {alarms(draws)}", flush=True)
    found = []
    for name, texts in REWRITES.items():
        sides = []
        for text in texts:
            results = run(text, folder / text.partition(":")[2], tasks)
            sides.append(Results([record | {"submission": name} for record in results.records]))
        one = compare(*sides)
        found.append(one)
        same = sum(difference.verdict == Verdict.IDENTICAL for difference in one.differences)
        (target,) = [d for d in one.differences if d.quantity is Quantity.TARGET and not d.task]
        print(
            f"{name}: {len(one.regressions)} regressions, other changes: "
            f"{named([*one.improvements, *one.changes])}, {same} of {len(one.differences)} differences identical, "
            f"{target.base:.0f} and {target.new:.0f} runs at the target loss",
            flush=True,
        )
    print(f"harmless rewrites: {alarms(found)}", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--false-alarms", action="store_true")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args(arguments)
    os.nice(5)
    with tempfile.TemporaryDirectory() as scratch:
        (false_alarms if given.false_alarms else power)(given.tasks, given.results or Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
