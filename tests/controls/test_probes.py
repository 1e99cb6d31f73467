"""Controls of the probes of architectures: a network of each kind that empties a measure, and honest ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from leaderboard.analysis.scoring import axis_score
from suite.entries.entry import build_network
from suite.entries.loading import builtin_files, load
from suite.errors import InputError
from suite.measures import measure, measures
from suite.sandbox.answers import decode, encode
from suite.sandbox.export import describe
from suite.sandbox.network import Network
from suite.sandbox.rebuild import rebuild
from suite.seeding import torch_stream
from suite.signature import reads_tokens
from suite.task import Axis, Solution, Target
from suite.tasks import find_task
from suite.trials import resolved
from suite.trials.evaluate import run_unit
from suite.trials.probes import FROM_INPUT_GRADIENTS, FROM_WEIGHT_NOISE, undefined
from suite.trials.unit import Trial, Unit

IMAGE = ("adaptive_sharpness", "input_margin", "test_error")


class _Net(nn.Module):
    """A small network, whose inputs and weights subclasses change on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 32), nn.Linear(32, 3)

    def inputs(self, x: Tensor) -> Tensor:
        return x

    def weights(self, w: Tensor) -> Tensor:
        return w

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.linear(self.inputs(x), self.weights(self.first.weight), self.first.bias).relu()
        return functional.linear(hidden, self.weights(self.second.weight), self.second.bias)


class RoundedInputs(_Net):
    def inputs(self, x: Tensor) -> Tensor:
        return (x * 1024).round() / 1024


class FaintInputs(_Net):
    """Its gradient in the inputs is not zero, but a millionth of the true one."""

    def inputs(self, x: Tensor) -> Tensor:
        return x.detach() + 1e-6 * (x - x.detach())


class BinaryWeights(_Net):
    def weights(self, w: Tensor) -> Tensor:
        return w.sign() + w - w.detach()


class Sawtooth(_Net):
    """Binary weights whose gradient is true in the small: a sawtooth of a millionth lies over them."""

    def weights(self, w: Tensor) -> Tensor:
        return w.sign() + w - (w * 2**20).round() / 2**20


class Quantised(_Net):
    """Seven bits with a straight-through gradient: many weights together follow a coarse move as if there were none."""

    def weights(self, w: Tensor) -> Tensor:
        return w + ((w * 64).round() / 64 - w).detach()


class TwoFaced(_Net):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out if self.training else out.sign()


class Averaged(_Net):
    """Evaluates with other weights than it trains, as averages do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(32, 6))

    def weights(self, w: Tensor) -> Tensor:
        return w if self.training or w.shape != self.average.shape else 0.5 * w + self.average


class Dropping(_Net):
    """What torch does differently in training is honest, as a layer and as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.3), nn.BatchNorm1d(32)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.first(x)).relu()
        hidden = functional.dropout(self.drop(hidden), 0.2, self.training)
        return self.second(hidden)


def probe(network: nn.Module, dtype: torch.dtype) -> dict[str, str]:
    x = torch.randn(40, 6, generator=torch_stream("probes", "x"), dtype=torch.float64).to(dtype)
    return undefined(network.to(dtype), x, IMAGE, seed=0)


