"""Frame -> scores, intervals, ranks. Pure functions on arrays and frames.

Each axis of each task has two frozen references, `null` (score 0) and `ideal` (score 1), so a score depends on nobody
else in the table. Lanes are averaged within a task, tasks within a family, families with equal weight; the overall
score is the geometric mean of the axes, so that none can buy off another. Intervals and tests resample seeds within
tasks, jointly for all submissions, because submissions share seeds (Agarwal et al. 2021, arXiv:2108.13264, on why
and how to report intervals over few runs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from leaderboard.results import Results

Array = NDArray[np.float64]

AXES = ("flatness", "norm", "generalization")
CEILING = 1.25
"""No lane scores more: a solution better than the ideal must not pay for others."""

RESAMPLES = 2_000
BOOTSTRAP_SEED = 20180813
SIGNIFICANCE = 0.05
NOISE_FLOOR = 0.01
"""Differences of the overall score below this are noise whatever the test says. A/A runs on the quick track (one
submission on three disjoint sets of three seeds) spread over 0.008 (sgd), 0.010 (nesterov) and 0.010 (adam)."""


def axis_score(
    value: ArrayLike, null: ArrayLike, ideal: ArrayLike, log: ArrayLike, floor: ArrayLike, converged: ArrayLike
) -> Array:
    """``clip(g(null, value) / g(null, ideal), 0, 1.25)`` elementwise; all arguments broadcast.

    g(a, b) is ``log a - log b`` where `log` holds, with value and ideal bounded below by `floor` (NaN: no floor), and
    ``a - b`` elsewhere. A lane that missed the stop or whose measure is not finite scores 0.
    """
    value, null, ideal, floor = (np.asarray(a, dtype=float) for a in (value, null, ideal, floor))
    bound = np.where(np.isnan(floor), 0.0, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(a) for a in (null, np.maximum(value, bound), np.maximum(ideal, bound))]
        ratio = np.where(log, (logs[0] - logs[1]) / (logs[0] - logs[2]), (null - value) / (null - ideal))
    ratio = np.where(np.isnan(ratio) | np.isnan(value) | ~np.asarray(converged, dtype=bool), 0.0, ratio)
    return np.clip(ratio, 0.0, CEILING)


def add_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column `score` per lane and axis."""
    score = axis_score(
        frame["value"], frame["null"], frame["ideal"], frame["scale"] == "log", frame["floor"], frame["converged"]
    )
    return frame.assign(score=score)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """One submission's line of the leaderboard. `rank` is None for an incomplete submission."""

    submission: str
    kind: str
    explicit: bool
    rank: int | None
    tied: bool
    overall: Interval
    axes: dict[str, Interval]
    gradient_evaluations: float
    relative_seconds: float | None
    converged: int
    lanes: int
    missing: tuple[str, ...] = ()

    @property
    def rank_text(self) -> str:
        """``2`` alone, ``2=`` where the rank is shared, a dash where there is none."""
        return "–" if self.rank is None else f"{self.rank}{'=' if self.tied else ''}"


@dataclass(frozen=True)
class TaskLine:
    """One submission on one axis of one task: the mean measure of the lanes that met the stop, and the score."""

    task: str
    axis: str
    measure: str
    submission: str
    value: float
    score: float
    converged: int
    lanes: int


@dataclass(frozen=True)
class Board:
    """The leaderboard of one kind of submission. `better[a][b]` is the probability that a beats b on a random lane."""

    kind: str
    standings: list[Standing]
    tasks: list[TaskLine] = field(default_factory=list)
    better: dict[str, dict[str, float]] = field(default_factory=dict)


def bootstrap_counts(seeds: int, resamples: int, generator: np.random.Generator) -> Array:
    """Weights [resamples, seeds] of a bootstrap over `seeds` seeds: how often each was drawn, over their number."""
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds


def axis_means(
    cells: dict[tuple[str, str, str], Array], weights: dict[str, Array], axes: Sequence[str]
) -> dict[str, Array]:
    """Axis -> scores [submissions, resamples], families with equal weight.

    cells: (axis, family, task) -> scores [submissions, seeds]. weights: task -> [resamples, seeds].
    """
    means = {}
    for axis in axes:
        families: dict[str, list[Array]] = {}
        for (name, family, task), scores in cells.items():
            if name == axis:
                families.setdefault(family, []).append(scores @ weights[task].T)
        means[axis] = np.mean([np.mean(tasks, axis=0) for tasks in families.values()], axis=0)
    return means


def geometric_mean(axes: Sequence[Array]) -> Array:
    """Elementwise geometric mean; zero where any is zero."""
    stacked = np.stack(list(axes))
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.log(stacked).mean(axis=0)))


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjustment of p-values (Holm 1979, Scandinavian Journal of Statistics 6)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


def ranks(overall: Array, samples: Array, noise_floor: float = NOISE_FLOOR) -> list[int]:
    """1 + the number of submissions that are better, for each.

    overall [submissions]; samples [submissions, resamples], paired. a is better than b when the two-sided bootstrap
    p-value of their difference, Holm-adjusted over all pairs, is below 5 % and the difference exceeds `noise_floor`.
    """
    count = len(overall)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    p_values = []
    for a, b in pairs:
        difference = samples[a] - samples[b]
        tail = min((difference <= 0).sum(), (difference >= 0).sum())
        p_values.append(min(1.0, 2 * (tail + 1) / (len(difference) + 1)))
    result = [1] * count
    for (a, b), p in zip(pairs, holm(p_values), strict=True):
        gap = overall[a] - overall[b]
        if p < SIGNIFICANCE and abs(gap) > noise_floor:
            result[b if gap > 0 else a] += 1
    return result


def improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Probability that a random run of `a` scores above one of `b`, ties counted half (Mann-Whitney)."""
    difference = np.subtract.outer(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _interval(value: float, samples: Array) -> Interval:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def _cells(frame: pd.DataFrame, names: Sequence[str]) -> dict[tuple[str, str, str], Array]:
    cells = {}
    for (axis, family, task), part in frame.groupby(["axis", "family", "task"], sort=True):
        table = part.pivot_table(index="submission", columns="seed", values="score")
        cells[axis, family, task] = table.reindex(names).to_numpy(dtype=float)
    return cells


def _relative_seconds(lanes: pd.DataFrame, submission: str) -> float | None:
    """Geometric mean over tasks of the training seconds per lane, relative to `sgd` in the same results."""
    means = lanes.groupby(["submission", "task"])["seconds"].mean()
    if "sgd" not in means.index.get_level_values(0):
        return None
    own, base = means[submission], means["sgd"]
    shared = [task for task in own.index if task in base.index and own[task] > 0 and base[task] > 0]
    return math.exp(sum(math.log(own[task] / base[task]) for task in shared) / len(shared)) if shared else None


def board(results: Results, kind: str = "optimizer", resamples: int = RESAMPLES) -> Board:
    """The leaderboard of all submissions of `kind`. A submission that lacks lanes of others is shown, not ranked."""
    frame = results.frame()
    frame = add_scores(frame[frame["kind"] == kind])
    lanes = frame.drop_duplicates(["submission", "task", "seed"])
    held = {name: set(zip(part["task"], part["seed"], strict=True)) for name, part in lanes.groupby("submission")}
    whole = set().union(*held.values())
    complete = [name for name, own in held.items() if own == whole]
    standings = _standings(frame, lanes, complete, np.random.default_rng(BOOTSTRAP_SEED), resamples, ())
    for name in sorted(set(held) - set(complete)):
        missing = tuple(sorted({task for task, _ in whole - held[name]}))
        part = frame[frame["submission"] == name]
        standings += _standings(part, lanes, [name], np.random.default_rng(BOOTSTRAP_SEED), resamples, missing)
    return Board(kind, standings, _task_lines(frame, [s.submission for s in standings]), _improvements(frame, complete))


def _standings(
    frame: pd.DataFrame,
    lanes: pd.DataFrame,
    names: list[str],
    generator: np.random.Generator,
    resamples: int,
    missing: tuple[str, ...],
) -> list[Standing]:
    frame = frame[frame["submission"].isin(names)]
    if frame.empty:
        return []
    cells = _cells(frame, names)
    axes = [axis for axis in AXES if any(key[0] == axis for key in cells)]
    seeds = {task: scores.shape[1] for (_, _, task), scores in cells.items()}
    plain = axis_means(cells, {task: np.full((1, n), 1 / n) for task, n in seeds.items()}, axes)
    drawn = {task: bootstrap_counts(n, resamples, generator) for task, n in sorted(seeds.items())}
    samples = axis_means(cells, drawn, axes)
    overall, overall_samples = geometric_mean(list(plain.values()))[:, 0], geometric_mean(list(samples.values()))
    rank = ranks(overall, overall_samples)
    standings = []
    for row, name in enumerate(names):
        own = lanes[lanes["submission"] == name]
        standings.append(
            Standing(
                submission=name,
                kind=str(own["kind"].iloc[0]),
                explicit=bool(own["explicit"].iloc[0]),
                rank=None if missing else rank[row],
                tied=not missing and rank.count(rank[row]) > 1,
                overall=_interval(overall[row], overall_samples[row]),
                axes={axis: _interval(plain[axis][row, 0], samples[axis][row]) for axis in axes},
                gradient_evaluations=float(own["gradient_evaluations"].mean()),
                relative_seconds=_relative_seconds(lanes, name),
                converged=int(own["converged"].sum()),
                lanes=len(own),
                missing=missing,
            )
        )
    return sorted(standings, key=lambda s: (s.rank or 0, s.gradient_evaluations))


def _task_lines(frame: pd.DataFrame, names: Sequence[str]) -> list[TaskLine]:
    lines = []
    for (task, axis, measure), part in frame.groupby(["task", "axis", "measure"], sort=True):
        for name in names:
            own = part[part["submission"] == name]
            if len(own):
                met = own[own["converged"]]
                lines.append(
                    TaskLine(
                        task, axis, measure, name, float(met["value"].mean()), float(own["score"].mean()),
                        int(own["converged"].sum()), len(own),
                    )
                )  # fmt: skip
    return lines


def _improvements(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, float]]:
    parts = [
        {name: own["score"].to_numpy() for name, own in part.groupby("submission")}
        for _, part in frame[frame["submission"].isin(names)].groupby(["task", "axis"])
    ]
    return {a: {b: float(np.mean([improvement(p[a], p[b]) for p in parts])) for b in names if b != a} for a in names}
