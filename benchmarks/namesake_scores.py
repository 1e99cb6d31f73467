"""What optimizers of one name find: ``python -m benchmarks.namesake_scores --kept FILE > docs/namesake_scores.md``.

    alike    = all settings that a name's implementations share, as `lowlands namesakes` sets them
    defaults = the step size alone is set, to the same number
    apart    = |w - w'| / max(|w - start|, |w' - start|) of an implementation's end w and that of the name's first, mean
               over seeds: they began at the same weights, on the same data
    spreads  = the mean difference of the scored measure from the first's, over the first's standard deviation between
               seeds: what another implementation changes, beside what other data change

Nothing is tuned. ``--kept FILE`` keeps every implementation's runs there, so that what was ended goes on.
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
from suite.training import TrainingRun, train
from suite.training.single_precision import in_single_precision, is_reachable, narrowed, refuses_double, widened
from suite.trials import resolve_axes

NAMES = ("muon", "soap", "lamb", "shampoo", "adan", "mars", "adopt", "radam", "adafactor")
TASKS = ("spectral_margin", "univariate_relu")
"""A linear task of matrices and a network of matrices and vectors, in both of which runs take seconds."""

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
    for use in dict.fromkeys(member.use for member in members):
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


def _lines(found: Sequence[Found]) -> Iterator[str]:
    tasks = [task for task in TASKS if any(one.task == task for one in found)]
    yield from (
        "# What optimizers of one name find",
        "",
        "`python -m benchmarks.namesake_scores --kept FILE > docs/namesake_scores.md` writes this page, with",
        "`pip install '.[zoo]'`; [which of them are one algorithm](namesakes.md) is another page.",
        "",
        f"Every implementation is trained on {' and '.join(f'`{task}`' for task in tasks)}, seeds "
        f"{', '.join(map(str, SEEDS))}, at one step size",
        "that the name's implementations share, with the common schedule. Nothing is tuned: this is not their rank,",
        "but what the choice of a package changes.",
        "",
        "- **set**: `alike`, all settings that they share; or `defaults`, the step size alone.",
        "- **met**: runs that reached the target loss. A dash: not run.",
        "- **apart**: the distance of their ends from those of the first row that ran, as a share of the longer way",
        "  from the common start; mean over seeds.",
        "- **spreads**: the difference of the scored measure from that row's, over its standard deviation between",
        "  seeds; a dash where one of their runs missed the target loss.",
        "- **score**: of the task's first axis, mean over seeds; 0 for a run that missed the target loss.",
        "",
        *_sums(found, tasks),
    )
    for name in dict.fromkeys(one.name for one in found):
        head = [f"{task}: {what}" for task in tasks for what in ("met", "apart", "spreads", "score")]
        yield from ("", f"## {algorithm(name).title}", "", f"| set | implementation | version | {' | '.join(head)} |")
        yield f"| --- | --- | --- |{' ---: |' * len(head)}"
        rows = dict.fromkeys((one.kind, one.label) for one in found if one.name == name)
        for kind, label in rows:
            cells = [cell for task in tasks for cell in _cells(found, name, kind, label, task)]
            versions = {one.version: None for one in found if (one.name, one.kind, one.label) == (name, kind, label)}
            yield f"| {kind} | {markdown_text(label)} | {max(versions, key=len)} | {' | '.join(cells)} |"
        errors = {f"{one.label}: {one.error}" for one in found if one.name == name and one.error}
        yield from ("", *(f"- {markdown_text(error)}." for error in sorted(errors))) if errors else ()


def _first(found: Sequence[Found], name: str, kind: str, task: str) -> Found | None:
    return next((o for o in found if (o.name, o.kind, o.task) == (name, kind, task) and o.ends), None)


def _cells(found: Sequence[Found], name: str, kind: str, label: str, task: str) -> list[str]:
    one = next((o for o in found if o.key == (name, kind, label, task)), None)
    if one is None or not one.ends:
        return ["–" if one is None else "raised", "–", "–", "–"]
    first = _first(found, name, kind, task)
    assert first is not None
    met = f"{sum(end.converged for end in one.ends)}/{len(one.ends)}"
    score = f"{statistics.fmean(end.score for end in one.ends):.2f}"
    if one is first:
        return [met, "first", "first", score]
    wide = spreads(one, first)
    return [met, f"{apart(one, first):.2g}", "–" if math.isnan(wide) else f"{wide:.2g}", score]


SAME, FAR = 1e-3, 0.1


def _sums(found: Sequence[Found], tasks: Sequence[str]) -> Iterator[str]:
    for kind in (ALIKE, DEFAULTS):
        pairs = [
            (one, first)
            for one in found
            if one.kind == kind and one.ends and (first := _first(found, one.name, kind, one.task)) not in (None, one)
        ]
        if not pairs:
            continue
        distances = [apart(one, first) for one, first in pairs if first is not None]
        wide = [spreads(one, first) for one, first in pairs if first is not None]
        known = [value for value in wide if not math.isnan(value)]
        scores = [
            abs(statistics.fmean(e.score for e in one.ends) - statistics.fmean(e.score for e in first.ends))
            for one, first in pairs
            if first is not None
        ]
        yield (
            f"- **{kind}**: of {len(pairs)} pairs of an implementation and its name's first on a task, "
            f"{sum(distance < SAME for distance in distances)} end within {SAME:g} of each other and "
            f"{sum(distance > FAR for distance in distances)} more than {FAR:g} apart (median "
            f"{statistics.median(distances):.2g}); the scored measure moves by more than the spread between seeds in "
            f"{sum(value > 1 for value in known)} of the {len(known)} where both met the target loss with all seeds; "
            f"the score moves by more than {FAR:g} in {sum(score > FAR for score in scores)}."
        )


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
