"""Batched or one by one, gathered or indexed, checked early or to the end: the same training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from suite.models import cnn, initialize, mlp
from suite.seeding import torch_stream
from suite.task import Problem, Split, Target, Task
from suite.tasks import find_task
from suite.training import TrainingRun, equivalence, train
from suite.training.lanes import EVALUATION_BATCH, SingleModel, StackedModels
from suite.training.minibatches import DeviceDataset


def _problem(seed: int, samples: int = 3 * EVALUATION_BATCH + 10) -> Problem:
    """Images 6 x 6 of three classes that differ in brightness."""
    stream = torch_stream("batching", seed)
    y = torch.arange(samples) % 3
    x = torch.randn(samples, 1, 6, 6, generator=stream) + y[:, None, None, None]
    return Problem(Split(x, y))


def _task(batch_norm: bool = False) -> Task:
    def model(problem: Problem, seed: int) -> nn.Module:
        stream = torch_stream("batching", seed, "init")
        return initialize(cnn((1, 6, 6), 3, widths=(4, 8), batch_norm=batch_norm), stream)

    stop = Target(0.1, 400, check_every=12)
    return replace(find_task("mnist5k_mlp"), problem=_problem, model=model, target=stop, name="batching")


def _runs(task: Task, count: int = 2) -> list[TrainingRun]:
    return [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.05}) for seed in range(count)]


def test_what_cannot_be_batched_is_trained_one_by_one() -> None:
    plain, normed = _task(), _task(batch_norm=True)
    assert equivalence.supports_vmap(plain, _runs(plain)[0], "cpu")
    assert not equivalence.supports_vmap(normed, _runs(normed)[0], "cpu")
    for task, stepping in ((plain, "stacked"), (normed, "alone")):
        results = train(task, _runs(task), torch.optim.SGD, batched=True)
        assert {result.stepping for result in results} == {stepping}
        assert all(result.converged for result in results)


class _Referring(nn.Module):
    """It computes with a weight that it holds besides its parameters: no other can be put in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(36, 8), nn.Linear(8, 3)
        self.kept = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(linear(x.flatten(1), self.kept[0], self.first.bias).relu())


