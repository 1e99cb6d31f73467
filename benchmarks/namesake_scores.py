"""What optimizers of one name find: ``python -m benchmarks.namesake_scores --kept FILE > docs/namesake_scores.md``.

    alike    = all settings that a name's implementations share, as `lowlands namesakes` sets them
    defaults = the step size alone is set, to the same number
    apart    = |w - w'| / max(|w - start|, |w' - start|) of an implementation's end w and that of the name's first, mean
               over seeds: they began at the same weights, on the same data
    spreads  = the mean difference of the scored measure from the first's, over the first's standard deviation between
               seeds: what another implementation changes, beside what other data change

Nothing is tuned. ``--kept FILE`` keeps every implementation's runs there, so that what was ended goes on. All nine
names on all tasks take an hour of processor time.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from leaderboard.analysis.scoring import axis_score
from leaderboard.tables.formats import markdown_text
from suite.errors import sentence
from suite.models import restore
from suite.namesakes.algorithms import Algorithm, Member, algorithm
from suite.namesakes.collections import find, installed, module_of
from suite.signature import Settings
from suite.task import Axis, Oracle, Solution, Task, Weights
from suite.tasks import find_task
from suite.tracks import QUICK
from suite.training import TrainingRun, train
from suite.training.single_precision import in_single_precision, is_reachable, narrowed, refuses_double, widened
from suite.trials import resolve_axes

NAMES = ("muon", "soap", "lamb", "shampoo", "adan", "mars", "adopt", "radam", "adafactor")
TASKS = QUICK

SEEDS = (0, 1, 2)
ALIKE, DEFAULTS = "alike", "defaults"


@dataclass(frozen=True)
class End:
    """Where a run ended.

    Attributes:
        converged: whether it reached the target loss. value, score: of the task's first axis; None where it did not.
        way: from the initial to the final weights, all tensors in a row.
    """

    converged: bool
    value: float | None
    score: float
    way: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """What an implementation of a name found on a task: an `End` for each of `SEEDS`, or the `error` that it raised."""

    name: str
    kind: str
    label: str
    version: str
    task: str
    ends: tuple[End, ...] = ()
    error: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.name, self.kind, self.label, self.task


def entries(one: Algorithm) -> Iterator[tuple[str, str, Member, Settings]]:
    """Kind, label, implementation and settings of everything that is run for a name; classes once at defaults."""
    members = [member for member in one.members if not member.formula and installed(module_of(member.use))]
    yield from ((ALIKE, member.label, member, member.settings) for member in members)
    first = {member.use: member for member in reversed(members)}
    # A class of another name is this algorithm by a switch alone: at its defaults it is another one.
    named = [member.use for member in members if one.name in member.use.partition(":")[2].lower()]
    for use in dict.fromkeys(named):
        yield DEFAULTS, use, first[use], {"lr": one.settings["lr"]}


def run(name: str, kind: str, label: str, member: Member, settings: Settings, task_name: str) -> Found:
    """Train and measure an implementation on a task."""
    version = installed(module_of(member.use)) or ""
    task = find_task(task_name)
    runs = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in SEEDS]
    try:
        results = train(task, runs, find(member.use))
    except Exception as error:
        if not refuses_double([error]) or not is_reachable(task.target):
            return Found(name, kind, label, version, task_name, error=sentence(error))
        results = [widened(one) for one in train(in_single_precision(task), narrowed(runs), find(member.use))]
        version += ", in float32"
    ends = [
        end(task, run, result.weights, result.initial, result.converged)
        for run, result in zip(runs, results, strict=True)
    ]
    return Found(name, kind, label, version, task_name, tuple(ends))


def end(task: Task, run: TrainingRun, weights: Weights, initial: Weights, converged: bool) -> End:
    """What is noted of the end of a run."""
    axis: Axis = task.axes[0]
    way = torch.cat([(weights[name] - start).flatten().double() for name, start in initial.items()])
    if not converged:
        return End(False, None, 0.0, _rounded(way))
    oracle = task.oracle(run.problem, run.seed) if task.oracle else Oracle()
    model = task.model(run.problem, run.seed)
    restore(model, weights)
    solution = Solution(model.eval(), initial, run.problem, oracle, run.seed, run.settings)
    value, stated = float(task.measure(solution)[axis.measure]), resolve_axes(task.axes, oracle)[axis.axis]
    floor = math.nan if axis.floor is None else axis.floor
    score = axis_score(value, stated["score_0"], stated["score_1"], axis.scale == "log", floor, True)
    return End(True, value, float(score), _rounded(way))


def _rounded(way: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{entry:.8g}") for entry in way.tolist())


def apart(one: Found, first: Found) -> float:
    """The mean distance of the ends of two implementations; see the module's docstring."""
    distances = []
    for end, other in zip(one.ends, first.ends, strict=True):
        longer = max(math.hypot(*end.way), math.hypot(*other.way))
        distances.append(math.dist(end.way, other.way) / longer if longer else 0.0)
    return statistics.fmean(distances)


