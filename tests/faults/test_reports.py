"""Situations of public bug reports, rebuilt with input of our own; docs/reliability.md lists report and outcome."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, TensorDataset

from leaderboard.cli import main
from suite.errors import InputError
from suite.measures import measure
from suite.models import copy_of, hold, restore
from suite.optimizers import evaluated
from suite.storage import solutions
from suite.storage.log import Log
from suite.task import Loss, Problem, Split, Task
from suite.training import TrainingResult, TrainingRun, common_schedule, train
from tests.leaderboard.helpers import record
from tests.suite.curvature.helpers import classification, drawn, flat_hessian, images
from tests.suite.toys import regression, toy
from tests.suite.training.test_any_optimizer import BUDGET, loop, plain

Make = Callable[..., Any]


def _alone_and_together(make: Make, task: Task | None = None, **settings: Any) -> TrainingResult:
    """The first of five runs, whose result must be the same by itself."""
    task = task or toy(None, BUDGET)
    runs = [TrainingRun(regression(seed), seed, 0, settings) for seed in range(5)]
    (alone,) = train(task, runs[:1], make)
    together = train(task, runs, make, batched=True)[0]
    assert (alone.status, alone.steps, alone.gradient_evaluations) == (
        together.status,
        together.steps,
        together.gradient_evaluations,
    )
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, together.weights[name], rtol=1e-9, atol=1e-11)
    return alone


def _equals_the_loop(make: Callable[[nn.Module], Any], result: TrainingResult, **settings: Any) -> None:
    run = TrainingRun(regression(0), 0, 0, settings)
    for name, weight in loop(run, make, plain, result.gradient_evaluations).items():
        torch.testing.assert_close(result.weights[name], weight, rtol=1e-8, atol=1e-10)


def _of_model(build: Callable[[], nn.Module]) -> Task:
    """The regression with another network."""

    def model(problem: Problem, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build().double()

    return replace(toy(None, BUDGET), model=model)


def _dense(model: nn.Module, data: Split, loss: Loss) -> Tensor:
    """The Hessian in the parameters that are trained, by plain autograd."""
    leaves = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss(model(data.x), data.y), leaves, create_graph=True)
    slope = torch.cat([part.reshape(-1) for part in slopes])
    rows = [torch.autograd.grad(entry, leaves, retain_graph=True, materialize_grads=True) for entry in slope]
    return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


def _measures_its_hessian(model: nn.Module, data: Split, loss: Loss, given: Loss | None = None) -> None:
    expected = _dense(model.eval(), data, loss)
    found = measure(model, data, ["lambda_max", "hessian_trace"], loss=given)
    top = float(torch.linalg.eigvalsh(expected)[-1])
    assert abs(found["lambda_max"] - top) <= found["lambda_max"].error + 1e-6 * abs(top)
    trace = found["hessian_trace"]
    error = 8 * trace.error if trace.kind == "estimate" else 1e-8 * float(expected.diagonal().abs().sum())
    assert abs(trace - float(expected.trace())) <= error


# Optimizers


class Unfreezes(SGD):
    """The bias of the last layer joins at the fourth step, in a group with a step size of its own."""

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        *others, self.last = params
        super().__init__(others, lr=lr)
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        if self.count == 4:
            self.add_param_group({"params": [self.last], "lr": 3 * self.param_groups[0]["lr"]})
        return super().step(closure)


def test_a_group_that_is_added_on_the_way_follows_the_schedule() -> None:
    """pytorch/pytorch#53712, #20997, #79888."""
    result = _alone_and_together(Unfreezes, lr=0.1)
    model = toy(None).model(regression(0), 0)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    data = regression(0).train
    for step in range(result.steps):
        loss = toy(None).loss(functional_call(model, weights, (data.x,)), data.y) / regression(0).lipschitz
        slopes = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                rate = 0.1 if name != "2.bias" else 0.3 * (step >= 3)
                weight -= rate * common_schedule(step / BUDGET) * slope
    for name, weight in weights.items():
        torch.testing.assert_close(result.weights[name], weight.detach(), rtol=1e-9, atol=1e-11)


def _by_dimension(params: Iterable[Tensor], lr: float) -> AdamW:
    """Decays what is a matrix, as training scripts do."""
    params = list(params)
    matrices, others = ([p for p in params if (p.dim() > 1) == is_matrix] for is_matrix in (True, False))
    return AdamW([{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}], lr=lr)


