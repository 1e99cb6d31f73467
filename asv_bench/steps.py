"""What a step of a small task costs: ``python -m asv_bench.steps [--against CHECKOUT]`` (minutes).

With another checkout of this repository (`git worktree add CHECKOUT COMMIT`) every case is measured in turn in two
processes, one for each, and compared; docs/speed.md shows the table. ``--task``, ``--submission`` and ``--lanes``, each
as often as you like, choose among the cases. Seconds are of CPU on one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from suite.entries.loading import load
from suite.task import Task
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

SUBMISSIONS = ("sgd", "adam", "sign", "sam")
"""Stepped as stacked tensors (two), one by one or under `vmap`, and with closures."""

LANES = (3, 10, 30)

EVALUATIONS = (100, 400)
"""The difference is what the steps between cost: neither how the optimizer is tried out nor the first steps, which are
all compared with an ordinary loop."""

REPEATS = 2
ROUNDS = 2
Case = tuple[str, str, int]
"""Task, submission, lanes."""

Costs = dict[Case, float]


def seconds_per_evaluation(task: Task, submission: str, lanes: int, repeats: int = REPEATS) -> float:
    """Seconds of CPU for one gradient evaluation of all lanes and its share of a step."""
    loaded = load(submission).submission
    settings = loaded.settings(1)[0]
    least = []
    for evaluations in EVALUATIONS:
        check = min(task.target.check_every, EVALUATIONS[0])
        # No lane ends before its budget does.
        target = replace(task.target, loss=-1e9, budget=evaluations, check_every=check, at_end=True)
        found = replace(task, target=target)
        runs = [TrainingRun(found.problem(seed), seed, 0, settings) for seed in range(lanes)]
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            train(found, runs, loaded.optimizer)
            times.append(time.process_time() - begin)
        least.append(min(times))
    return (least[1] - least[0]) / (EVALUATIONS[1] - EVALUATIONS[0])


def cases() -> list[Case]:
    """All that is measured."""
    return list(itertools.product(TASKS, SUBMISSIONS, LANES))


def prepare() -> None:
    """Prepare this process: one thread, and the first optimizer, which imports torch._dynamo."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


def answer() -> None:
    """Measure every case that comes in as a line."""
    prepare()
    for line in sys.stdin:
        task, submission, lanes = json.loads(line)
        print(seconds_per_evaluation(find_task(task), submission, lanes), flush=True)


def medians(rounds: Sequence[Costs]) -> Costs:
    """The median of every cost over the rounds."""
    return {case: statistics.median(costs[case] for costs in rounds) for case in rounds[0]}


def comparison(before: Sequence[Costs], now: Sequence[Costs]) -> str:
    """The table of docs/speed.md: geometric means over tasks of microseconds and of the paired ratios."""
    one, other = medians(before), medians(now)
    lines = ["| | lanes | before | now | ratio | of the tasks |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for submission, lanes in dict.fromkeys((submission, lanes) for _, submission, lanes in one):
        own = [case for case in one if case[1:] == (submission, lanes)]
        ratios = [other[case] / one[case] for case in own]
        old, new = (1e6 * statistics.geometric_mean([costs[case] for case in own]) for costs in (one, other))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        mean = statistics.geometric_mean(ratios)
        lines.append(f"| {submission} | {lanes} | {old:.0f} µs | {new:.0f} µs | {mean:.2f} | {spread} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the costs of this code, or the comparison with a checkout."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.steps")
    parser.add_argument("--answer", action="store_true", help="measure the cases that come in as lines")
    parser.add_argument("--against", type=Path, help="another checkout")
    for name, known in (("task", TASKS), ("submission", SUBMISSIONS), ("lanes", LANES)):
        parser.add_argument(f"--{name}", type=type(known[0]), action="append", choices=known)
    chosen = parser.parse_args(arguments)
    asked = (chosen.task or TASKS, chosen.submission or SUBMISSIONS, chosen.lanes or LANES)
    wanted = [case for case in cases() if all(part in own for part, own in zip(case, asked, strict=True))]
    if chosen.answer:
        answer()
    elif chosen.against is not None:
        from benchmarks.checkouts import before_and_now  # not where another checkout's code answers

        checkouts = before_and_now(__file__, chosen.against)
        rounds: list[tuple[Costs, Costs]] = [({}, {}) for _ in range(ROUNDS)]
        for case in wanted:
            for costs in rounds:
                for checkout, own in zip(checkouts, costs, strict=True):
                    own[case] = float(checkout.ask(case))
        for checkout in checkouts:
            checkout.close()
        print(comparison(*zip(*rounds, strict=True)))
    else:
        prepare()
        for task, submission, lanes in wanted:
            seconds = seconds_per_evaluation(find_task(task), submission, lanes)
            print(f"{task}, {submission}, {lanes} lanes: {1e6 * seconds:.0f} µs", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