def test_a_network_that_vmap_would_train_in_part_is_trained_one_by_one() -> None:
    def model(problem: Problem, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return _Referring()

    task = replace(_task(), model=model)
    assert not equivalence.supports_vmap(task, _runs(task)[0], "cpu")
    results = train(task, _runs(task), torch.optim.SGD, batched=True)
    assert {result.stepping for result in results} == {"alone"}
    for number, result in enumerate(results):
        start = dict(model(task.problem(number), number).named_parameters())
        assert all(not torch.equal(start[name], weight) for name, weight in result.weights.items())


def test_asking_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    equivalence.supports_vmap(_task(), _runs(_task())[0], "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_batched_and_one_by_one_agree() -> None:
    task = _task()
    apart, together = (train(task, _runs(task), torch.optim.SGD, batched=batched) for batched in (False, True))
    for one, other in zip(apart, together, strict=True):
        assert one.gradient_evaluations == other.gradient_evaluations
        for name in one.weights:
            torch.testing.assert_close(one.weights[name], other.weights[name], rtol=1e-3, atol=1e-4)


def test_a_cpu_keeps_to_the_rule_of_the_task_and_other_devices_to_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    task = _task()
    runs = _runs(task)
    assert equivalence.vmap_is_faster(replace(task, batched=True), runs, "cpu")
    assert not equivalence.vmap_is_faster(replace(task, batched=False), runs, "cpu")
    torch.testing.assert_close(
        equivalence.batched_gradients(task, runs, "cpu")(), equivalence.sequential_gradients(task, runs, "cpu")()
    )
    for first, second in ((1.0, 2.0), (2.0, 1.0)):
        times = iter((first, second))
        monkeypatch.setattr(equivalence, "median_seconds", lambda work, device, times=times: next(times))
        monkeypatch.setattr(equivalence, "batched_gradients", lambda *_: None)
        monkeypatch.setattr(equivalence, "sequential_gradients", lambda *_: None)
        assert equivalence.vmap_is_faster(task, runs, "meta") == (first < second)


def test_time_is_that_of_the_work() -> None:
    slow, quick = torch.randn(400, 400), torch.randn(4, 4)
    assert equivalence.median_seconds(lambda: [slow @ slow for _ in range(20)], "cpu") > equivalence.median_seconds(
        lambda: quick, "cpu"
    )


@pytest.mark.parametrize("shape", [(5,), (2, 4, 3)])
def test_samples_are_what_indexing_gives(shape: tuple[int, ...]) -> None:
    splits = [Split(torch.randn(20, *shape), torch.randint(0, 3, (20,))) for _ in range(3)]
    rows = [torch.randperm(20)[:6] for _ in range(3)]
    alone, all_three = DeviceDataset(splits[:1], "cpu"), DeviceDataset(splits, "cpu")
    x, y = alone.batch([0], rows[:1])
    assert torch.equal(x[0], splits[0].x[rows[0]])
    assert torch.equal(y[0], splits[0].y[rows[0]])
    x, y = all_three.batch([0, 2], [rows[0], rows[2]])
    for number, lane in enumerate((0, 2)):
        assert torch.equal(x[number], splits[lane].x[rows[lane]])
        assert torch.equal(y[number], splits[lane].y[rows[lane]])
    whole = all_three.whole([2])[0]
    assert torch.equal(whole[0], splits[2].x)
    assert all_three.whole([2])[0] is whole
    assert len(alone) == 20
    assert alone.whole([0])[0].data_ptr() == splits[0].x.data_ptr()  # a lane by itself is not copied


def test_images_are_gathered_channels_last() -> None:
    x, _ = DeviceDataset([_problem(0).train], "cpu").batch([0], [torch.arange(5)])
    assert x[0].stride()[1] == 1


def _losses(ceiling: float) -> tuple[float, float]:
    model, split = _task().model(_problem(0), 0), _problem(0).train
    lane = SingleModel(model, cross_entropy, torch.ones(()))
    exact = cross_entropy(model(split.x), split.y).item()
    return lane.losses(split.x[None], split.y[None], ceiling=ceiling).item(), exact


def test_a_loss_below_the_ceiling_is_exact_and_one_above_is_never_said_to_meet_it() -> None:
    for factor in (1.0001, 2.0, math.inf):
        loss, exact = _losses(factor * _losses(math.inf)[1])
        assert loss == pytest.approx(exact, rel=1e-6)
    for factor in (0.01, 0.3, 0.9999):
        ceiling = factor * _losses(math.inf)[1]
        assert _losses(ceiling)[0] > ceiling


def test_early_checks_change_nothing_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    task = _task()
    early = train(task, _runs(task), torch.optim.SGD, batched=False)
    whole = SingleModel.losses
    monkeypatch.setattr(SingleModel, "losses", lambda self, x, y, index=None, ceiling=0.0: whole(self, x, y, index))
    for one, other in zip(early, train(task, _runs(task), torch.optim.SGD, batched=False), strict=True):
        assert (one.status, one.gradient_evaluations, one.train_loss) == (
            other.status,
            other.gradient_evaluations,
            other.train_loss,
        )
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


class Noisy(nn.Module):
    """A network with a buffer and with noise in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp((36,), 3, widths=(5,))
        self.shift: Tensor
        self.register_buffer("shift", torch.full((1,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.dropout(self.body(x.flatten(1)) + self.shift, 0.5, self.training)


def test_stacked_lanes_keep_buffers_and_are_judged_without_noise() -> None:
    models = [Noisy(), Noisy()]
    stack = StackedModels(models, cross_entropy, torch.ones(2))
    assert stack.snapshot(1)["shift"].item() == 0.5
    x, y = (torch.stack(parts) for parts in zip(*((p.train.x, p.train.y) for p in map(_problem, (0, 1))), strict=True))
    expected = [cross_entropy(model.eval()(a), b).item() for model, a, b in zip(models, x, y, strict=True)]
    models[0].train()
    assert stack.losses(x, y).tolist() == pytest.approx(expected, rel=1e-5)
    assert models[0].training