def test_groups_by_dimension_are_those_of_one_network() -> None:
    """EleutherAI/gpt-neox#174, pytorch/ao#2574: a stack of biases looks like a matrix."""
    result = _alone_and_together(_by_dimension, lr=0.05)
    _equals_the_loop(lambda model: _by_dimension(model.parameters(), lr=0.05), result, lr=0.05)


class Asserts(SGD):
    """SAM after its best known implementation: two half steps, and a `step` that insists on a closure."""

    @torch.no_grad()
    def first_step(self) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        for p in parameters:
            self.state[p]["shift"] = 0.05 * p.grad / norm
            p.add_(self.state[p]["shift"])

    @torch.no_grad()
    def second_step(self) -> None:
        for p in [p for group in self.param_groups for p in group["params"]]:
            p.sub_(self.state[p]["shift"])
        super().step()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is not None, "a closure is required, but it was not given"
        self.first_step()
        evaluated(closure)
        self.second_step()


class CallsAtOnce(Asserts):
    """The same after torch's convention: `step` evaluates the closure before anything else."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is not None, "a closure is required, but it was not given"
        evaluated(closure)
        self.first_step()
        evaluated(closure)
        self.second_step()


def test_a_step_may_want_its_gradients_before_the_closure_or_by_it() -> None:
    """davda54/sam#91, #66, kozistr/pytorch_optimizer#64: both conventions are found, and train alike at one cost."""
    first, at_once = (_alone_and_together(make, lr=0.1) for make in (Asserts, CallsAtOnce))
    assert first.gradient_evaluations == at_once.gradient_evaluations == 2 * first.steps == 2 * at_once.steps
    for name, weight in first.weights.items():
        torch.testing.assert_close(weight, at_once.weights[name], rtol=1e-10, atol=1e-12)


class Dropped(nn.Module):
    """A residual layer that half of the training passes leave out: then its weights have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        if not self.training or torch.rand(()) < 0.5:
            hidden = hidden + torch.tanh(self.block(hidden))
        return self.last(hidden)


@pytest.mark.parametrize("make", [Adam, SGD], ids=lambda make: make.__name__)
def test_a_layer_that_some_steps_leave_out(make: Make) -> None:
    """kozistr/pytorch_optimizer#462."""
    result = _alone_and_together(make, _of_model(Dropped), lr=0.05)
    assert result.status not in ("failed", "diverged")


class Scalar(nn.Module):
    """Parameters without axes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.randn(())), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.layer(x)


@pytest.mark.parametrize(("make", "more"), [(SGD, {"momentum": 0.9}), (Adam, {"amsgrad": True})])
def test_parameters_without_axes(make: Make, more: dict[str, Any]) -> None:
    """candle-org/candle#322, pytorch/pytorch#96994."""
    task = _of_model(Scalar)
    result = _alone_and_together(make, task, lr=0.05, **more)
    model, data = task.model(regression(0), 0), regression(0).train
    optimizer = make(model.parameters(), lr=0.05, **more)
    for step in range(result.steps):
        optimizer.zero_grad()
        optimizer.param_groups[0]["lr"] = 0.05 * common_schedule(step / BUDGET)
        (task.loss(model(data.x), data.y) / regression(0).lipschitz).backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(result.weights[name], weight.detach(), rtol=1e-9, atol=1e-11)
    _measures_its_hessian(model, data, mse_loss)


@pytest.mark.parametrize("more", [{"fused": True}, {"foreach": True}, {"amsgrad": True}], ids=str)
def test_flags_of_torch(more: dict[str, Any]) -> None:
    result = _alone_and_together(Adam, lr=0.05, **more)
    _equals_the_loop(lambda model: Adam(model.parameters(), lr=0.05, **more), result, lr=0.05, **more)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torch.optim:AdamW[betas=(0.9, 0.95), eps=1e-08]", None),
        ("torch.optim:AdamW[wd=0.1]", "wd"),
        ("torch.optim:AdamW[betas=0.9,0.95]", "0.95"),
    ],
)
def test_settings_on_the_command_line(tmp_path: Path, name: str, said: str | None) -> None:
    """bmaltais/kohya_ss#2811, huggingface/transformers#18946: written as in Python they arrive, else a sentence."""
    where = ["--task", "min_norm_regression", "--track", "smoke", "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(main, ["run", name, *where, "--trials", "1", "--seeds", "1", "--engine", "local:0"])
    assert (result.exit_code, "Traceback" in result.output) == (0 if said is None else 2, False), result.output
    if said is not None:
        assert result.output.startswith("Error: ")
        assert said in result.output


# Curvature


class SmallResNet(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.block, self.other = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.pool, self.last = pool, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.norm(self.first(x)))
        hidden = functional.relu(hidden + self.other(self.block(hidden)))
        return self.last(self.pool(hidden).flatten(1))


def test_curvature_of_a_residual_network_that_was_training() -> None:
    """pytorch/functorch#986, f-dangel/backpack#322, #239: batch norm that tracks statistics, adaptive pooling."""
    model, data = drawn(SmallResNet(nn.AdaptiveAvgPool2d(1))).train(), images(40)
    with torch.no_grad():
        model(data.x)
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = measure(model, data, ["hessian_trace"])
    assert model.training
    assert found["hessian_trace"].kind == "exact"
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in model.named_buffers())
    _measures_its_hessian(model, data, cross_entropy)


