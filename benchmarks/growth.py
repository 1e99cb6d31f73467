"""How costs grow with what is asked for: ``python -m benchmarks.growth [SVG]`` (five minutes).

A step of gradient descent against the number of lanes, samples and parameters, and the table against the number of
submissions: seconds of CPU on one thread, and the power with which each grows over the last of its sizes. Prints the
table of docs/scale.md and writes its picture.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from asv_bench.steps import prepare, seconds_per_evaluation
from benchmarks.load import NOISE, table_seconds
from benchmarks.scale import shipped
from leaderboard.figures.charts import Chart, Line, curves
from suite.models import DiagonalNetwork
from suite.seeding import torch_stream
from suite.storage.log import Log
from suite.storage.record import seal
from suite.task import Problem, Split, Task
from suite.tasks import find_task

LANES = (1, 3, 10, 30, 100, 300, 1_000)
SAMPLES = (10, 100, 1_000, 10_000, 100_000)
PARAMETERS = (20, 200, 2_000, 20_000, 200_000)
SUBMISSIONS = (1, 3, 10, 30, 100, 200)

POINTS = 3
"""The power is that of the last so many sizes: the first ones are all overhead."""


@dataclass(frozen=True)
class Growth:
    """Seconds at each size of something."""

    what: str
    of: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def power(self) -> float:
        """The exponent e of ``seconds ~ size ** e`` over the last sizes, by least squares."""
        x, y = np.log(self.sizes[-POINTS:]), np.log(self.seconds[-POINTS:])
        return float(np.polyfit(x, y, 1)[0])

    def row(self) -> str:
        cells = ", ".join(f"{size:,}: {_time(own)}" for size, own in zip(self.sizes, self.seconds, strict=True))
        return f"| {self.of} | {self.what} | {cells} | {self.power:.2f} |"


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


def regression(samples: int, features: int) -> Task:
    """Regression with a diagonal network of two parameters a feature."""

    def problem(seed: int) -> Problem:
        x = torch.randn(samples, features, generator=torch_stream("growth", seed), dtype=torch.float64)
        return Problem(Split(x, x[:, 0].clone()))

    def model(problem: Problem, seed: int) -> DiagonalNetwork:
        return DiagonalNetwork(features, alpha=0.01)

    return replace(find_task("sparse_regression"), problem=problem, model=model, name="growth")


def _steps(of: str, sizes: Sequence[int], cases: Iterator[tuple[Task, int]]) -> Growth:
    seconds = [seconds_per_evaluation(task, "sgd", lanes) for task, lanes in cases]
    return Growth("a step of sgd", of, tuple(sizes), tuple(seconds))


def tables() -> Growth:
    """The command that prints the table, of so many copies of shipped submissions that differ a little."""
    records = [record for record in shipped() if record["track"] == "quick" and record["kind"] == "optimizer"]
    names = sorted({record["submission"] for record in records})
    rng = random.Random(0)
    seconds = []
    with tempfile.TemporaryDirectory() as directory:
        for size in SUBMISSIONS:
            log = Log(Path(directory) / str(size) / "quick.jsonl")
            for number in range(size):
                for record in records:
                    if record["submission"] != names[number % len(names)]:
                        continue
                    noisy = {
                        key: value and value * rng.lognormvariate(0, NOISE) for key, value in record["measures"].items()
                    }
                    name = f"{record['submission']}-{number}"
                    log.append(seal(record | {"submission": name, "measures": noisy}))
            seconds.append(table_seconds(log.path))
    return Growth("`lowlands table`", "submissions", SUBMISSIONS, tuple(seconds))


def measured() -> Iterator[Growth]:
    """All of them, one after the other."""
    yield _steps("lanes", LANES, ((regression(40, 100), lanes) for lanes in LANES))
    yield _steps("samples", SAMPLES, ((regression(samples, 10), 4) for samples in SAMPLES))
    yield _steps("parameters", PARAMETERS, ((regression(10, count // 2), 4) for count in PARAMETERS))
    yield tables()


def picture(grown: Sequence[Growth]) -> str:
    """The figure of docs/scale.md."""
    charts = [
        Chart(
            f"{growth.what}: power {growth.power:.2f}",
            [Line("seconds of CPU", growth.sizes, growth.seconds)],
            growth.of,
            "seconds",
            x_log=True,
            y_log=True,
        )
        for growth in grown
    ]
    alt = "Cost against size. " + " ".join(f"{g.what} grows with {g.of} to the power {g.power:.2f}." for g in grown)
    return curves("growth", charts, alt).standalone()


def main(arguments: Sequence[str]) -> None:
    """Print the table, and write the picture to the file that is named."""
    prepare()
    print("| grows | cost | seconds of CPU | power |\n| --- | --- | --- | ---: |")
    grown = []
    for growth in measured():
        grown.append(growth)
        print(growth.row(), flush=True)
    for path in arguments:
        Path(path).write_text(picture(grown), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
