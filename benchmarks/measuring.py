"""What measuring a solution of `mnist5k_mlp` costs: ``python -m benchmarks.measuring --against CHECKOUT [NAME ...]``.

One solution of each architecture is measured in turn by two processes, one for this code and one for another checkout
of this repository, all measures of the task each time. Seconds are of CPU on one thread; docs/speed.md has the table.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from suite.entries.loading import load
from suite.task import Oracle, Solution
from suite.tasks import find_task
from suite.tasks.images import image_measures

ARCHITECTURES = ("mlp", "layernorm_mlp", "linear_full", "cnn", "resnet", "vit")
PAIRS = 3


def answer() -> None:
    """Measure what comes in as lines: an architecture and a file of its weights. Give back seconds and values."""
    torch.set_num_threads(1)
    problem = find_task("mnist5k_mlp").problem(0)
    for line in sys.stdin:
        name, file = json.loads(line)
        build = load(name).submission.architecture
        assert build is not None
        torch.manual_seed(0)
        model = build((1, 28, 28), 10)
        initial = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(torch.load(file))
        model.eval()
        if next(model.parameters()).dtype != problem.train.x.dtype:
            model = model.to(problem.train.x.dtype)
        begin = time.process_time()
        values = image_measures(Solution(model, initial, problem, Oracle({}), 0))
        took = time.process_time() - begin
        print(json.dumps([took, {key: float(value) for key, value in values.items()}]), flush=True)


def compare(path: Path, names: list[str], pairs: int) -> None:
    """Print a row for each architecture."""
    from benchmarks.checkouts import before_and_now  # not where another checkout's code answers
    from benchmarks.symmetries import trained

    checkouts = before_and_now(__file__, path)
    print("| architecture | before, s | now, s | ratio | largest change of a measure |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            torch.save(trained(name)[0].state_dict(), file.name)
            before, now = [], []
            for _ in range(pairs + 1):  # the first is to warm up
                for checkout, found in zip(checkouts, (before, now), strict=True):
                    found.append(checkout.ask([name, file.name]))
        (_, old), (_, new) = before[0], now[0]
        gaps = {key: abs(new[key] / old[key] - 1) for key in old.keys() & new.keys() if old[key] and new[key]}
        most = max(gaps, key=lambda key: gaps[key] if math.isfinite(gaps[key]) else 0.0)
        seconds = [statistics.median(took for took, _ in found[1:]) for found in (before, now)]
        ratio = statistics.median(b / a for (a, _), (b, _) in zip(before[1:], now[1:], strict=True))
        change = f"{gaps[most]:.1g} (`{most}`)"
        print(f"| `{name}` | {seconds[0]:.2f} | {seconds[1]:.2f} | {ratio:.2f} | {change} |", flush=True)
    for checkout in checkouts:
        checkout.close()


def main() -> None:
    """Compare with a checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("name", nargs="*", default=ARCHITECTURES)
    given = parser.parse_args()
    if given.answer:
        answer()
    elif given.against is None:
        parser.error("--against CHECKOUT is needed.")
    else:
        compare(given.against, list(given.name), given.pairs)


if __name__ == "__main__":
    main()
