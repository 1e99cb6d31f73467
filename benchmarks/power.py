"""What the workflow of docs/ci.md finds: ``python -m benchmarks.power [--false-alarms] [options] [TASK]...``.

Twelve regressions are planted, or with --further others (`benchmarks.planted`), and each is looked for as the workflow
does (`.ci/regress`): by the updates of both versions (`lowlands compare --updates`), by the cost of a step (`lowlands
bench`), and by runs of both with fixed settings (`lowlands compare BASE NEW --any-change`), of which regressions are
told apart from other changes. Seconds are of the processor, with the runs of BASE, which a cache would keep. Seeds
count from --first-seed, so that they can be others than those on which a choice of tasks was made. Records are kept in
--results FOLDER, and what is there is not run again.

With --false-alarms: 200 comparisons of two disjoint sets of seeds from one pool of 40; 20 comparisons of the cost of a
step with itself; and ten harmless rewrites, by updates and by runs: eight optimizers of torch with `foreach` off and
on, and two of torch against the plain ones of `benchmarks.planted`. On a CPU torch 2.14's `foreach` gives other bits
for ASGD, NAdam and RAdam alone; the plain ones give other bits too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import lowlands
from benchmarks.planted import FURTHER, PLANTS, UNSEEN, submission_of
from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.comparison import Comparison, Difference, Quantity, Verdict, compare
from leaderboard.analysis.results import Results, load
from leaderboard.tables import reports
from suite.commands.bench import Code, bench, networks
from suite.commands.updates import UpdateDifference, compare_updates, make_plan, trajectories
from suite.entries.versions import Version
from suite.submission import Submission
from suite.tracks import Track, find_track, read_track

TASKS = (
    "linear_convolution[network=full]", "spectral_margin", "teacher_student", "min_norm_regression", "valley_scalar",
    "mnist5k_mlp",
)  # fmt: skip
"""Those of `.ci/regress`: five that take little time, and one with large gradients and small batches."""

POOL, DRAWS, BENCHES = 40, 200, 20
SEEDS = 10
"""On a task; the quick track has fewer where a run costs more."""
COUNTS = (3, 5, SEEDS)
"""Numbers of seeds with which a plant is looked for."""
FOREACH = ("ASGD[lr=0.1]", "NAdam[lr=0.01]", "RAdam[lr=0.01]", "Adam[lr=0.01]", "Adamax[lr=0.01]", "Adagrad[lr=0.1]",
           "RMSprop[lr=0.003]", "SGD[lr=0.03,momentum=0.9]")  # fmt: skip
POOLED = "torch.optim:SGD[lr=0.03,momentum=0.9,nesterov=True]"
REWRITES = {
    **{text: tuple(f"torch.optim:{text[:-1]},foreach={value}]" for value in (False, True)) for text in FOREACH},
    "AdamW": ("torch.optim:AdamW[lr=0.01,weight_decay=0.1]", "benchmarks.planted:run_AdamW"),
    "SGD, nesterov": (POOLED, "benchmarks.planted:run_Momentum"),
}
"""Harmless rewrites: a name, BASE and NEW."""


@dataclass(frozen=True)
class Runs:
    """The runs of submissions with fixed settings: no setting is tuned.

    Attributes:
        track: tasks and seeds.
        folder: of the logs, and of a file that states the track.
    """

    track: Track
    folder: Path

    @staticmethod
    def of(tasks: Sequence[str], folder: Path, first_seed: int = 0, seeds: int | None = None) -> Runs:
        """Those of `tasks` on the seeds that the workflow has, or on so many."""
        quick = find_track("quick").with_seeds(seeds) if seeds else find_track("quick")
        fewer = {name: count for name, count in quick.fewer_seeds.items() if name in tasks}
        stated = {"tasks": [*tasks], "seeds": quick.seeds, "trials": 1, "searches": 1, "first_seed": first_seed}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "planted.toml"
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in stated.items()]
        lines += ["[fewer_seeds]\n", *(f"{json.dumps(name)} = {count}\n" for name, count in fewer.items())]
        path.write_text("".join(lines))
        return Runs(read_track(path), folder)

    def records(self, text: str, name: str) -> tuple[Results, float]:
        """The records of a submission, in a folder of this name; the processor's seconds that they took."""
        spent = self.folder / name / "seconds"
        begin = time.process_time()
        lowlands.run(
            text, track=str(self.folder / "planted.toml"), results=self.folder / name, engine="local:0", progress=False
        )
        if not spent.exists():
            spent.write_text(str(time.process_time() - begin))
        return load([self.folder / name / f"{self.track.name}.jsonl"]), float(spent.read_text())


def differing(base: Submission, new: Submission) -> list[UpdateDifference]:
    """The scenarios in which updates differ."""
    plan = make_plan(base)
    found = compare_updates(plan, trajectories(base, plan), trajectories(new, plan))
    return [one for one in found if one.differs]


def found_by_updates(name: str) -> str:
    """The first update of a plant that differs, or that none does."""
    found = differing(*map(submission_of, (PLANTS | FURTHER)[name]))
    if not found:
        return "no"
    first = min(found, key=lambda one: one.step)
    return f"step {first.step}, {first.scenario.rpartition(',')[0]}, {100 * first.relative:.2g} %"


def found_by_steps(base: str, new: str) -> str:
    """What became of the cost of a step: the networks on which it is slower or larger."""
    costs = bench(Code(base, Version()), Code(new, Version()), networks())
    worse = [f"{one.shapes}: {'larger' if one.larger else f'{one.ratio:.2f}'}" for one in costs]
    return ", ".join(text for text, one in zip(worse, costs, strict=True) if one.slower or one.larger) or "no"


