"""Image tasks against the loop that everybody writes, and against the machine's own matrix product.

The yardstick is a torchvision data set of PIL images with ToTensor and Normalize, a DataLoader and one seed after the
other. Ratios are of medians of processor time with one thread, measured in turn in one process: what a shared machine
gives to others does not count. Processor time hides what either side does with more cores, so one ratio is of the
clock, with all cores as each side uses them: processes of one thread here, torch's threads there.

A whole training computes, beside its steps, the loss on the training part once an epoch: its operations are counted.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from suite.data import split_digits
from suite.entries.loading import load
from suite.kernels.malloc import disable_trim
from suite.models import cnn, initialize, mlp
from suite.seeding import torch_stream
from suite.task import Problem, Split, Target, Task
from suite.tasks import find_task
from suite.training import TrainingRun, train

DIGITS = "mnist5k_mlp"
LANES = 8
SAMPLES = 4_000
BATCH = 64
ROUNDS = 3
SETTINGS = {"lr": 0.02, "momentum": 0.9}
MLP_EPOCHS, CNN_EPOCHS = 20, 6
"""Epochs of the steps that are taken without looking at the loss."""

Clock = Callable[[], float]


def mlp_task() -> Task:
    """4,000 digits, and the network of 784-256-256-10 that was prototyped."""

    def problem(seed: int) -> Problem:
        return split_digits("benchmark", seed, SAMPLES, 1, 1)

    def model(problem: Problem, seed: int) -> nn.Module:
        return initialize(mlp((1, 28, 28), 10, widths=(256, 256)), torch_stream("benchmark", seed))

    return _task(problem, model)


def cnn_task() -> Task:
    """4,000 noisy images of the shape of CIFAR-10 with a pattern for each class: their content is easy to fit."""

    def problem(seed: int) -> Problem:
        stream = torch_stream("benchmark", seed)
        y = torch.randint(0, 10, (SAMPLES,), generator=stream)
        patterns = torch.randn(10, 3, 32, 32, generator=stream)
        x = patterns[y] + 2 * torch.randn(SAMPLES, 3, 32, 32, generator=stream)
        split = Split(x.contiguous(memory_format=torch.channels_last), y)
        return Problem(split, split, split)

    def model(problem: Problem, seed: int) -> nn.Module:
        return initialize(cnn((3, 32, 32), 10), torch_stream("benchmark", seed))

    return _task(problem, model)


def _task(problem: Callable[[int], Problem], model: Callable[[Problem, int], nn.Module]) -> Task:
    """The protocol of the image tasks: until the loss on the training part, checked once an epoch, is 0.01."""
    steps = -(-SAMPLES // BATCH)
    target = Target(0.01, 100 * steps, check_every=steps)
    return replace(find_task(DIGITS), problem=problem, model=model, target=target, batch_size=BATCH)


def runs(task: Task, count: int) -> list[TrainingRun]:
    return [TrainingRun(task.problem(seed), seed, 0, SETTINGS) for seed in range(count)]


def ours(task: Task, group: list[TrainingRun], batched: bool | None = None) -> float:
    """Samples per second of processor time of a whole training, with all that the suite does about it."""
    begin = time.process_time()
    results = train(task, group, load("momentum").submission.optimizer, batched=batched)
    seconds = time.process_time() - begin
    return sum(result.gradient_evaluations for result in results) * _samples_per_evaluation(task, group[0]) / seconds


def _samples_per_evaluation(task: Task, run: TrainingRun) -> float:
    """The mean over an epoch: its last batch may be smaller."""
    return len(run.problem.train) / task.target.check_every


def steps_alone(task: Task, optimizer: str, epochs: int) -> float:
    """Samples per second of processor time of the training steps, without a look at the loss between them."""
    steps = epochs * task.target.check_every
    blind = replace(task, target=Target(0.0, steps, check_every=steps))
    settings = SETTINGS if optimizer == "momentum" else {"lr": SETTINGS["lr"]}
    run = TrainingRun(task.problem(0), 0, 0, settings)
    begin = time.process_time()
    train(blind, [run], load(optimizer).submission.optimizer)
    return epochs * SAMPLES / (time.process_time() - begin)


def by_processes(count: int) -> float:
    """Samples per second of the clock of `count` runs of `mnist5k_mlp`, a process of one thread for every core."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=_ready) as pool:
        list(pool.map(_warm, range(2 * (os.cpu_count() or 1))))
        begin = time.perf_counter()
        samples = sum(pool.map(_samples, range(count)))
        return samples / (time.perf_counter() - begin)


def _ready() -> None:
    torch.set_num_threads(1)
    disable_trim()


def _warm(_: int) -> None:
    steps_alone(mlp_task(), "momentum", 1)


