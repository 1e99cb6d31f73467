"""Architectures on tasks: every built-in one on every interface of vectors and images, and those that are broken."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from suite.entries.checks import check_names, unsuited_tasks
from suite.entries.entry import bind, build_network
from suite.entries.loading import builtin_files, load
from suite.errors import InputError
from suite.submission import Submission
from suite.task import Target, Task
from suite.tasks import find_task
from suite.training import TrainingRun, common_schedule, train

TASKS = ("univariate_relu", "spectral_bias", "rich_mixture", "teacher_student", "sparse_parity", "modular_addition")
NETWORKS = (
    "mlp",
    "mlp_deep",
    "mlp_wide",
    "mlp_narrow",
    "rich_mlp",
    "lazy_mlp",
    "residual_mlp",
    "layernorm_mlp",
    "sine_mlp",
    "fourier_mlp",
)

IMAGE_NETWORKS = ("cnn", "cnn_batchnorm", "resnet", "vit")


@functools.cache
def short(name: str) -> Task:
    task = find_task(name)
    return replace(task, target=replace(task.target, budget=4, loss=0.0, check_every=2))


def test_all_networks_are_built_in() -> None:
    files = builtin_files()
    assert set(NETWORKS) <= set(files)
    assert all(load(name).submission.kind == "architecture" for name in NETWORKS)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("task", TASKS)
def test_every_network_runs_on_every_task(network: str, task: str) -> None:
    entry = bind(load(network).submission, short(task))
    settings = entry.settings(2)
    problem = entry.task.problem(0)
    runs = [TrainingRun(problem, 0, trial, setting) for trial, setting in enumerate(settings)]
    for run, result in zip(runs, train(entry.task, runs, entry.make), strict=True):
        assert result.steps >= 2
        model = entry.task.model(run.problem, run.seed)
        model.load_state_dict(result.weights)
        outputs = model.eval()(problem.train.x)
        assert outputs.shape == problem.train.y.shape
        assert torch.isfinite(outputs).all()
        assert any(not torch.equal(result.weights[k], v) for k, v in result.initial.items())


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_takes_images(network: str) -> None:
    architecture = load(network).submission.architecture
    assert architecture is not None
    for shape in ((1, 28, 28), (3, 32, 32)):
        assert architecture(shape, 10)(torch.randn(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_seed_decides_the_initial_weights(network: str) -> None:
    architecture = load(network).submission.architecture
    assert architecture is not None
    task = find_task("spectral_bias")
    before = torch.get_rng_state()
    first, again, other = (build_network(architecture, task, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


class NotANumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float("nan")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] * self.weight


def _raises(shape: tuple[int, ...], outputs: int) -> nn.Module:
    raise ValueError("only images")


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        (_raises, "only images"),
        (lambda shape, outputs: nn.Linear(shape[0], 2), r"shape \(2, 2\), not \(2, 1\)"),
        (lambda shape, outputs: nn.Linear(3, 1), "raised on inputs of shape"),
        (lambda shape, outputs: nn.Identity(), "without parameters"),
        (lambda shape, outputs: "a network", "returned a str"),
        (lambda shape, outputs: NotANumber(), "not finite"),
    ],
)
def test_a_broken_architecture_is_one_clear_sentence(
    architecture: Callable[[tuple[int, ...], int], nn.Module], sentence: str
) -> None:
    entry = bind(Submission(name="broken", architecture=architecture), find_task("univariate_relu"))
    with pytest.raises(InputError, match=sentence):
        entry.task.model(entry.task.problem(0), 0)


class Branching(nn.Module):
    """Which branch is taken depends on the data: `vmap` refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.high(x) if self.low(x).mean() > 0 else self.low(x)


def _batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def _dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))


@pytest.mark.parametrize("make", [Branching, _batch_norm])
def test_what_vmap_refuses_is_trained_as_in_any_script(make: Callable[[], nn.Module]) -> None:
    submission = Submission(name="own", architecture=lambda shape, outputs: make())
    entry = bind(submission, short("univariate_relu"))
    task = replace(entry.task, target=Target(0.0, budget=12, at_end=True))
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.01}) for seed in range(2)]
    for run, result in zip(runs, train(task, runs, entry.make, batched=True), strict=True):
        assert result.stepping == "alone"
        model = task.model(run.problem, run.seed)
        optimizer = torch.optim.Adam(model.parameters())
        train_part = run.problem.train
        for step in range(task.target.budget):
            optimizer.param_groups[0]["lr"] = 0.01 * common_schedule(step / task.target.budget)
            optimizer.zero_grad()
            (task.loss(model(train_part.x), train_part.y) / run.problem.lipschitz).backward()
            optimizer.step()
        for name, expected in model.named_parameters():
            torch.testing.assert_close(result.weights[name], expected.detach(), rtol=1e-9, atol=1e-12)