def named(differences: Sequence[Difference]) -> str:
    """Two of the differences by name, and how many more there are."""
    kinds = [f"{one.axis} ({one.task or 'all'})" for one in differences]
    return ", ".join(kinds[:2]) + (f", {len(kinds) - 2} more" if len(kinds) > 2 else "") or "no"


def failed(comparison: Comparison, any_change: bool) -> bool:
    """Whether `lowlands compare` ends with 1."""
    return reports.report(comparison, any_change).failed


def fewest(before: Results, after: Results, first_seed: int, compared: Callable[..., Comparison]) -> list[str]:
    """The fewest of `COUNTS` seeds with which a comparison has a regression, and any change."""
    found = ["-", "-"]
    for count in COUNTS[::-1]:
        sides = [Results([r for r in side.scored() if r["seed"] < first_seed + count]) for side in (before, after)]
        for place, any_change in enumerate((False, True)):
            if failed(compared(*sides), any_change):
                found[place] = str(count)
    return found


def _text(kind: type) -> str:
    return f"benchmarks.planted:run_{kind.__name__}"


def power(runs: Runs, plants: Mapping[str, tuple[type, type]]) -> None:
    """Print the table of plants."""
    compared = partial(compare, shipped=load([BASELINES / "quick.jsonl"]))
    print(
        "| planted | by updates | s | by cost | s | regressions of runs | seeds | other changes | seeds | s |\n"
        "| --- | --- | ---: | --- | ---: | --- | ---: | --- | ---: | ---: |",
        flush=True,
    )
    counts = dict.fromkeys(("by updates", "by the cost of a step", "by regressions of runs", "by runs", "by any"), 0)
    for name, (base, new) in plants.items():
        times = [time.process_time()]
        updates = found_by_updates(name)
        times.append(time.process_time())
        steps = found_by_steps(_text(base), _text(new))
        times.append(time.process_time())
        cells, worse, changed, spent = [UNSEEN.get(name, ""), "", "", ""], False, False, ""
        if name not in UNSEEN:
            (before, first), (after, second) = (runs.records(_text(kind), kind.__name__) for kind in (base, new))
            found = compared(before, after)
            seeds = fewest(before, after, runs.track.first_seed, compared)
            worse, changed = failed(found, False), failed(found, True)
            others = [*found.improvements, *found.changes]
            cells, spent = [named(found.regressions), seeds[0], named(others), seeds[1]], f"{first + second:.0f}"
        seconds = [f"{end - begin:.1f}" for begin, end in itertools.pairwise(times)]
        print(f"| {' | '.join([name, updates, seconds[0], steps, seconds[1], *cells, spent])} |", flush=True)
        looks = (updates != "no", steps != "no", worse, changed)
        for key, one in zip(counts, (*looks, any(looks)), strict=True):
            counts[key] += one
    print(f"\nOf the {len(plants)}: {', '.join(f'{count} {key}' for key, count in counts.items())}.")


def disjoint(
    pool: Results, track: Track, generator: np.random.Generator, compared: Callable[..., Comparison]
) -> Comparison:
    """A comparison of two disjoint sets of seeds: the same optimizer, other data."""
    drawn = generator.permutation(POOL)
    sides = []
    for seeds in (drawn[:SEEDS], drawn[SEEDS : 2 * SEEDS]):
        place = {track.first_seed + int(seed): number for number, seed in enumerate(seeds)}
        records = [
            r | {"seed": place[r["seed"]], "data_fingerprint": None}
            for r in pool.scored()
            if place.get(r["seed"], SEEDS) < track.seeds_of(r["task"])
        ]
        sides.append(Results(records))
    return compared(*sides)


def alarms(comparisons: Sequence[Comparison]) -> str:
    """How many of them fail, and how many of them with --any-change."""
    counts = [sum(failed(one, any_change) for one in comparisons) for any_change in (False, True)]
    return f"{counts[0]} of {len(comparisons)}, with --any-change {counts[1]}"


def false_alarms(runs: Runs) -> None:
    """Print how many comparisons of equals raise an alarm."""
    first, compared = runs.track.first_seed, partial(compare, shipped=load([BASELINES / "quick.jsonl"]))
    pool, seconds = Runs.of(runs.track.tasks, runs.folder / "pool", first, POOL).records(POOLED, "pool")
    draws = [disjoint(pool, runs.track, np.random.default_rng(draw), compared) for draw in range(DRAWS)]
    print(f"disjoint seeds: {alarms(draws)}; {seconds:.0f} s for the pool", flush=True)
    costs = [found_by_steps(_text(base), _text(base)) for base, _ in [*PLANTS.values()][:1] * BENCHES]
    print(f"cost of a step: {sum(cost != 'no' for cost in costs)} of {BENCHES}", flush=True)
    found = []
    for name, texts in REWRITES.items():
        version = Version()
        updates = differing(*map(version.load, texts))
        sides = []
        for text in texts:
            results, _ = runs.records(text, text.partition(":")[2])
            sides.append(Results([record | {"submission": name} for record in results.records]))
        one = compared(*sides)
        found.append(one)
        same = sum(difference.verdict == Verdict.IDENTICAL for difference in one.differences)
        (target,) = [d for d in one.differences if d.quantity is Quantity.TARGET and not d.task]
        print(
            f"{name}: {len(updates)} scenarios differ; {len(one.regressions)} regressions, other changes: "
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
    parser.add_argument("--further", action="store_true")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args(arguments)
    os.nice(5)
    with tempfile.TemporaryDirectory() as scratch:
        runs = Runs.of(given.tasks, given.results or Path(scratch), given.first_seed)
        if given.false_alarms:
            false_alarms(runs)
        else:
            power(runs, FURTHER if given.further else PLANTS)


if __name__ == "__main__":
    main(sys.argv[1:])