def spreads(one: Found, first: Found) -> float:
    """The difference of the scored measure in standard deviations over seeds; NaN unless all runs have ended well."""
    values = [[end.value for end in found.ends] for found in (one, first)]
    if any(value is None or not math.isfinite(value) for both in values for value in both):
        return math.nan
    differences = [value - other for value, other in zip(*values, strict=True)]  # type: ignore[operator]
    deviation = statistics.stdev(values[1])  # type: ignore[type-var]
    return abs(statistics.fmean(differences)) / deviation if deviation else math.nan


def page(found: Sequence[Found]) -> str:
    """`docs/namesake_scores.md`."""
    return "\n".join(_lines(found))


@dataclass(frozen=True)
class Pair:
    """An implementation beside its name's first one, on a task.

    distance: see `apart`; spread: see `spreads`; moved: how much higher the implementation scores.
    """

    one: Found
    distance: float
    spread: float
    moved: float


def pairs(found: Sequence[Found], kind: str) -> list[Pair]:
    """Every implementation but the first that ran, of each name, task and `kind`."""
    first: dict[tuple[str, str], Found] = {}
    made = []
    for one in found:
        if one.kind == kind and one.ends and (of_name := first.setdefault((one.name, one.task), one)) is not one:
            moved = mean_score(one) - mean_score(of_name)
            made.append(Pair(one, apart(one, of_name), spreads(one, of_name), moved))
    return made


def mean_score(one: Found) -> float:
    """Of the task's first axis, over seeds."""
    return statistics.fmean(end.score for end in one.ends)


SAME, FAR = 1e-3, 0.1
OVERVIEW = ("name", "pairs", f"within {SAME:g}", f"over {FAR:g} apart", "median", "beyond spread", f"score by {FAR:g}")


def _lines(found: Sequence[Found]) -> Iterator[str]:
    tasks = [task for task in TASKS if any(one.task == task for one in found)]
    yield from (
        "# What optimizers of one name find",
        "",
        "`python -m benchmarks.namesake_scores --kept FILE > docs/namesake_scores.md` writes this page, with",
        "`pip install '.[zoo]'`; [which of them are one algorithm](namesakes.md) is another page.",
        "",
        f"Every implementation is trained on {len(tasks)} tasks of `quick`, seeds {', '.join(map(str, SEEDS))}, at a",
        "step size that the name's implementations share, with the common schedule. Nothing is tuned: this is not",
        "their rank, but what the choice of a package changes.",
        "",
        "- **set**: `alike`, all settings that they share; or `defaults`, the step size alone.",
        "- **apart**: the distance of their ends from those of the name's first row, as a share of the longer way from",
        "  the common start; mean over seeds.",
        "- **beyond spread**: the scored measure differs from the first row's by more than its standard deviation",
        "  between seeds; of the pairs of which all runs reached the target loss.",
        "- **score**: of the task's first axis, mean over seeds; 0 for a run that missed the target loss.",
        "- A dash: not run. On `mnist5k_mlp` Shampoo takes roots of matrices of 784 rows: ended after 19 minutes.",
    )
    for kind in (ALIKE, DEFAULTS):
        yield from ("", f"## {kind.capitalize()}", "", *_overview(found, kind))
    for name in dict.fromkeys(one.name for one in found):
        head = ("set", "implementation", "version", *tasks)
        yield from (
            "",
            f"## {algorithm(name).title}",
            "",
            "Score / apart; in brackets the runs at the target loss.",
            "",
        )
        yield from (f"| {' | '.join(head)} |", f"| --- | --- | --- |{' ---: |' * len(tasks)}")
        for kind, label in dict.fromkeys((one.kind, one.label) for one in found if one.name == name):
            row = {one.task: one for one in found if (one.name, one.kind, one.label) == (name, kind, label)}
            cells = [_cell(found, row.get(task)) for task in tasks]
            version = max((one.version for one in row.values()), key=len)
            yield f"| {kind} | {markdown_text(label)} | {version} | {' | '.join(cells)} |"
        errors = {f"{one.label} on {one.task}: {one.error}" for one in found if one.name == name and one.error}
        yield from ("", *(f"- {markdown_text(error)}." for error in sorted(errors))) if errors else ()


