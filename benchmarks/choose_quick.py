"""Which tasks the quick track should hold: ``python -m benchmarks.choose_quick [--minutes 8]``, from the root.

The quick track is worth its minutes if it orders submissions as the full track does. Its tasks are chosen from recorded
results alone (as Polo et al. 2024, arXiv:2402.14992, choose test items). The rule was written down before it was run:

    target  = overall score of each submission on all scored tasks of the full track
    allowed = at least one task of every family, every axis on at least a third of the tasks, all within the time;
              every such choice is looked at
    loss    = mean squared error when each submission in turn is left out, and predicted by the line that maps the
              others' overall scores on the chosen tasks to their targets (slope >= 0: the order must be the one shown)
    choice  = the one with the least loss

What a rule finds with few submissions it may find by chance. So everything is repeated without each submission in turn,
choice and all, and the submission that had no part in it is compared with the others: that is the tau to believe. It is
printed beside that of a random allowed choice, and of a random choice of one task for each family.

Costs are processor seconds of a submission on a machine with nothing else to do: a batched program takes its steps
times the seconds that a step took in the quickest recorded program of the submission on the task. There are two
programs for each search, whatever their lanes. Other runs cost what is recorded.

`POOL` keeps what the records said when the track was chosen. ``--logs quick.jsonl full.jsonl theory.jsonl`` reads
records instead, and ``--save`` keeps what they say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leaderboard.analysis.results import Results, load
from leaderboard.analysis.scoring import AXES, Scores, add_scores, tabulate
from leaderboard.analysis.statistics import Array, geometric_mean, rank_correlation
from suite.storage.record import Record
from suite.tasks import find_task
from suite.tracks import FULL, TRACKS

MINUTES = 8.0
CORES = 2
POOL = Path(__file__).with_name("quick_pool.json")

COSTS_LIKE = {
    "sgd": "sgd",
    "momentum": "momentum",
    "nesterov": "momentum",
    "adam": "adam",
    "adamw": "adam",
    "rmsprop": "adam",
    "sign": "sign",
    "sam": "sam",
}
"""The eight optimizers whose time is limited, those of a plain ``lowlands run``, each with one that has a record on
every task and takes the same kind of step."""


@dataclass(frozen=True)
class Pool:
    """The tasks that may be chosen, and what they say of the submissions.

    Attributes:
        tasks, families, seconds: by task: its name, its family, and the processor seconds of a submission.
        scores: [axes, tasks, submissions], mean scores over seeds, NaN where the task lacks the axis.
        target: [submissions], overall scores on all scored tasks of the full track.
    """

    submissions: tuple[str, ...]
    tasks: tuple[str, ...]
    families: tuple[str, ...]
    seconds: Array
    scores: Array
    target: Array

    @classmethod
    def read(cls, path: Path) -> Pool:
        """The pool that `write` kept."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        texts = {name: tuple(kept[name]) for name in ("submissions", "tasks", "families")}
        numbers = {name: np.array(kept[name], dtype=float) for name in ("seconds", "scores", "target")}
        return cls(**texts, **numbers)

    def write(self, path: Path) -> None:
        """Keep it as JSON, with null for what a task lacks."""
        lists = {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }
        lists["scores"] = np.where(np.isnan(self.scores), None, self.scores).tolist()
        path.write_text(json.dumps(lists, indent=1) + "\n", encoding="utf-8")

    def within(self, budget: float) -> Pool:
        """The pool without the tasks that cost more."""
        cheap = np.flatnonzero(self.seconds <= budget)
        tasks, families = (tuple(names[task] for task in cheap) for names in (self.tasks, self.families))
        return replace(self, tasks=tasks, families=families, seconds=self.seconds[cheap], scores=self.scores[:, cheap])


@dataclass(frozen=True)
class Choices:
    """Sets of tasks: which tasks they hold [choices, tasks], and the overall scores on them [choices, submissions]."""

    chosen: NDArray[np.bool_]
    overall: Array


def scored_today(scores: Scores) -> Scores:
    """The scores on the tasks of the full track, without axes that are no longer scored."""
    axes = {task: {axis.axis for axis in find_task(task).axes} for task in FULL}
    return Scores(scores.names, tuple(cell for cell in scores.cells if cell.axis in axes.get(cell.task, ())))