def _samples(seed: int) -> float:
    """Train one run; the samples that it took."""
    task = find_task(DIGITS)
    (run,) = group = [TrainingRun(task.problem(seed), seed, 0, SETTINGS)]
    (result,) = train(task, group, load("momentum").submission.optimizer)
    return result.gradient_evaluations * _samples_per_evaluation(task, run)


def idiomatic(problem: Problem, seed: int, task: Task, clock: Clock = time.process_time) -> float:
    """Samples per second of an epoch of one seed, as everybody writes it."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import Compose, Normalize, ToTensor

    pixels = problem.train.x[:, 0]
    low, high = pixels.min(), pixels.max()
    images = ((pixels - low) / (high - low) * 255).byte().numpy()
    labels = problem.train.y.tolist()
    transform = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])

    class Digits(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(images[index], mode="L")), labels[index]

    model = task.model(problem, seed)
    optimizer = torch.optim.SGD(model.parameters(), **SETTINGS)
    begin = clock()
    for x, y in DataLoader(Digits(), batch_size=BATCH, shuffle=True):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return len(images) / (clock() - begin)


def flops_a_sample(task: Task) -> tuple[float, float]:
    """Floating-point operations on one sample: of a step (a forward and a backward pass), and of a look at the loss."""
    problem = task.problem(0)
    model, x, y = task.model(problem, 0), problem.train.x[:BATCH], problem.train.y[:BATCH]
    with FlopCounterMode(display=False) as counter:
        loss = cross_entropy(model(x), y)
        forward = counter.get_total_flops()
        torch.autograd.backward(loss)
    return counter.get_total_flops() / BATCH, forward / BATCH


def matrix_product() -> float:
    """Floating-point operations per second of a square float32 product of 1,024."""
    a, b = torch.randn(1_024, 1_024), torch.randn(1_024, 1_024)
    begin = time.process_time()
    for _ in range(10):
        a @ b
    return 10 * 2 * 1_024**3 / (time.process_time() - begin)


class Throughput:
    """Ratios that a shared machine can measure."""

    rounds = 1
    timeout = 900
    unit = "ratio"

    def setup(self) -> None:
        torch.set_num_threads(1)
        disable_trim()  # as workers do
        # The first optimizer of a process imports torch._dynamo, two seconds that are nobody's training loop.
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)

    def track_mlp_against_the_idiomatic_loop(self) -> float:
        """Samples per second of 8 seeds of `mnist5k_mlp` over those of the idiomatic loop."""
        task = find_task(DIGITS)
        group = runs(task, LANES)
        return _ratio(lambda: ours(task, group), lambda: idiomatic(group[0].problem, 0, task))

    def track_all_cores_against_the_idiomatic_loop(self) -> float:
        """The same by the clock, with all cores as either side uses them."""
        task = find_task(DIGITS)
        problem, threads = task.problem(0), os.cpu_count() or 1

        def theirs() -> float:
            torch.set_num_threads(threads)
            try:
                return idiomatic(problem, 0, task, time.perf_counter)
            finally:
                torch.set_num_threads(1)

        return _ratio(lambda: by_processes(LANES), theirs)

    def track_mlp_steps_of_gemm(self) -> float:
        """Share of the matrix product's rate that the steps of the fully connected network reach."""
        task = mlp_task()
        step, _ = flops_a_sample(task)
        return _ratio(lambda: step * steps_alone(task, "sgd", MLP_EPOCHS), matrix_product)

    def track_mlp_of_gemm(self) -> float:
        """The same for a whole training with momentum, looks at the loss included."""
        return _whole(mlp_task())

    def track_cnn_steps_of_gemm(self) -> float:
        """Share of the matrix product's rate that the steps of the convolutional network reach."""
        task = cnn_task()
        step, _ = flops_a_sample(task)
        return _ratio(lambda: step * steps_alone(task, "sgd", CNN_EPOCHS), matrix_product)

    def track_cnn_of_gemm(self) -> float:
        """The same for a whole training with momentum, looks at the loss included."""
        return _whole(cnn_task())

    def track_lanes_as_one_program(self) -> float:
        """Rate of 8 runs as one program over their rate one after the other: below 1, the suite's choice is right."""
        task = mlp_task()
        group = runs(task, LANES)
        return _ratio(lambda: ours(task, group, True), lambda: ours(task, group, False))


def _whole(task: Task) -> float:
    group, flops = runs(task, 1), sum(flops_a_sample(task))
    return _ratio(lambda: flops * ours(task, group), matrix_product)


def _ratio(ours: Callable[[], float], theirs: Callable[[], float]) -> float:
    """Median rate of `ours` over that of `theirs`, measured in turn."""
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return mine / other