def test_batch_norm_without_running_statistics_is_refused() -> None:
    """pytorch/functorch#867: a sample's outputs depend on its batch."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(),
                          nn.Linear(48, 3)).double()  # fmt: skip
    with pytest.raises(InputError, match="change with the others in its batch"):
        measure(model, images(12), ["gradient_noise"])


class Strided(nn.Module):
    """Feature maps are cut and thinned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x))[:, :, 1:, 1:][:, :, ::3, ::3].flatten(1))


def test_gradients_of_samples_through_slices() -> None:
    """pytorch/functorch#105."""
    model, data = drawn(Strided()), images(12)
    rows = []
    for x, y in zip(data.x, data.y, strict=True):
        slopes = torch.autograd.grad(cross_entropy(model(x[None]), y[None]), list(model.parameters()))
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    expected = float(torch.stack(rows).var(0, correction=0).sum())
    assert measure(model, data, ["gradient_noise"])["gradient_noise"] == pytest.approx(expected, rel=1e-9)
    _measures_its_hessian(model, data, cross_entropy)


class Transposes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.last = nn.Parameter(torch.randn(6, 6) / 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.matrix @ x.T).T.square())


class Determinant(nn.Module):
    """The log determinant of a matrix that depends on the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 9), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        matrices = self.first(x).view(-1, 3, 3) + 4 * torch.eye(3, dtype=x.dtype)
        return self.last(torch.linalg.slogdet(matrices)[1][:, None])


@pytest.mark.parametrize("build", [Transposes, Determinant], ids=lambda build: build.__name__)
def test_functions_that_batching_has_mistaken(build: Callable[[], nn.Module]) -> None:
    """pytorch/functorch#597 (a product with a transposed batch), #977 (`slogdet`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build().double()
    _measures_its_hessian(model, classification(), cross_entropy)


def test_probabilities_and_targets_of_one_column() -> None:
    """aai-institute/pyDVL#441: a sigmoid in the network, and the binary cross-entropy of probabilities."""
    data = classification()
    targets = Split(data.x, (data.y == 0).double()[:, None])
    model = drawn(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid()))
    for loss in (functional.binary_cross_entropy, nn.BCELoss()):
        _measures_its_hessian(model, targets, loss, loss)
    with pytest.raises(InputError, match="differ in shape"):
        measure(model, Split(data.x, targets.y[:, 0]), ["lambda_max"])  # [n, 1] against [n] would be [n, n]