def _cell(found: Sequence[Found], one: Found | None) -> str:
    if one is None or not one.ends:
        return "–" if one is None else "raised"
    of_name = next(o for o in found if (o.name, o.kind, o.task) == (one.name, one.kind, one.task) and o.ends)
    distance = "first" if one is of_name else f"{apart(one, of_name):.2g}"
    met = sum(end.converged for end in one.ends)
    return f"{mean_score(one):.2f} / {distance}" + (f" ({met}/{len(one.ends)})" if met < len(one.ends) else "")


def _overview(found: Sequence[Found], kind: str) -> Iterator[str]:
    """A row for each name and one for all, and which pair moved the score most."""
    compared = pairs(found, kind)
    yield from (f"| {' | '.join(OVERVIEW)} | most |", f"| --- |{' ---: |' * (len(OVERVIEW) - 1)} --- |")
    groups = {algorithm(name).title: [p for p in compared if p.one.name == name] for name in _names(compared)}
    for title, group in {**groups, "**all**": compared}.items():
        known = [pair for pair in group if not math.isnan(pair.spread)]
        most = max(group, key=lambda pair: abs(pair.moved), default=None)
        cells = (
            title,
            len(group),
            sum(pair.distance < SAME for pair in group),
            sum(pair.distance > FAR for pair in group),
            f"{statistics.median(pair.distance for pair in group):.2g}" if group else "–",
            f"{sum(pair.spread > 1 for pair in known)} of {len(known)}",
            sum(abs(pair.moved) > FAR for pair in group),
            f"{most.moved:+.2f}: {markdown_text(most.one.label)} on `{most.one.task}`" if most and most.moved else "–",
        )
        yield f"| {' | '.join(map(str, cells))} |"


def _names(compared: Sequence[Pair]) -> dict[str, None]:
    return dict.fromkeys(pair.one.name for pair in compared)


def kept(path: Path | None) -> list[Found]:
    """What a file that `main` keeps holds."""
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    said = [json.loads(line) for line in lines]
    return [Found(**(one | {"ends": tuple(_end(end) for end in one["ends"])})) for one in said]


def _end(said: Mapping[str, object]) -> End:
    return End(**{**said, "way": tuple(said["way"])})  # type: ignore[arg-type]


@click.command()
@click.option("--kept", "path", type=click.Path(path_type=Path), help="What was found, a line each: not run again.")
@click.option("--name", "names", multiple=True, default=NAMES, help="Of these names alone.")
@click.option("--task", "tasks", multiple=True, default=TASKS, help="On these tasks alone.")
@click.option("--page", "only_page", is_flag=True, help="Run nothing: print the page of what is kept.")
def main(path: Path | None, names: tuple[str, ...], tasks: tuple[str, ...], only_page: bool) -> None:
    """Run every implementation of every name and print the page; progress goes to standard error."""
    found = {one.key: one for one in kept(path)}
    chosen = [(task, name, *entry) for task in tasks for name in names for entry in entries(algorithm(name))]
    for task, name, kind, label, member, settings in chosen:
        if only_page or (name, kind, label, task) in found:
            continue
        one = run(name, kind, label, member, settings, task)
        sys.stderr.write(f"{task} {name} {kind} {label}: {one.error or [end.score for end in one.ends]}\n")
        found[one.key] = one
        if path:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(one)) + "\n")
    order = [(name, kind, label, task) for task, name, kind, label, _, _ in chosen]
    sys.stdout.write(page([found[key] for key in order if key in found]) + "\n")


if __name__ == "__main__":
    main()
