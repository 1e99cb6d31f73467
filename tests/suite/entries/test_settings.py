"""A setting that nobody knows is told of: constructors that take any name keep it, and step with their defaults."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import pytest
import pytorch_optimizer
import torch
from click.testing import CliRunner

from leaderboard.cli import main
from suite.engine.plan import open_submissions
from suite.entries.checks import ignored_settings
from suite.entries.loading import builtin_files, load
from suite.errors import InputError
from suite.submission import LogUniform, Submission


class Keeps(torch.optim.SGD):
    """Takes any name, and knows none but `lr`."""

    def __init__(self, params: Any, lr: float = 0.1, **kept: Any) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group.update(kept)


class Inherits(Keeps):
    """Its own constructor names nothing, and its base's names `lr`."""

    def __init__(self, params: Any, **kept: Any) -> None:
        super().__init__(params, **kept)


class TakesOut(Keeps):
    """Takes a name out of those that it is given."""

    def __init__(self, params: Any, **kept: Any) -> None:
        super().__init__(params, lr=kept.pop("rate", 0.3), **kept)


class Refuses(torch.optim.SGD):
    """Knows a name that changes no number, and refuses others: heavyball's way."""

    def __init__(self, params: Any, lr: float = 0.1, **more: Any) -> None:
        if unknown := more.keys() - {"compile_step"}:
            raise TypeError(f"unknown: {unknown}")
        super().__init__(params, lr)


class ByGroup(Keeps):
    """Reads its groups in a late step, and takes no closure."""

    def step(self) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        group["taken"] = group.get("taken", 0) + 1
        if group["taken"] > group.get("warm", 12) - 2:
            group["lr"] = 0.5
        super().step()


def ignored(make: Any, **settings: Any) -> list[str]:
    """The names that are told of."""
    return [note.split("'")[3] for note in ignored_settings(Submission("own", make, space=settings), settings)]


@pytest.mark.parametrize(
    ("make", "settings", "expected"),
    [
        (Keeps, {"learning_rate": 0.5}, ["learning_rate"]),
        (Keeps, {"lr": 0.5, "momentum": 0.9, "decay": 0.0}, ["decay"]),  # momentum is SGD's; it is kept all the same
        (Inherits, {"lr": 0.5}, []),
        (Inherits, {"lr": 0.5, "l_r": 0.5}, ["l_r"]),
        (TakesOut, {"rate": 0.5}, []),
        (TakesOut, {"rte": 0.5}, ["rte"]),
        (Refuses, {"compile_step": True}, []),
        (ByGroup, {"warm": 5}, []),
        (ByGroup, {"wram": 5}, ["wram"]),
        (torch.optim.Adam, {"lr": 0.1}, []),
        (torch.optim.LBFGS, {"lr": 0.1}, []),
        (lambda params, **settings: torch.optim.SGD(params, 0.1), {"lr": 0.5}, ["lr"]),
        (lambda params, **settings: torch.optim.SGD(params, **settings), {"lr": 0.5}, []),
        (pytorch_optimizer.Adan, {"lr": 0.01, "learning_rate": 0.5}, ["learning_rate"]),
        (pytorch_optimizer.AdaHessian, {"learning_rate": 0.5}, ["learning_rate"]),  # differentiates its gradients
        (pytorch_optimizer.SpectralSphere, {"learning_rate": 0.5}, ["learning_rate"]),  # takes matrices alone
        (pytorch_optimizer.ScheduleFreeWrapper, {"learning_rate": 0.5}, ["learning_rate"]),
    ],
)
def test_what_nobody_knows_is_told(make: Any, settings: dict[str, Any], expected: list[str]) -> None:
    assert ignored(make, **settings) == expected


def test_no_parameter_of_a_constructor_is_told() -> None:
    tried = 0
    for name, kind in itertools.islice(vars(pytorch_optimizer).items(), None, None, 10):
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer):
            arguments = inspect.signature(kind).parameters.values()
            settings = {each.name: each.default for each in arguments if each.default is not each.empty}
            plain = {key: value for key, value in settings.items() if isinstance(value, int | float | tuple)}
            assert not ignored(kind, **plain), name
            tried += 1
    assert tried > 10
    for name in builtin_files():
        submission = load(name).submission
        assert not ignored_settings(submission, submission.settings(1)[0]), name


FILE = """
import pytorch_optimizer
from suite import LogUniform, Submission

submission = Submission("adan", pytorch_optimizer.Adan, space={"learning_rate": LogUniform(1e-3, 0.1)})
"""
SENTENCE = (
    "Submission 'adan': 'learning_rate' does nothing. The optimizer takes any name, no constructor of it has this one, "
    "and 12 steps are equal without it; it has lr, betas, weight_decay, "
)


def test_the_command_says_so_before_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "adan.py"
    path.write_text(FILE)
    command = ["run", str(path), "pytorch_optimizer:Lion[wd=0.1]", "--track", "smoke", "--engine", "local:0"]
    result = CliRunner().invoke(main, [*command, "--results", str(tmp_path), "--dry-run"])
    assert result.exit_code == 0, result.output
    first, second = result.stderr.splitlines()[:2]
    assert first.startswith(SENTENCE)
    assert second.startswith("Submission 'Lion[wd=0.1]': 'wd' does nothing.")


def test_an_architecture_has_no_settings() -> None:
    with pytest.raises(InputError, match=r"'mlp\[width=7\]': an architecture has no settings .* given width\.$"):
        load("mlp[width=7]")
    with pytest.raises(InputError, match="an architecture has no settings"):
        open_submissions(["mlp[width=7]"], 1, None, ["univariate_relu"], None)
    with pytest.raises(InputError, match="an architecture has no settings"):
        Submission("own", architecture=lambda shape, outputs: None, space={"width": LogUniform(1, 10)})
