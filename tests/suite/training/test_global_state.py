"""What foreign code makes of the settings of torch and numpy ends with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from suite.entries.checks import check_settings, unsuited_tasks
from suite.errors import InputError
from suite.measures import measure
from suite.optimizers import evaluated
from suite.submission import Submission
from suite.tasks import find_task
from suite.training import TrainingRun, train
from tests.suite.toys import regression, toy

CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "dtype": (
        torch.get_default_dtype,
        lambda: torch.set_default_dtype(torch.float16),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "device": (
        lambda: torch.empty(0).device,
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_default_device(None),
    ),
    "autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda: torch.set_autocast_enabled("cpu", True),
        lambda: torch.set_autocast_enabled("cpu", False),
    ),
    "subnormal numbers": (
        lambda: float(torch.tensor(1e-310, dtype=torch.float64) * 1),
        lambda: torch.set_flush_denormal(True),
        lambda: torch.set_flush_denormal(False),
    ),
    "precision": (
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.set_float32_matmul_precision("highest"),
    ),
    "backends": (
        lambda: (torch.backends.mkldnn.enabled, torch.backends.cudnn.benchmark),
        lambda: (setattr(torch.backends.mkldnn, "enabled", False), setattr(torch.backends.cudnn, "benchmark", True)),
        lambda: (setattr(torch.backends.mkldnn, "enabled", True), setattr(torch.backends.cudnn, "benchmark", False)),
    ),
    "anomalies": (
        torch.is_anomaly_enabled,
        lambda: torch.autograd.set_detect_anomaly(True),
        lambda: torch.autograd.set_detect_anomaly(False),
    ),
    "errors of numpy": (np.geterr, lambda: np.seterr(under="raise"), lambda: np.seterr(under="ignore")),
}
"""What a script may set: how it is read, what changes it, and what puts it back after this test."""


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    """Something that changes a setting, which must be as before at the end of the test."""
    read, change, undo = CHANGES[request.param]
    before = read()
    yield change
    after = read()
    undo()
    assert after == before


class Changes(SGD):
    """Gradient descent that calls `change` in its constructor, or before its step `at`."""

    def __init__(self, params: Iterable[Tensor], lr: float, change: Callable[[], object], at: int, ends: bool) -> None:
        super().__init__(params, lr=lr)
        self.change, self.at, self.ends, self.count = change, at, ends, 0
        self.now()

    def now(self) -> None:
        if self.count == self.at:
            self.change()
            if self.ends:
                raise RuntimeError("enough")

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        self.now()
        return super().step(closure)


@pytest.mark.filterwarnings("ignore:Anomaly")
@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "raises"])
@pytest.mark.parametrize("at", [0, 1, 15])
def test_training_leaves_the_settings_as_they_were(change: Callable[[], object], at: int, ends: bool) -> None:
    """In the constructor, where the step is tried out, and later; for one run and for two."""
    more = {"lr": 0.1, "change": change, "at": at, "ends": ends}
    for count in (1, 2):
        runs = [TrainingRun(regression(seed), seed, 0, more) for seed in range(count)]
        try:
            train(toy(None, 20), runs, Changes, batched=True)
        except Exception as error:
            assert ends or "meta" in str(error) or "Half" in str(error)  # noqa: PT017 (it may raise or not)


def test_the_settings_are_those_at_the_call_and_not_at_the_first_one() -> None:
    run = TrainingRun(regression(0), 0, 0, {"lr": 0.1})
    with torch.no_grad():
        train(toy(None, 20), [run], SGD)
        assert not torch.is_grad_enabled()
    train(toy(None, 20), [run], SGD)
    assert torch.is_grad_enabled()


class Asks(SGD):
    """It insists on a closure."""

    refused = 0

    def refuse(self) -> None:
        pass

    def step(self, closure: Any = None) -> Any:
        if closure is None:
            self.refuse()
            raise TypeError("a closure, please")
        loss = evaluated(closure)
        scale = float(torch.tensor(1.1)) / (1 + type(self).refused)
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.sub_(p.grad, alpha=scale * self.param_groups[0]["lr"])
        return loss


class LeavesTraces(Asks):
    """Half precision and a count are left behind where it refuses."""

    def refuse(self) -> None:
        torch.set_default_dtype(torch.float16)
        LeavesTraces.refused += 1


def test_an_attempt_at_stepping_leaves_nothing_to_the_next() -> None:
    runs = [TrainingRun(regression(seed), seed, 0, {"lr": 0.1}) for seed in range(3)]
    found, expected = (train(toy(None, 20), runs, make, batched=True) for make in (LeavesTraces, Asks))
    assert found[0].stepping == expected[0].stepping == "rendezvous"
    for name, weight in expected[0].weights.items():
        assert torch.equal(found[0].weights[name], weight)


def test_checks_of_a_submission_leave_the_settings_as_they_were(change: Callable[[], object]) -> None:
    def optimizer(params: Iterable[Tensor], lr: float) -> SGD:
        return Changes(params, lr, change, at=0, ends=False)

    check_settings(Submission(name="messy", optimizer=optimizer, space={"lr": 0.1}), 1)

    def architecture(inputs: int, outputs: int) -> nn.Module:
        change()
        raise RuntimeError("enough")

    with pytest.raises(InputError):
        unsuited_tasks(Submission(name="messy", architecture=architecture), [find_task("univariate_relu")])


class Messy(nn.Linear):
    """A layer that calls `change` whenever it runs."""

    change: Callable[[], object]

    def forward(self, x: Tensor) -> Tensor:
        self.change()
        return super().forward(x)


def test_measuring_leaves_the_settings_as_they_were(change: Callable[[], object]) -> None:
    layer = Messy(6, 2)
    layer.change = change
    data = regression(0).train
    try:
        measure(layer, (data.x.float(), data.y.float()), ["l2_norm"])
    except Exception as error:  # on "meta" there are no numbers
        assert not isinstance(error, AssertionError)  # noqa: PT017
