"""What a step of a small task costs: ``python -m benchmarks.steps [--against CHECKOUT]`` (minutes).

With another checkout of this repository (`git worktree add CHECKOUT COMMIT`) both are measured in turn, each in a
process of its own, and compared; docs/speed.md shows the table. Seconds are of CPU on one thread.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from suite.entries.loading import load
from suite.tasks import find_task
from suite.training import TrainingRun, train

TASKS = (
    "min_norm_regression",
    "spectral_margin",
    "sparse_regression",
    "linear_convolution[network=full]",
    "valley_scalar",
    "valley_sparse",
    "valley_relu",
    "homogeneous_margin",
    "univariate_relu",
    "teacher_student",
)
"""The small tasks of `quick` as they were when this was first measured."""

SUBMISSIONS = ("sgd", "adam", "sam")
LANES = (3, 10, 30)

EVALUATIONS = (100, 600)
"""The difference is what the steps between cost: neither how the optimizer is tried out nor the first steps, which are
all compared with an ordinary loop."""

REPEATS = 3
ROUNDS = 3
Costs = dict[str, float]


def seconds_per_evaluation(task: str, submission: str, lanes: int, repeats: int = REPEATS) -> float:
    """Seconds of CPU for one gradient evaluation of all lanes and its share of a step."""
    loaded = load(submission).submission
    settings = loaded.settings(1)[0]
    least = []
    for evaluations in EVALUATIONS:
        found = find_task(task)
        check = min(found.target.check_every, EVALUATIONS[0])
        # No lane ends before its budget does.
        target = replace(found.target, loss=-1e9, budget=evaluations, check_every=check, at_end=True)
        found = replace(found, target=target)
        runs = [TrainingRun(found.problem(seed), seed, 0, settings) for seed in range(lanes)]
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            train(found, runs, loaded.optimizer)
            times.append(time.process_time() - begin)
        least.append(min(times))
    return (least[1] - least[0]) / (EVALUATIONS[1] - EVALUATIONS[0])


def _combinations() -> Iterator[tuple[str, str, int]]:
    yield from ((task, submission, lanes) for task in TASKS for submission in SUBMISSIONS for lanes in LANES)


def measured() -> Costs:
    """Seconds per evaluation, by task, submission and lanes."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # a process's first imports torch._dynamo
    return {" ".join(map(str, case)): seconds_per_evaluation(*case) for case in _combinations()}


def measured_in(checkout: Path) -> Costs:
    """`measured` with the code of `checkout`, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", __file__, "--json"]
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    costs: Costs = json.loads(done.stdout.splitlines()[-1])
    return costs


def medians(rounds: Sequence[Costs]) -> Costs:
    """The median of every cost over the rounds."""
    return {case: statistics.median(costs[case] for costs in rounds) for case in rounds[0]}


def comparison(before: Sequence[Costs], now: Sequence[Costs]) -> str:
    """The table of docs/speed.md: geometric means over tasks of microseconds and of the paired ratios."""
    one, other = medians(before), medians(now)
    lines = ["| | lanes | before | now | ratio | of the tasks |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for submission in SUBMISSIONS:
        for lanes in LANES:
            cases = [f"{task} {submission} {lanes}" for task in TASKS]
            ratios = [other[case] / one[case] for case in cases]
            old, new = (1e6 * statistics.geometric_mean([c[case] for case in cases]) for c in (one, other))
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            mean = statistics.geometric_mean(ratios)
            lines.append(f"| {submission} | {lanes} | {old:.0f} µs | {new:.0f} µs | {mean:.2f} | {spread} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the costs of this code, or the comparison with a checkout."""
    if "--json" in arguments:
        print(json.dumps(measured()))
        return
    if "--against" in arguments:
        checkout, here = Path(arguments[-1]).resolve(), Path(__file__).resolve().parents[1]
        rounds = [(measured_in(checkout), measured_in(here)) for _ in range(ROUNDS)]
        before, now = zip(*rounds, strict=True)
        print(comparison(before, now))
        return
    for case, seconds in measured().items():
        print(f"{case}: {1e6 * seconds:.0f} µs")


if __name__ == "__main__":
    main(sys.argv[1:])