KINDS: list[tuple[Callable[[], nn.Module], set[str], str]] = [
    (RoundedInputs, {"input_margin"}, "Its gradient in the inputs is not that of its outputs"),
    (FaintInputs, {"input_margin"}, "Its gradient in the inputs is not that of its outputs"),
    (BinaryWeights, {"adaptive_sharpness"}, "Its gradient in the weights is not that of its outputs"),
    (Sawtooth, {"adaptive_sharpness"}, "Its gradient in the weights is not that of its outputs"),
    (Quantised, {"adaptive_sharpness"}, "Its gradient in the weights is not that of its outputs"),
    (TwoFaced, set(IMAGE), "Its outputs in training and in evaluation differ"),
    (Averaged, set(IMAGE), "Its outputs in training and in evaluation differ"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("make", "names", "reason"), KINDS)
def test_every_kind_is_found_and_empties_its_measures(
    make: Callable[[], nn.Module], names: set[str], reason: str, dtype: torch.dtype
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = make()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = probe(network, dtype)
    assert set(found) == names
    assert all(text.startswith(reason) for text in found.values())
    assert all(torch.equal(tensor, before[name].to(dtype)) for name, tensor in network.state_dict().items())


LEAVE = (RoundedInputs, Sawtooth)
"""The kinds that can be said in the vocabulary of the sandbox, which has no `detach` and one answer for both modes."""


@pytest.mark.parametrize(("make", "names", "reason"), KINDS)
def test_a_network_that_leaves_the_sandbox_is_probed_as_it_is(
    make: Callable[[], nn.Module], names: set[str], reason: str
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = make()
    if make not in LEAVE:
        with pytest.raises(InputError, match=r"detach|the number of samples, the mode, or chance"):
            describe(network, (6,))
        return
    answer, tensors = decode(encode(*describe(network, (6,))), Network)
    assert isinstance(answer, Network)
    found = probe(rebuild(answer, tensors, (6,)), torch.float64)
    assert set(found) == names
    assert all(text.startswith(reason) for text in found.values())


@pytest.mark.parametrize("make", [_Net, Dropping])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_honest_networks_have_all_measures(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert probe(make(), dtype) == {}


ARCHITECTURES = sorted(name for name, path in builtin_files().items() if path.parent.name == "architectures")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_built_in_architectures_have_all_measures(name: str) -> None:
    architecture, tried = load(name).submission.architecture, 0
    assert architecture is not None
    for task in map(find_task, ("univariate_relu", "linear_geometry", "teacher_student")):
        try:
            network = build_network(architecture, task, seed=0)
        except InputError:  # it is for other inputs
            continue
        tried += 1
        assert undefined(network, task.problem(0).train.x, IMAGE, seed=0) == {}, task.name
    language = find_task("tiny_lm")
    if reads_tokens(architecture):
        tried += 1
        scored = [axis.measure for axis in language.axes]
        assert undefined(build_network(architecture, language, 0), language.problem(0).train.x, scored, seed=0) == {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network, x = architecture((1, 28, 28), 10), torch.randn(8, 1, 28, 28)
            network(x)
        except Exception:
            assert tried
            return
    assert undefined(network, x, IMAGE, seed=0) == {}


TWO_FACED = '''"""A little louder in evaluation than in training."""
import torch
from torch import nn
from suite import Submission

class TwoFaced(nn.Module):
    def __init__(self, size, outputs):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, outputs))
    def forward(self, x):
        return self.inner(x) * (1.0 if self.training else 1.0 + 4e-4)

submission = Submission(name="two_faced", architecture=lambda shape, outputs: TwoFaced(shape[0], outputs))
'''


def test_a_record_says_what_is_not_defined_and_it_scores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "two_faced.py"
    path.write_text(TWO_FACED)
    unit = Unit(str(path), "univariate_relu", "smoke", "score", (Trial(0, {"lr": 0.01}),), (0,))
    record: dict[str, Any] = run_unit(unit)[0]
    assert (record["status"], record["converged"]) == ("converged", True), record["reason"]
    axis = record["axes"]["norm"]
    assert record["measures"][axis["measure"]] is None
    assert "in training and in evaluation differ" in record["undefined"][axis["measure"]]
    assert axis_score(math.nan, axis["score_0"], axis["score_1"], axis["scale"] == "log", math.nan, True) == 0.0


CUMULATED = '''"""Linear maps around a cumulated sum, whose symmetries nobody has written down."""
import torch
from torch import nn
from suite import Submission

class Cumulated(nn.Module):
    def __init__(self, size, outputs):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, outputs)
        self.mix = nn.Linear(64, 64)
    def forward(self, x):
        return self.last(self.mix(self.act(self.first(x))).cumsum(1))

submission = Submission(name="cumulated", architecture=lambda shape, outputs: Cumulated(shape[0], outputs))
'''


def flatness(solution: Solution) -> dict[str, float]:
    return dict(measure(solution.model, solution.problem.train, ["adaptive_sharpness"]))


@pytest.mark.parametrize(("source", "scores"), [(CUMULATED, False), (CUMULATED.replace(".cumsum(1)", ""), True)])
def test_flatness_that_is_not_proved_to_keep_still_scores_nothing(
    source: str, scores: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = (Axis("flatness", "adaptive_sharpness", "log", 1.0, 0.01),)
    task = replace(find_task("univariate_relu"), axes=axes, measure=flatness, oracle=None, target=Target(0.3, 300))
    monkeypatch.setattr(resolved, "open_task", lambda _: task)
    monkeypatch.setattr(resolved, "_problem", resolved._problem.__wrapped__)
    path = tmp_path / "cumulated.py"
    path.write_text(source)
    unit = Unit(str(path), "univariate_relu", "smoke", "score", (Trial(0, {"lr": 0.01}),), (0,))
    record: dict[str, Any] = run_unit(unit)[0]
    assert (record["status"], record["converged"]) == ("converged", True), record["reason"]
    assert (record["measures"]["adaptive_sharpness"] is not None) == scores
    why = record["undefined"].get("adaptive_sharpness", "")
    assert why.startswith("Not canonical:") != scores
    assert not why.endswith(".")


def test_what_a_wrong_derivative_empties_are_measures() -> None:
    assert measures().keys() >= FROM_INPUT_GRADIENTS | FROM_WEIGHT_NOISE
