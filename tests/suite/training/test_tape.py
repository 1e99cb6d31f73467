"""A tape gives what the computation gives, to the last bit, or is not used."""

from __future__ import annotations

import contextlib
import functools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from suite.seeding import torch_stream
from suite.task import Problem, Split, Target, Task
from suite.tasks import find_task
from suite.tracks import QUICK
from suite.training import TrainingRun, step_protocol, tape, train
from suite.training.equivalence import supports_vmap
from suite.training.lanes import SingleModel, StackedModels
from suite.training.tape import SAME, NotEquivalent, Replayed, Tape, Unrecordable, same_bits

SMALL = [name for name in QUICK if find_task(name).batched]


def _stack(task: Task, lanes: int) -> tuple[StackedModels, Tensor, Tensor]:
    """Lanes of a task at weights off their start, and their data."""
    problems = [task.problem(seed) for seed in range(lanes)]
    scales = torch.tensor([problem.lipschitz for problem in problems], dtype=task.dtype)
    stack = StackedModels([task.model(p, seed) for seed, p in enumerate(problems)], task.loss, scales)
    x, y = (torch.stack([getattr(problem.train, part) for problem in problems]) for part in "xy")
    return stack, x[:, : task.batch_size], y[:, : task.batch_size]


@pytest.mark.parametrize("name", SMALL)
def test_gradients_from_a_tape_are_those_of_autograd_to_the_last_bit(name: str) -> None:
    stack, x, y = _stack(find_task(name), 3)
    stream = torch_stream("tape")
    for step in range(6):
        for index in (None, torch.tensor([0, 2])):
            taken = slice(None) if index is None else index
            losses = stack.evaluate(x[taken], y[taken], index)
            expected_losses, *expected = stack._differentiate(x[taken], y[taken], index, None)
            assert same_bits(losses, expected_losses)
            for gradient, single in zip(stack.gradients.values(), expected, strict=True):
                assert same_bits(gradient[taken], single)
                assert index is None or not gradient[1].any()
        for parameter in stack.parameters.values():
            parameter += 0.01 * torch.randn(parameter.shape, generator=stream, dtype=parameter.dtype)
        x = x.clone() if step % 2 else x  # other tensors, as batches are
    replayed = stack._gradients
    assert isinstance(replayed, Replayed)
    assert all(played is not None for played in replayed._of_shapes.values()), "no task goes the slow way"


def test_a_tape_repeats_changes_in_place_and_what_it_makes_itself() -> None:
    x, rows = torch.randn(5, dtype=torch.float64), torch.tensor([0, 2, 2])

    def compute() -> list[Tensor]:
        total = torch.zeros(5, dtype=torch.float64)  # made anew: otherwise the second play would go on adding to it
        total.index_put_((rows,), x[rows] * 2, accumulate=True)
        empty = torch.empty_like(x).copy_(x).mul_(3)
        return [total, x.exp().sort().values, torch.cat([empty, x.new_full((2,), 7.0)]), x.relu()]

    recorded = Tape(compute, [x])
    for _ in range(3):
        x.copy_(torch.randn(5, dtype=torch.float64))
        recorded.play()
        assert all(map(same_bits, recorded.outputs, compute()))


@pytest.mark.filterwarnings("error")  # torch warns where a result of another shape is written over
def test_relu_is_written_where_it_belongs_with_every_bit() -> None:
    """Zeros keep what sign relu gives them, and NaN stays."""
    x = torch.tensor([-1.0, -0.0, 0.0, 2.0, math.nan, -math.inf, math.inf])
    tape = Tape(lambda: [x.relu()], [x])
    x.copy_(x.flip(0).clone())
    tape.play()
    expected = x.clone().relu()
    assert same_bits(tape.outputs[0], expected)
    assert torch.equal(tape.outputs[0].signbit(), expected.signbit())
    (kernel,) = tape._kernels
    assert isinstance(kernel, functools.partial)
    assert kernel.func is SAME["relu"]  # not the overload that computes elsewhere and copies