def test_dropout_does_not_depend_on_the_neighbours() -> None:
    submission = Submission(name="own", architecture=lambda shape, outputs: _dropout())
    entry = bind(submission, short("univariate_relu"))
    runs = [TrainingRun(entry.task.problem(seed), seed, 0, {"lr": 0.01}) for seed in range(2)]
    both = train(entry.task, runs, entry.make, batched=True)
    (alone,) = train(entry.task, runs[1:], entry.make)
    for name, weight in alone.weights.items():
        assert torch.equal(both[1].weights[name], weight)


def test_two_submissions_of_one_name_are_refused() -> None:
    adam, mlp = load("adam").submission, load("mlp").submission
    check_names([adam, mlp])
    with pytest.raises(InputError, match="Two of the submissions are named 'adam'"):
        check_names([adam, mlp, adam])


def test_architectures_are_checked_before_anything_runs() -> None:
    wrong = Submission(name="wrong", architecture=lambda shape, outputs: nn.Linear(shape[0], 2))
    with pytest.raises(InputError, match=r"'wrong' on univariate_relu: .* shape \(2, 2\), not \(2, 1\)"):
        unsuited_tasks(wrong, [find_task("max_margin"), find_task("univariate_relu")])
    mlp = load("mlp").submission
    with pytest.raises(InputError, match="None of the tasks takes architectures"):
        unsuited_tasks(mlp, [find_task("max_margin")])
    with pytest.raises(InputError, match=r"Task 'max_margin' takes no architectures, so 'mlp' cannot enter it\."):
        bind(mlp, find_task("max_margin"))


MIXED = [find_task(name) for name in ("univariate_relu", "max_margin", "mnist5k_mlp", "teacher_student")]
"""Vectors, no architectures, images, vectors."""

VECTORS = ("univariate_relu", "teacher_student")


@pytest.mark.parametrize("name", [*IMAGE_NETWORKS, "mlp", "linear_full", "adam"])
def test_image_networks_skip_vectors_and_the_others_skip_nothing(name: str) -> None:
    unsuited = unsuited_tasks(load(name).submission, MIXED)
    assert [tasks for tasks, _ in unsuited] == [VECTORS] * (name in IMAGE_NETWORKS)


def _convolution(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Says nothing of shapes: the layer raises."""
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


def _asserting(shape: tuple[int, ...], outputs: int) -> nn.Module:
    assert len(shape) == 3, "images only"
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs))


def _vectors(shape: tuple[int, ...], outputs: int) -> nn.Module:
    (inputs,) = shape
    return nn.Linear(inputs, outputs)


def _misspelt(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A mistake for vectors: no inputs explain it."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape) if len(shape) == 3 else widht, outputs))  # noqa: F821


def _no_attribute(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape) if len(shape) == 3 else shape.size, outputs))


def _endless(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return _endless(shape, outputs) if len(shape) == 1 else _asserting(shape, outputs)


def _of_one_width(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Takes vectors, of one length."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1 if len(shape) == 1 else math.prod(shape), outputs))


def _too_many_outputs(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Takes vectors, and makes too much of them."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs + (len(shape) == 1)))


@pytest.mark.parametrize(
    ("architecture", "skipped"),
    [
        (_convolution, [VECTORS]),
        (_asserting, [VECTORS]),
        (_vectors, [("mnist5k_mlp",)]),
        (_misspelt, []),
        (_no_attribute, []),
        (_endless, []),
        (_of_one_width, []),
        (_too_many_outputs, []),
    ],
)
def test_inputs_that_are_not_taken_are_skipped_and_mistakes_are_not(
    architecture: Callable[..., nn.Module], skipped: list[tuple[str, ...]]
) -> None:
    unsuited = unsuited_tasks(Submission(name="own", architecture=architecture), MIXED)
    assert [tasks for tasks, _ in unsuited] == skipped
    assert all("raised" in reason for _, reason in unsuited)


def test_what_is_built_for_no_task_is_refused_with_its_mistake() -> None:
    """Not with what vectors make a network of images raise, which comes first in the list of tasks."""

    def architecture(shape: tuple[int, ...], outputs: int) -> nn.Module:
        channels, *_ = (number for number, _ in zip(shape, range(3), strict=True))
        return nn.Linear(channels * widht, outputs)  # noqa: F821

    with pytest.raises(InputError, match=r"'own' on mnist5k_mlp: .*NameError: name 'widht'"):
        unsuited_tasks(Submission(name="own", architecture=architecture), MIXED)
    with pytest.raises(InputError, match=r"'own' on univariate_relu: .*ValueError: zip"):
        unsuited_tasks(Submission(name="own", architecture=architecture), MIXED[:2])


def test_tasks_of_tokens_are_skipped_by_what_reads_real_numbers_and_the_other_way_round() -> None:
    tasks = [*MIXED, find_task("tiny_lm")]
    ((skipped, reason),) = unsuited_tasks(load("mlp").submission, tasks)
    assert (skipped, "token numbers" in reason) == (("tiny_lm",), True)
    ((skipped, _),) = unsuited_tasks(load("gru").submission, tasks)
    assert skipped == ("univariate_relu", "mnist5k_mlp", "teacher_student")
