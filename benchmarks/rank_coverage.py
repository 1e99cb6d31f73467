"""How often the intervals of ranks hold the true ranks, and how wide they are: ``python -m benchmarks.rank_coverage``.

    for each number of seeds, kind of outcome and design:
        draw the true score of every submission on every cell, and how it scatters there
        repeat: draw runs, score them, take the intervals of all ranks
        coverage = share of the repetitions in which all intervals hold the true ranks

Twelve submissions on eight tasks, two of which have all three axes as image tasks do. Half of the variance of a run is
its seed's, which all submissions share; submissions differ in their scatter by factors of up to four. `equal`: all true
scores are equal, so that every decision is an error. `spread`: the true scores of neighbours are about 0.03 apart.
`failing`: Gaussian, but a run misses the target loss in one of ten cases and scores 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.rank_intervals import rank_intervals
from leaderboard.analysis.scoring import AXES, Cell, Scores
from leaderboard.analysis.statistics import Array

SUBMISSIONS = 12
CELLS = (
    *((f"image{number}", axis) for number in range(2) for axis in AXES),
    *((f"exact{number}", AXES[number % 3]) for number in range(6)),
)
"""(task, axis); every exact task is a family."""

OUTCOMES = ("Gaussian", "heavy-tailed", "0/1", "failing")
FAILURES = 0.1
DESIGNS = ("equal", "spread")
SEEDS = (3, 5, 10)
REPETITIONS = 1_000


@dataclass(frozen=True)
class Coverage:
    """Of one number of seeds, outcome and design: the share of repetitions in which all intervals hold, the mean number
    of ranks that an interval leaves out beyond the first, and the share of pairs that are decided."""

    outcome: str
    design: str
    seeds: int
    coverage: float
    width: float
    decided: float


def coverage(outcome: str, design: str, seeds: int, repetitions: int = REPETITIONS) -> Coverage:
    """Simulate one line of the table."""
    rng = np.random.default_rng([OUTCOMES.index(outcome), DESIGNS.index(design), seeds])
    hits, widths, decided = 0, [], []
    for _ in range(repetitions):
        means, scale = _truth(rng, design)
        expected = means * (1 - FAILURES) if outcome == "failing" else means
        truth = _scores(expected[:, :, None]).overall
        found = rank_intervals(_scores(_runs(rng, outcome, means, scale, seeds)).differences())
        hits += not (found.better & (truth[:, None] <= truth + 1e-12)).any()
        widths.append((found.high - found.low).mean())
        decided.append(found.better.sum() / (SUBMISSIONS * (SUBMISSIONS - 1) / 2))
    return Coverage(outcome, design, seeds, hits / repetitions, float(np.mean(widths)), float(np.mean(decided)))


def _truth(rng: np.random.Generator, design: str) -> tuple[Array, Array]:
    """True means and standard deviations [submissions, cells]."""
    merit = np.linspace(0.3, 0.65, SUBMISSIONS) if design == "spread" else np.full(SUBMISSIONS, 0.5)
    interaction = rng.uniform(-0.2, 0.2, (SUBMISSIONS, len(CELLS))) * (design == "spread")
    scale = np.exp(rng.uniform(np.log(0.01), np.log(0.1), len(CELLS)))
    factor = np.exp(rng.uniform(-np.log(2), np.log(2), SUBMISSIONS))
    return merit[:, None] + interaction, scale * factor[:, None]


def _runs(rng: np.random.Generator, outcome: str, means: Array, scale: Array, seeds: int) -> Array:
    """Scores [submissions, cells, seeds]."""
    shape = (*means.shape, seeds)
    if outcome == "0/1":
        return (rng.uniform(size=shape) < means[:, :, None]).astype(float)
    draw = rng.standard_normal if outcome != "heavy-tailed" else lambda size: rng.standard_t(3, size) / np.sqrt(3)
    noise = np.sqrt(0.5) * (draw(shape) + draw((1, *shape[1:])))
    reached = rng.uniform(size=shape) >= FAILURES if outcome == "failing" else True
    return np.where(reached, means[:, :, None] + scale[:, :, None] * noise, 0.0)


def _scores(runs: Array) -> Scores:
    """`runs` [submissions, cells, seeds] as the table holds them."""
    seeds = tuple(range(runs.shape[2]))
    searches = np.zeros((len(runs), len(seeds)), dtype=np.intp)
    cells = [
        Cell(task, "images" if task.startswith("image") else task, axis, "m", True, seeds, own, own, searches)
        for (task, axis), own in zip(CELLS, np.moveaxis(runs, 1, 0), strict=True)
    ]
    return Scores(tuple(f"s{number}" for number in range(len(runs))), tuple(cells))


def table(lines: Sequence[Coverage]) -> str:
    """The lines as markdown."""
    head = ["| outcomes | true scores | seeds | coverage | mean width | pairs decided |", "|:--|:--|--:|--:|--:|--:|"]
    return "\n".join(
        head
        + [
            f"| {c.outcome} | {c.design} | {c.seeds} | {c.coverage:.3f} | {c.width:.1f} | {c.decided:.2f} |"
            for c in lines
        ]
    )


if __name__ == "__main__":
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS
    print(table([coverage(o, d, s, repetitions) for o in OUTCOMES for d in DESIGNS for s in SEEDS]))