def pool(results: Results, seconds: dict[str, float]) -> Pool:
    """Arrange the optimizers that have every scored task of the full track.

    Args:
        results: with the records of the full track.
        seconds: processor seconds of a submission, by task; the others cannot be chosen.

    Raises:
        ValueError: fewer than four submissions have all tasks.
    """
    frame = add_scores(results.frame())
    scores = scored_today(tabulate(frame[frame["kind"] == "optimizer"]))
    complete = ~np.isnan([cell.means() for cell in scores.cells]).any(axis=0)
    scores = scores.only(name for name, here in zip(scores.names, complete, strict=True) if here)
    if len(scores.names) < 4:
        raise ValueError(f"Only {len(scores.names)} optimizers have every task of the full track.")
    family = {cell.task: cell.family for cell in scores.cells}
    tasks = tuple(task for task in scores.tasks if task in seconds)
    means = np.full((len(AXES), len(tasks), len(scores.names)), np.nan)
    for cell in scores.cells:
        if cell.task in tasks:
            means[AXES.index(cell.axis), tasks.index(cell.task)] = cell.means()
    cost = np.array([seconds[task] for task in tasks])
    return Pool(scores.names, tasks, tuple(family[task] for task in tasks), cost, means, scores.overall)


def submission_seconds(records: Sequence[Record]) -> dict[str, float]:
    """Task -> processor seconds of a submission on the quick track, mean over the eight of `COSTS_LIKE`."""
    programs: defaultdict[tuple[str, str], dict[tuple[str, str], list[Record]]] = defaultdict(dict)
    for record in records:
        own = programs[record["task"], record["submission"]]
        own.setdefault((record["track"], record["phase"]), []).append(record)
    seconds = {}
    for task in FULL:
        of_each = [programs.get((task, name)) or programs.get((task, like)) for name, like in COSTS_LIKE.items()]
        if all(of_each):
            seconds[task] = float(np.mean([_seconds(task, own) for own in of_each if own]))
    return seconds


def _seconds(task: str, programs: dict[tuple[str, str], list[Record]]) -> float:
    """Processor seconds of a submission on a task, from its recorded programs by track and phase."""
    track = TRACKS["quick"]
    total = {key: sum(run["seconds"] + run["measure_seconds"] for run in runs) for key, runs in programs.items()}
    if find_task(task).batched:
        steps = {key: max(run["gradient_evaluations"] for run in runs) for key, runs in programs.items()}
        per_step = min(total[key] / steps[key] for key in programs)
        of_phase = [np.mean([steps[key] for key in programs if key[1] == phase]) for phase in ("tune", "score")]
        return float(track.searches_of(task) * per_step * np.sum(of_phase))
    counts = {"tune": track.searches_of(task) * track.trials * track.tuning_seeds, "score": track.seeds_of(task)}
    per_run = {
        phase: np.mean([total[key] / len(runs) for key, runs in programs.items() if key[1] == phase])
        for phase in counts
    }
    return float(sum(counts[phase] * per_run[phase] for phase in counts))


def choices(pool: Pool, budget: float, per_family: int | None = None, share: float = 1 / 3) -> Choices:
    """All sets with a task of every family, within `budget`, every axis on at least `share` of the tasks.

    The overall score needs only sums over families, so that families are added one at a time and sets that cost too
    much are dropped on the way.

    Args:
        per_family: at most so many tasks of a family; None: any number.
    """
    families = sorted(set(pool.families), key=lambda name: -min(pool.seconds[_of(pool, name)]))
    least = [float(min(pool.seconds[_of(pool, name)])) for name in families]
    chosen = np.zeros((1, len(pool.tasks)), dtype=bool)
    sums = np.zeros((1, *pool.scores.shape[::2]))
    counts = np.zeros((1, len(pool.scores)))
    for number, name in enumerate(families):
        subsets = np.array(list(_subsets(pool, name, per_family)))
        means, has = _family_means(pool, subsets)
        cost = (chosen @ pool.seconds)[:, None] + subsets @ pool.seconds
        old, new = np.nonzero(cost <= budget - sum(least[number + 1 :]) + 1e-9)
        chosen, sums, counts = chosen[old] | subsets[new], sums[old] + means[new], counts[old] + has[new]
    present = ~np.isnan(pool.scores).all(axis=2)
    enough = (chosen.astype(float) @ present.T >= share * chosen.sum(axis=1, keepdims=True) - 1e-9).all(axis=1) & (
        counts > 0
    ).all(1)
    axes = np.moveaxis(sums[enough] / counts[enough][:, :, None], 1, 0)
    return Choices(chosen[enough], geometric_mean(axes))


def _of(pool: Pool, family: str) -> list[int]:
    """The numbers of the tasks of a family."""
    return [number for number, name in enumerate(pool.families) if name == family]


def _subsets(pool: Pool, family: str, most: int | None) -> Iterator[NDArray[np.bool_]]:
    """The sets [tasks] of at least one and at most so many tasks of a family."""
    own = _of(pool, family)
    for code in range(1, 2 ** len(own)):
        inside = [task for bit, task in enumerate(own) if code >> bit & 1]
        if most is None or len(inside) <= most:
            yield np.isin(np.arange(len(pool.tasks)), inside)


