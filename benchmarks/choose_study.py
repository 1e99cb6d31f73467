"""Which cells the study's second edition runs: ``python -m benchmarks.choose_study``, from the root.

A cell is one combination of the levels of `suite.study_design.LEVELS`; the optimizers, their step sizes and the seeds
are crossed with every cell. All combinations are candidates. The rule was written down before it was run:

    second = as many cells as `CELLS`, D-optimal for all main effects and all interactions of two factors (no main
             effect or interaction of two is aliased with another: what resolution V asks for), by Fedorov's exchange
             (Fedorov 1972; pydoe's `fedorov`) from a design that is drawn with the seed `SEED`
    small  = of these cells as many as `SMALL_CELLS`, D-optimal for the main effects (resolution III), in the same way

Levels are coded so that a factor of k levels has k - 1 orthogonal columns (Helmert's contrasts, scaled to a variance of
1 over the levels). Exchanges are found by the determinant lemma: pydoe's, which factorises anew for each of 200,000
swaps, would take hours. It prints the rows of `suite/study_design.csv`, and on standard error how well each design
does: the D-efficiency against an orthogonal design of that size, and the largest correlation between estimates of main
effects.
"""

from __future__ import annotations

import csv
import itertools
import sys

import numpy as np
from scipy.linalg import helmert

from leaderboard.analysis.statistics import Array
from suite.study_design import LEVELS

CELLS, SMALL_CELLS = 96, 16
SEED = 20261130
STARTS = 5


def coded(levels: Array, interactions: bool) -> Array:
    """The model matrix [cells, parameters] of level numbers [cells, factors]: intercept, main effects, interactions."""
    counts = [len(values) for values in LEVELS.values()]
    mains = [(helmert(n) * np.sqrt(n)).T[levels[:, j].astype(int)] for j, n in enumerate(counts)]
    pairs = [
        (a[:, :, None] * b[:, None, :]).reshape(len(levels), -1)
        for a, b in itertools.combinations(mains, 2)
        if interactions
    ]
    return np.concatenate([np.ones((len(levels), 1)), *mains, *pairs], axis=1)


def chosen(candidates: Array, count: int, generator: np.random.Generator) -> tuple[float, list[int]]:
    """The logarithm of the determinant of X'X, and the rows X of `candidates` [N, p], `count` of them and distinct.

    Each exchange is the one that multiplies the determinant most: for a row u out and a row v in, by
    ``(1 + d(v, v)) (1 - d(u, u)) + d(u, v)²`` with ``d(a, b) = a' inv(X'X) b``.
    """
    rows = list(generator.choice(len(candidates), count, replace=False))
    while True:
        inverse = np.linalg.inv(candidates[rows].T @ candidates[rows])
        products = candidates[rows] @ inverse @ candidates.T
        own = np.einsum("ij,jk,ik->i", candidates, inverse, candidates)
        gain = (1 + own)[None] * (1 - own[rows])[:, None] + products**2
        gain[:, rows] = 0
        out, into = np.unravel_index(gain.argmax(), gain.shape)
        if gain[out, into] < 1 + 1e-9:
            return float(np.linalg.slogdet(candidates[rows].T @ candidates[rows])[1]), sorted(map(int, rows))
        rows[out] = int(into)


def _tell(name: str, x: Array) -> None:
    """How good a design is, on standard error."""
    information = x.T @ x / len(x)
    efficiency = np.exp(np.linalg.slogdet(information)[1] / x.shape[1])
    covariance = np.linalg.inv(information)
    mains = 1 + sum(len(values) - 1 for values in LEVELS.values())
    scale = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance / np.outer(scale, scale) - np.eye(len(scale)))[1:mains, 1:mains].max()
    inflation = np.diag(covariance)[1:mains].max()
    print(
        f"{name}: {len(x)} cells, {x.shape[1]} parameters, D-efficiency {efficiency:.3f}; main effects: largest "
        f"correlation of estimates {correlation:.2f}, largest variance against an orthogonal design {inflation:.2f}",
        file=sys.stderr,
    )


def main() -> None:
    """Print the chosen cells as a CSV."""
    levels = np.array(list(itertools.product(*(range(len(values)) for values in LEVELS.values()))), dtype=float)
    generator = np.random.default_rng(SEED)
    second = max(chosen(coded(levels, True), CELLS, generator) for _ in range(STARTS))[1]
    small = max(chosen(coded(levels[second], False), SMALL_CELLS, generator) for _ in range(STARTS))[1]
    _tell("second", coded(levels[second], True))
    _tell("second, main effects only", coded(levels[second], False))
    _tell("small", coded(levels[second][small], False))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*LEVELS, "small"])
    for number, row in enumerate(levels[second].astype(int)):
        cell = [values[level] for values, level in zip(LEVELS.values(), row, strict=True)]
        writer.writerow([*cell, "yes" if number in small else "no"])


if __name__ == "__main__":
    main()