def test_one_layer_at_a_time() -> None:
    """amirgholami/PyHessian#10: the other layers are frozen."""
    model, data = drawn(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))), classification()
    whole, sizes = flat_hessian(model, data, cross_entropy), [sum(p.numel() for p in m.parameters()) for m in model]
    for number in (0, 2):
        begin = sum(sizes[:number])
        block = whole[begin : begin + sizes[number], begin : begin + sizes[number]]
        for other, layer in enumerate(model):
            layer.requires_grad_(other == number)
        found = measure(model, data, ["lambda_max", "hessian_trace"])
        assert found["lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-5)
        assert found["hessian_trace"] == pytest.approx(float(block.trace()), rel=1e-9)


# Networks and their files


class OwnNorm(nn.Module):
    """Weight normalization of one's own: the weight is an attribute with a graph from the constructor on."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.g, self.bias = (nn.Parameter(torch.randn(shape)) for shape in ((3, 6), (3, 1), (3,)))
        self.reset()

    def reset(self) -> None:
        self.weight = self.g * self.v / self.v.norm(dim=1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        self.reset()
        return functional.linear(x, self.weight, self.bias)


def test_a_weight_that_is_computed_in_the_constructor() -> None:
    """locuslab/deq#23, lucidrains/byol-pytorch#95: only leaves can be copied by `copy.deepcopy`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, data = OwnNorm().double(), classification()
    assert torch.equal(copy_of(model)(data.x), model(data.x))
    assert "attribute:weight" not in hold(model)
    _measures_its_hessian(model, data, cross_entropy)
    _alone_and_together(SGD, _of_model(lambda: nn.Sequential(OwnNorm(), nn.Linear(3, 2))), lr=0.05)


def _strided(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
        if name == "channels last":
            return model.to(memory_format=torch.channels_last)
        model[3].weight = nn.Parameter(torch.randn(64, 3).T if name == "transposed" else torch.randn(9, 64)[::3])
        return model


@pytest.mark.parametrize("layout", ["channels last", "transposed", "rows of a larger tensor"])
def test_weights_that_are_not_contiguous(tmp_path: Path, layout: str) -> None:
    """safetensors#469, #95, Comfy-Org/ComfyUI#3923, pytorch/pytorch#98906: kept, put back and measured."""
    model, other = _strided(layout), _strided(layout)
    assert not all(p.is_contiguous() for p in model.parameters())
    state = hold(model)
    solutions.save(tmp_path, state)
    stored = solutions.load(tmp_path, solutions.solution_hash(state))
    assert stored is not None
    assert sum(tensor.untyped_storage().nbytes() for tensor in state.values()) == 4 * sum(
        p.numel() for p in model.parameters()
    )
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    restore(other, stored)
    x = images(12).x.float()
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)
    data = Split(x, model(x).argmax(1))
    contiguous, names = _strided(layout), ["lambda_max", "hessian_trace", "adaptive_trace"]
    for parameter in contiguous.parameters():
        parameter.data = parameter.data.contiguous()
    found = measure(model, data, names)
    for name, value in measure(contiguous, data, names).items():
        assert found[name] == pytest.approx(value, rel=1e-3)


class Locked(nn.Module):
    """It guards a cache by a lock, as code for servers does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lock = nn.Linear(6, 3), threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.layer(x)


def test_a_network_with_what_cannot_be_pickled() -> None:
    """Vegeta2020/SE-SSD#43: `copy.deepcopy` refuses the lock."""
    _measures_its_hessian(drawn(Locked()), classification(), cross_entropy)
    _alone_and_together(Adam, _of_model(lambda: nn.Sequential(Locked(), nn.Linear(3, 2))), lr=0.05)


# Data


def test_reading_a_loader_leaves_the_generators_alone() -> None:
    """pytorch/pytorch#11062, #36998, #122697: an iterator draws from the global generator, shuffled or not."""
    data = classification()
    model = drawn(nn.Linear(6, 3))
    expected = measure(model, data, ["hessian_trace"])["hessian_trace"]
    for shuffle in (False, True):
        loader = DataLoader(TensorDataset(data.x, data.y), batch_size=7, shuffle=shuffle)
        state = torch.get_rng_state()
        assert measure(model, loader, ["hessian_trace"])["hessian_trace"] == pytest.approx(expected, rel=1e-9)
        assert torch.equal(torch.get_rng_state(), state)


# Tables


def test_the_order_of_records_and_missing_values_move_no_row(tmp_path: Path) -> None:
    """openvax/topiary#191, kubeedge/ianvs#498: sorting by a column with gaps, and what JSON has for them."""
    tasks = ("min_norm_regression", "sparse_regression")
    records = [
        record(name, task, seed, value, track="smoke")
        for name, values in {"a": (1.2, 1.5), "b": (1.1,), "c": (1.6, 1.1), "d": (1.9,)}.items()
        for task, value in zip(tasks, values, strict=False)
        for seed in range(3)
    ]
    outputs = set()
    for seed in range(4):
        folder = tmp_path / str(seed)
        log = Log(folder / "smoke.jsonl")
        for each in random.Random(seed).sample(records, len(records)):
            log.append(each)
        for sort in ("--sort=norm", "--sort=-norm"):
            found = CliRunner().invoke(
                main, ["table", "--results", str(folder), "--track", "smoke", "--format", "json", sort]
            )
            assert found.exit_code == 0, found.output
            rows = json.loads(found.output, parse_constant=lambda constant: pytest.fail(constant))
            outputs.add((sort, json.dumps(rows)))
    assert len(outputs) == 2