def _family_means(pool: Pool, subsets: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Mean scores [sets, axes, submissions] over the tasks of a set, 0 on axes that it lacks; has it [sets, axes]."""
    present = ~np.isnan(pool.scores).all(axis=2)
    count = subsets.astype(float) @ present.T
    total = np.einsum("ct,ats->cas", subsets, np.nan_to_num(pool.scores))
    return total / np.maximum(count, 1)[:, :, None], (count > 0).astype(float)


def predictions(scores: Array, target: Array) -> Array:
    """What the line through all other submissions predicts of each, [choices, submissions].

    The line is that of least squares from `scores` [choices, submissions] to `target`, with a slope of at least 0.
    """
    others = ~np.eye(len(target), dtype=bool)
    result = np.empty_like(scores)
    for left, rest in enumerate(others):
        x, y = scores[:, rest], target[rest]
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred**2).sum(axis=1)
        slope = np.maximum(0.0, centred @ (y - y.mean())) / np.where(variance > 0, variance, 1.0)
        result[:, left] = y.mean() + slope * (scores[:, left] - x.mean(axis=1))
    return result


def best(scores: Array, target: Array) -> int:
    """The choice with the least squared error of its predictions."""
    return int(np.argmin(((predictions(scores, target) - target) ** 2).mean(axis=1)))


@dataclass(frozen=True)
class Evaluation:
    """How choices made without a submission order it among the others.

    Attributes:
        tau: Kendall's, over all pairs of a left-out submission with another.
        tau_error: its standard error, from the scatter over the submissions left out.
    """

    tau: float
    tau_error: float


def leave_one_out(scores: Array, target: Array) -> Evaluation:
    """Choose without each submission in turn, and compare it with the others on the tasks so chosen."""
    agreements = []
    for left in range(len(target)):
        rest = np.delete(np.arange(len(target)), left)
        chosen = scores[best(scores[:, rest], target[rest])]
        pairs = np.sign(chosen[left] - chosen[rest]) * np.sign(target[left] - target[rest])
        agreements.append(float(pairs.mean()))
    error = float(np.std(agreements, ddof=1) / np.sqrt(len(agreements)))
    return Evaluation(float(np.mean(agreements)), error)


def recorded_pool(logs: Sequence[Path]) -> Pool:
    """The pool of the optimizers in `logs`."""
    # One by one, because a run that two tracks share is two measurements of its seconds.
    records = [record for log in logs for record in load([log]).records if record["kind"] == "optimizer"]
    return pool(load(logs), submission_seconds(records))


def _spread(taus: Array) -> str:
    low, high = np.percentile(taus, [5, 95])
    return f"tau {taus.mean():.2f}, 5 to 95 % {low:.2f} to {high:.2f}, of {len(taus):,}"


def main(arguments: list[str]) -> int:
    """Print the choice, what it costs, and how well such choices order a submission that had no part in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of eight optimizers on two cores")
    parser.add_argument("--logs", type=Path, nargs="+", help="records in place of what is kept")
    parser.add_argument("--save", action="store_true", help="keep what the records say")
    options = parser.parse_args(arguments)
    everything = recorded_pool(options.logs) if options.logs else Pool.read(POOL)
    if options.save:
        everything.write(POOL)
    budget = 60 * options.minutes * CORES / len(COSTS_LIKE)
    affordable = everything.within(budget)
    allowed = choices(affordable, budget)
    if not len(allowed.chosen):
        parser.error(
            f"no choice with every family, and every axis on a third of its tasks, costs {budget:.0f} s or less"
        )
    sys.stdout.write(
        "\n".join(_report(affordable, allowed, choices(affordable, budget, per_family=1, share=0.0))) + "\n"
    )
    return 0


def _report(pool: Pool, allowed: Choices, single: Choices) -> Iterator[str]:
    """What is printed, line by line; `single` are the choices of one task for each family."""
    number = best(allowed.overall, pool.target)
    for task in np.flatnonzero(allowed.chosen[number]):
        axes = [axis for axis, own in zip(AXES, pool.scores[:, task], strict=True) if not np.isnan(own).all()]
        yield f"{pool.tasks[task]:40} {pool.families[task]:12} {pool.seconds[task]:5.1f} s  {', '.join(axes)}"
    yield f"together {allowed.chosen[number] @ pool.seconds:.0f} s of a processor for each submission"
    error = predictions(allowed.overall[[number]], pool.target)[0] - pool.target
    taus = rank_correlation(allowed.overall, pool.target)
    yield f"{len(pool.submissions)} submissions: {', '.join(pool.submissions)}"
    yield f"on those that it was chosen with: tau {taus[number]:.2f}, error {np.sqrt(np.mean(error**2)):.3f}"
    found = leave_one_out(allowed.overall, pool.target)
    yield f"chosen without the submission: tau {found.tau:.2f} ± {found.tau_error:.2f}"
    yield f"random allowed choices: {_spread(taus)}"
    yield f"random, one task for each family: {_spread(rank_correlation(single.overall, pool.target))}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
