"""Whether Lowlands runs on a GPU, and how fast: ``python -m benchmarks.gpu [--device cuda] [--tiny]`` (minutes).

1. The track `smoke` on the device and on the CPU, whose records must agree.
2. The machine's own rates: a large matrix product, and a copy.
3. Gradients of the two image networks at 1, 8 and 64 lanes, as one program and one by one, and which way the suite
   takes by itself.
4. Five eigenvalues of the Hessian of the fully connected network.

All as absolute times, and as shares of the rates. The exit status is 1 if records differ or the suite takes the slower
way. `--tiny` shrinks everything: that is how the tests run it on a CPU, where the times mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from asv_bench.bench_images import SAMPLES, SETTINGS, cnn_task, flops_a_sample, mlp_task
from suite.curvature import Network, top_eigenpairs
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.storage.log import Log, read
from suite.storage.record import Record
from suite.task import Split, Task
from suite.tracks import find_track
from suite.training import TrainingRun
from suite.training.equivalence import batched_gradients, sequential_gradients, vmap_is_faster

TOLERANCE = 1e-3
"""Relative difference of a measure, and of the number of gradients, between devices: rounding grows on the way."""

CLOSE_CALL = 1.1
"""Two ways whose times differ by less than this factor are equally fast."""

EIGENVALUES = 5


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    lanes: tuple[int, ...] = (1, 8, 64)
    repeats: int = 20
    matrix: int = 8_192
    copied_bytes: int = 2**30
    samples: int = SAMPLES
    trials: int = 2
    submissions: tuple[str, ...] = ("sgd", "adam", "sam")


TINY = Sizes((1, 2), repeats=1, matrix=64, copied_bytes=2**16, samples=64, trials=1, submissions=("sgd",))


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of the clock of `work`, after one call that warms up, with the device idle before and after."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        begin = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def records_on(device: str, sizes: Sizes) -> list[Record]:
    """The records of `smoke` on a device, computed in this process."""
    track = replace(find_track("smoke"), trials=sizes.trials)
    plan = make_plan(sizes.submissions, track.tasks, track, device)
    with tempfile.TemporaryDirectory() as directory, connect("local:0") as engine:
        log = Path(directory) / "smoke.jsonl"
        deque(Driver(plan, Log(log), engine).steps(), maxlen=0)
        return read(log).records


def differences(records: Sequence[Record], others: Sequence[Record]) -> list[str]:
    """What the records of two devices do not agree on, a sentence each."""
    known = {_key(record): record for record in others}
    found = [f"{_named(key)}: missing" for key in known.keys() ^ {_key(record) for record in records}]
    for record in records:
        other, name = known.get(_key(record)), _named(_key(record))
        if other is None:
            continue
        if record["status"] != other["status"]:
            found.append(f"{name}: {record['status']}, {other['status']}")
        one, two = _numbers(record), _numbers(other)
        for number in sorted(one.keys() & two.keys()):
            scale = max(abs(one[number]), abs(two[number]))
            if abs(one[number] - two[number]) > TOLERANCE * scale + 1e-9:
                found.append(f"{name}: {number} {one[number]:.6g}, {two[number]:.6g}")
    return found


def _key(record: Record) -> tuple[object, ...]:
    return tuple(record[name] for name in ("submission", "task", "phase", "trial", "seed"))


def _named(key: tuple[object, ...]) -> str:
    return " ".join(map(str, key))


def _numbers(record: Record) -> Mapping[str, float]:
    measures = {name: value for name, value in record["measures"].items() if value is not None}
    return {**measures, "gradient evaluations": record["gradient_evaluations"]}


def matrix_rate(device: torch.device, sizes: Sizes) -> float:
    """Floating-point operations per second of a square product in float32, as torch computes it by default."""
    a, b = (torch.randn(sizes.matrix, sizes.matrix, device=device) for _ in range(2))
    return 2 * sizes.matrix**3 / seconds(lambda: a @ b, device, sizes.repeats)


def copy_rate(device: torch.device, sizes: Sizes) -> float:
    """Bytes per second that a copy within the device's memory reads and writes."""
    source = torch.zeros(sizes.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * sizes.copied_bytes / seconds(lambda: target.copy_(source), device, sizes.repeats)


def lanes_table(device: torch.device, sizes: Sizes, rate: float) -> tuple[list[str], list[str]]:
    """The rows of the table of gradients, and where the suite takes the slower way."""
    rows, wrong = [], []
    for name, task in (("MLP 784-256-256-10", mlp_task()), ("CNN of `cifar10_cnn`", cnn_task())):
        operations, _ = flops_a_sample(task)
        problem = task.problem(0)
        for lanes in sizes.lanes:
            group = [TrainingRun(problem, seed, 0, SETTINGS) for seed in range(lanes)]
            together = seconds(batched_gradients(task, group, device), device, sizes.repeats)
            apart = seconds(sequential_gradients(task, group, device), device, sizes.repeats)
            as_one = lanes > 1 and vmap_is_faster(task, group, device)
            share = operations * (task.batch_size or 0) * lanes / min(together, apart) / rate
            way = "one program" if as_one else "one by one"
            rows.append(f"| {name} | {lanes} | {1e3 * together:.2f} | {1e3 * apart:.2f} | {way} | {share:.1%} |")
            taken, best = (together if as_one else apart), min(together, apart)
            if device.type != "cpu" and lanes > 1 and taken > CLOSE_CALL * best:
                wrong.append(f"{name} with {lanes} lanes: the suite takes the slower way")
    return rows, wrong


def eigenvalues(task: Task, device: torch.device, sizes: Sizes) -> tuple[float, int]:
    """Seconds and floating-point operations for the largest eigenvalues of a Hessian at the initial weights."""
    problem = task.problem(0)
    data = Split(problem.train.x[: sizes.samples], problem.train.y[: sizes.samples]).to(device)
    network = Network(task.model(problem, 0).to(device))

    def solve() -> None:
        top_eigenpairs(network, data, task.loss, EIGENVALUES, torch.Generator().manual_seed(0))

    with FlopCounterMode(display=False) as counter:
        solve()
    return seconds(solve, device, min(3, sizes.repeats)), counter.get_total_flops()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    sizes, device = TINY if options.tiny else Sizes(), torch.device(options.device)
    if device.type != "cpu" and not torch.accelerator.is_available():
        print(f"Error: torch finds no {device.type} device here.", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else options.device
    print(f"{name}, torch {torch.__version__}\n")
    begin = time.perf_counter()
    own = records_on(options.device, sizes)
    middle = time.perf_counter()
    reference = records_on("cpu", sizes)
    end = time.perf_counter()
    problems = differences(own, reference)
    print(f"`smoke`: {len(own)} records in {middle - begin:.1f} s, on the CPU {end - middle:.1f} s; ", end="")
    print(f"{len(problems)} differences" if problems else "they agree.")
    multiply, copy = matrix_rate(device, sizes), copy_rate(device, sizes)
    print(f"\nMatrix product of {sizes.matrix}: {multiply / 1e12:.2f} TFLOP/s; copy: {copy / 1e9:.0f} GB/s.\n")
    rows, wrong = lanes_table(device, sizes, multiply)
    print("| gradients | lanes | one program, ms | one by one, ms | the suite takes | share of the matrix product |")
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    print("\n".join(rows))
    took, operations = eigenvalues(mlp_task(), device, sizes)
    print(f"\n{EIGENVALUES} eigenvalues: {took:.3f} s, {operations / took / multiply:.1%} of the matrix product.")
    print("\n".join(["", *problems, *wrong]))
    return 1 if problems or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