def test_a_tensor_that_is_transposed_in_place_after_it_was_made_and_read() -> None:
    x = torch.randn(3, 4, dtype=torch.float64)

    def compute() -> list[Tensor]:
        doubled = 2 * x
        by_column = doubled.sum(0)
        doubled.transpose_(0, 1)  # as recurrent layers do with `batch_first`
        return [by_column, doubled.sum(0), doubled]

    recorded = Tape(compute, [x])
    for _ in range(3):
        x.normal_(generator=torch_stream("transposed"))
        recorded.play()
        for played, expected in zip(recorded.results(), compute(), strict=True):
            assert torch.equal(played, expected)


def test_constants_views_and_what_nobody_needs_are_not_computed_again() -> None:
    x, data = torch.randn(3), torch.randn(4, 3)

    def compute() -> list[Tensor]:
        x.cosh()
        return [(data.square().sum(1) + data @ x).view(2, 2).T]

    assert len(Tape(compute, [x])._kernels) == 2  # the product and the sum


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: [x * torch.rand(3)],
        lambda x: [nn.functional.dropout(x)],
        lambda x: [x if x[0] > 0 else -x],
        lambda x: [x[x > 0]],
        lambda x: [x * x.sum().item()],
        lambda x: [x.add_(1)],
    ],
    ids=["draws", "dropout", "choice", "mask", "number", "changes its input"],
)
def test_what_depends_on_more_than_a_tape_knows_is_refused(compute: Callable[[Tensor], list[Tensor]]) -> None:
    x = torch.randn(3)
    with pytest.raises(Unrecordable):
        Tape(lambda: compute(x), [x])


def test_a_function_that_cannot_be_recorded_is_called() -> None:
    replayed = Replayed(lambda x: [x if x.sum() > 0 else 2 * x], [])
    for value in (1.0, -1.0, 1.0, -1.0):
        assert replayed(torch.full((2,), value))[0][0] == (1.0 if value > 0 else -2.0)


def test_a_function_that_fails_while_it_is_recorded_is_called() -> None:
    def function(x: Tensor) -> list[Tensor]:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise TypeError("not with a mode")
        return [x + 1]

    replayed = Replayed(function, [])
    assert [float(replayed(torch.full((1,), float(n)))[0]) for n in range(4)] == [1, 2, 3, 4]


def test_a_function_that_differs_at_once_is_called_and_one_that_differs_later_is_an_error() -> None:
    calls = 0

    def function(x: Tensor) -> list[Tensor]:
        nonlocal calls
        calls += 1
        return [x * (1.0 if calls < changes else 2.0)]

    x, changes = torch.ones(2), 3
    replayed = Replayed(function, [])
    assert [float(replayed(x)[0][0]) for _ in range(4)] == [1.0, 1.0, 2.0, 2.0]
    calls, changes = 0, 4
    replayed = Replayed(function, [])
    with pytest.raises(NotEquivalent):
        deque((replayed(x) for _ in range(20)), maxlen=0)


def test_the_memory_of_tapes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = Replayed(lambda x: [x.sin().cos()], [])

    def play(size: int) -> None:
        for _ in range(3):
            assert same_bits(replayed(torch.ones(size))[0], torch.ones(size).sin().cos())

    def kept() -> list[int]:
        return [played.size for played in replayed._of_shapes.values() if played is not None]

    monkeypatch.setattr(tape, "MOST_BYTES", 4 * 3 * 100)
    play(60)
    play(40)
    assert kept() == [4 * 3 * 60, 4 * 3 * 40], "the input and two kernels, each of so many numbers"
    play(50)
    assert kept() == [4 * 3 * 40, 4 * 3 * 50], "the oldest made room"
    play(101)
    assert kept() == []
    play(60)


class _Counting(nn.Linear):
    """Another function from its 30th call on, as modules are that warm up: a number in an attribute says when."""

    def __init__(self) -> None:
        super().__init__(3, 1, bias=False, dtype=torch.float64)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x).squeeze(1) * (1.0 if self.calls < 30 else 3.0)


class _Hooked(nn.Linear):
    """A hook that notes what it sees, as those that log activations do."""

    def __init__(self) -> None:
        super().__init__(3, 1, bias=False, dtype=torch.float64)
        self.seen: list[float] = []
        self.register_forward_hook(lambda *_: self.seen.append(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


class _Choosing(nn.Linear):
    """Another function where its weights are small, by a choice that is made without torch."""

    def __init__(self) -> None:
        super().__init__(3, 1, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        size = np.linalg.norm(self.weight.detach().numpy())
        return super().forward(x).squeeze(1) * (1.0 if size > 0.9 else 3.0)


def _task(network: type[nn.Linear]) -> Task:
    def problem(seed: int) -> Problem:
        x = torch.randn(8, 3, generator=torch_stream("tape", seed), dtype=torch.float64)
        return Problem(Split(x, x.sum(1)))

    @torch.no_grad()
    def model(problem: Problem, seed: int) -> nn.Module:
        module = network()
        module.weight.copy_(torch.randn(1, 3, generator=torch_stream("tape", seed, "init"), dtype=torch.float64))
        return module

    stop = Target(-1.0, 64, at_end=True)
    return replace(find_task("min_norm_regression"), problem=problem, model=model, target=stop, name="tape")


@pytest.mark.parametrize("network", [_Counting, _Hooked])
def test_a_network_with_a_memory_of_its_calls_is_trained_as_alone(network: type[nn.Linear]) -> None:
    task = _task(network)
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 1e-3}) for seed in range(3)]
    assert supports_vmap(task, runs[0], "cpu")
    alone, together = (train(task, runs, torch.optim.SGD, batched=batched) for batched in (False, True))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.weights["weight"], other.weights["weight"], rtol=1e-12, atol=0)


class _Tallying(nn.Linear):
    """Counts its calls in a buffer, as batch normalization with ``momentum=None`` does."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__(3, 1, bias=False, dtype=torch.float64)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return super().forward(x).squeeze(1)


def test_what_a_network_writes_into_its_buffers_is_written_once_a_gradient() -> None:
    task = _task(_Tallying)
    model, problem = task.model(task.problem(0), 0), task.problem(0)
    single = SingleModel(model, task.loss, torch.tensor(problem.lipschitz, dtype=task.dtype), task.loss)
    single.replay()
    for count in range(1, 6):
        single.evaluate(problem.train.x[None], problem.train.y[None])
        assert int(model.get_buffer("calls")) == count


def test_an_output_that_is_the_real_part_of_complex_numbers() -> None:
    x = torch.randn(8, dtype=torch.float64)
    played = Tape(lambda: [torch.fft.fft(x).real, torch.view_as_real(torch.fft.rfft(x))[:, 1]], [x])
    x.mul_(-3.0)
    played.play()
    spectrum = np.fft.fft(x.numpy())
    np.testing.assert_allclose(played.outputs[0].numpy(), spectrum.real, atol=1e-12)
    np.testing.assert_allclose(played.outputs[1].numpy(), spectrum.imag[:5], atol=1e-12)


def test_a_network_that_chooses_without_torch_is_trained_again_without_a_tape() -> None:
    task = replace(_task(_Choosing), decay=None)
    problem = task.problem(0)
    run = TrainingRun(replace(problem, train=replace(problem.train, y=0 * problem.train.y)), 0, 0, {"lr": 0.05})
    model = run.model(task, "cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    choices = set()
    for step in range(64):
        choices.add(float(model.weight.detach().norm()) > 0.9)
        optimizer.param_groups[0]["lr"] = 0.05 * step_protocol.common_schedule(step / 64)
        optimizer.zero_grad()
        (task.loss(model(run.problem.train.x), run.problem.train.y) / run.problem.lipschitz).backward()
        optimizer.step()
    (result,) = train(task, [run], torch.optim.SGD)
    assert choices == {True, False}, "the choice changes on the way"
    torch.testing.assert_close(result.weights["weight"], model.weight.detach(), rtol=1e-12, atol=0)


def _replaying(name: str = "mnist5k_mlp") -> tuple[SingleModel, Tensor, Tensor]:
    """The network of a task that replays its gradients, and its first batch."""
    task = find_task(name)
    problem = task.problem(0)
    single = SingleModel(
        task.model(problem, 0), task.loss, torch.tensor(problem.lipschitz, dtype=task.dtype), task.loss
    )
    single.replay()
    return single, problem.train.x[None, :64], problem.train.y[None, :64]


def _expect_autograd(single: SingleModel, x: Tensor, y: Tensor) -> None:
    losses = single.evaluate(x, y)
    gradients = [leaf.grad for leaf in single._leaves.values()]
    plain = SingleModel(single._module, single._loss, single.scales[0], single._task_loss)
    assert torch.equal(losses, plain.evaluate(x, y))
    for leaf, gradient in zip(single._leaves.values(), gradients, strict=True):
        assert gradient is not None
        assert torch.equal(gradient, leaf.grad)
        assert gradient.stride() == leaf.stride()


@pytest.mark.parametrize("name", ["mnist5k_mlp", "valley_relu"])
def test_gradients_of_one_network_are_replayed_to_the_last_bit_and_may_be_kept(name: str) -> None:
    single, x, y = _replaying(name)
    kept = []
    for step in range(6):
        _expect_autograd(single, x.roll(step, 1), y.roll(step, 1))
        single.evaluate(x, y)
        kept.append([(leaf.grad, leaf.grad.clone()) for leaf in single._leaves.values() if leaf.grad is not None])
        with torch.no_grad():
            for leaf in single._leaves.values():
                leaf.mul_(0.99)
    assert not single.runs_hooks, "it was played"
    assert all(torch.equal(gradient, copy) for gradients in kept for gradient, copy in gradients)


def test_weights_in_other_memory_and_hooks_of_parameters_end_the_replay() -> None:
    single, x, y = _replaying()
    for _ in range(3):
        single.evaluate(x, y)
    first = next(iter(single._leaves.values()))
    first.data = 2 * first.data
    _expect_autograd(single, x, y)
    assert single.runs_hooks
    single, x, y = _replaying()
    for _ in range(3):
        single.evaluate(x, y)
    seen = []
    next(iter(single._leaves.values())).register_hook(seen.append)
    single.evaluate(x, y)
    assert len(seen) == 1


@pytest.mark.parametrize(("seconds", "is_kept"), [(0.5, True), (2.0, False)])
def test_a_tape_that_takes_longer_than_its_computation_is_given_up(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_kept: bool
) -> None:
    now, play = [0.0], Tape.play

    def spend(amount: float) -> None:
        now[0] += amount

    def function(x: Tensor) -> list[Tensor]:
        spend(1.0)
        return [x.sin()]

    monkeypatch.setattr(tape.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Tape, "play", lambda self: (play(self), spend(seconds)))
    replayed = Replayed(function, [])
    for count in range(70):
        x = torch.full((2,), float(count))
        assert same_bits(replayed(x)[0], x.sin())
    assert [played is not None for played in replayed._of_shapes.values()] == [is_kept]


def test_a_computation_that_needs_too_much_memory_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "MOST_BYTES", 4 * 100)
    x = torch.randn(60)
    with pytest.raises(Unrecordable, match="memory"):
        Tape(lambda: [x.sin().cos()], [x])


@contextlib.contextmanager
def _without_tapes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape, "MOST_TAPES", 0)
        yield


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sparse_regression", torch.optim.SGD),
        ("valley_sparse", torch.optim.Adam),
        ("homogeneous_margin", torch.optim.LBFGS),
        ("mnist5k_mlp", torch.optim.SGD),
        ("mnist5k_mlp", torch.optim.RAdam),
    ],
)
def test_a_training_with_tapes_is_the_training_without_to_the_last_bit(name: str, make: type) -> None:
    task = find_task(name)
    task = replace(task, target=replace(task.target, budget=80))
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.02}) for seed in range(3)]
    with _without_tapes():
        before = train(task, runs, make)
    for one, other in zip(before, train(task, runs, make), strict=True):
        assert (one.status, one.steps, one.history, one.stepping) == (
            other.status,
            other.steps,
            other.history,
            other.stepping,
        )
        assert all(same_bits(one.weights[weight], other.weights[weight]) for weight in one.weights)
