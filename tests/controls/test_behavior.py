"""Whether a method is implicit is measured: whoever does something beside following gradients is seen to do it.

Every optimizer here is clean by its name and its keywords; what it does is in its code alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import load as load_results
from leaderboard.tables.views import ranking
from suite.behavior import HARMLESS, Behavior, Probe, explicit, regularizes
from suite.entries.loading import builtin_files, load
from suite.storage.log import Log
from suite.submission import Submission
from suite.tasks import find_task
from suite.training.behavior_probe import probe_behavior
from suite.training.run import TrainingRun
from suite.training.step_protocol import training_setup
from suite.trials import Trial, Unit, run_unit

SETTINGS = {"lr": 0.02}


def probe(
    make: Callable[..., Any],
    settings: Mapping[str, Any] = SETTINGS,
    task: str = "sparse_regression",
    seed: int = 0,
    submission: Submission | None = None,
) -> Probe:
    """What the suite sees `make` do in a short run on `task`; `seed` is of the probe's own draws."""
    opened = find_task(task)
    opened = replace(opened, target=replace(opened.target, budget=300))
    streams = {"order": 0, "label noise": 0, "optimizer": seed}
    run = TrainingRun(opened.problem(0), 0, 0, settings, streams)
    schedule, loss = (None, None) if submission is None else (submission.schedule, submission.loss)
    found = probe_behavior(training_setup(opened, run, make, "cpu", schedule, loss), run)
    assert found is not None
    return found


def each(optimizer: Optimizer) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def editing(change: Callable[[Any, int], None], base: Any = SGD, **fixed: Any) -> Callable[..., Optimizer]:
    """`base`, which calls ``change(weights, step)`` before every step."""

    class Follower(base):  # type: ignore[misc]
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr=lr, **fixed)
            self.count = 0

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for p in each(self):
                change(p, self.count)
            self.count += 1
            super().step()

    return Follower


def at(step: int, factor: float) -> Callable[[Any, int], None]:
    return lambda p, count: p.mul_(factor) if count == step else None


class ConstructorEditor(SGD):
    """Edits the weights when it is built."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr, momentum=0.9, nesterov=True)
        with torch.no_grad():
            for p in each(self):
                p.mul_(0.4)


class EditOnGradient(SGD):
    """Edits the start, but not where the gradient is zero."""

    edited = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        if not self.edited and any(bool(p.grad.any()) for p in each(self)):
            self.edited = True
            for p in each(self):
                p.mul_(0.4)
        super().step()


class ToStart(SGD):
    """Decays towards where it began."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in each(self):
            self.state[p].setdefault("first", p.clone())
            p.lerp_(self.state[p]["first"], 0.01)
        super().step()


class DrawnRate(SGD):
    """Draws its step size when it is built."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr * float(torch.rand(()) + 0.5))


class PythonRate(SGD):
    """The same from a generator that the suite does not seed."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr * (random.SystemRandom().random() + 0.5))


class HashedRate(SGD):
    """Draws its step size from the last digits of the first gradient."""

    drawn = False

    def step(self, closure: Any = None) -> None:
        if not self.drawn and bool(each(self)[0].grad.any()):
            self.drawn = True
            self.param_groups[0]["lr"] *= 0.5 + hash(float(each(self)[0].grad.flatten()[0])) % 1000 / 1000
        super().step()


class Perturbed(SGD):
    """SAM by another name."""

    @torch.no_grad()
    def step(self, closure: Any) -> None:  # type: ignore[override]
        with torch.enable_grad():
            closure()
        before = [p.clone() for p in each(self)]
        for p in each(self):
            p.add_(0.1 * p.grad / (p.grad.norm() + 1e-12))
        with torch.enable_grad():
            closure()
        for p, value in zip(each(self), before, strict=True):
            p.copy_(value)
        super().step()


class LayerWise(SGD):
    """Steps in proportion to the weights' norm, as LAMB and LARS do."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in each(self):
            p.sub_(self.param_groups[0]["lr"] * p.norm() * p.grad / (p.grad.norm() + 1e-12))


def project(p: Any, count: int) -> None:
    if p.norm() > 0.1:
        p.mul_(0.1 / p.norm())


def quantize(p: Any, count: int) -> None:
    p.copy_((p * 64).round() / 64)


class FloodsByGradient(SGD):
    """Holds the loss above a level, so that it may go on for longer: where gradients are small it goes uphill."""

    first = 0.0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        size = math.sqrt(sum(float(p.grad.square().sum()) for p in each(self)))
        self.first = self.first or size
        if size < 0.1 * self.first:
            for p in each(self):
                p.grad.neg_()
        super().step()


class FloodsByLoss(SGD):
    """The same, by the loss that closures tell (Ishida et al. 2020)."""

    @torch.no_grad()
    def step(self, closure: Any) -> None:  # type: ignore[override]
        with torch.enable_grad():
            low = float(closure()) < 1e-3
        for p in each(self) if low else ():
            p.grad.neg_()
        super().step()


class FloodsLate(FloodsByGradient):
    """The same from a step on which most paths reach."""

    count = 0

    def step(self, closure: Any = None) -> None:
        self.count += 1
        super().step() if self.count > 20 else SGD.step(self)


class Optimistic(SGD):
    """Steps along 2 g - the g before (Daskalakis et al. 2018): uphill after a fall of the gradient, and only then."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in each(self):
            before = self.state[p].get("before", p.grad)
            self.state[p]["before"] = p.grad.clone()
            p.sub_(self.param_groups[0]["lr"] * (2 * p.grad - before))


REGULARIZERS: dict[str, tuple[Callable[..., Any], set[Behavior]]] = {
    "edits the start": (editing(at(0, 0.4), momentum=0.9, nesterov=True), {Behavior.EDITS_START}),
    "edits it in the constructor": (ConstructorEditor, {Behavior.EDITS_START}),
    "edits it unless the gradient is zero": (EditOnGradient, {Behavior.EDITS_START}),
    "edits later": (editing(at(9, 0.4)), {Behavior.DEPENDS, Behavior.DECAYS}),
    "erases the start": (editing(lambda p, count: p.zero_() if count == 0 else None), {Behavior.EDITS_START}),
    "draws a start of its own": (
        editing(lambda p, count: p.normal_() if count == 0 else None), {Behavior.EDITS_START, Behavior.NOISE}
    ),
    "decays under another name": (editing(lambda p, count: p.mul_(1 - 1e-4)), {Behavior.DECAYS}),
    "AdamW's decay hidden in a closure": (lambda params, lr: AdamW(params, lr, weight_decay=0.1), {Behavior.DECAYS}),
    "an l2 penalty in Adam": (lambda params, lr: Adam(params, lr, weight_decay=0.1), {Behavior.DECAYS}),
    "soft thresholds": (
        editing(lambda p, count: p.sub_(p.clamp(-1e-3, 1e-3))), {Behavior.DECAYS, Behavior.DEPENDS}
    ),
    "decays to its start": (ToStart, {Behavior.RETURNS}),
    "a ball": (editing(project), {Behavior.DEPENDS, Behavior.EDITS_START, Behavior.DECAYS}),
    "rounded weights": (editing(quantize), {Behavior.DEPENDS, Behavior.UNPROMPTED, Behavior.EDITS_START}),
    "noise": (editing(lambda p, count: p.add_(1e-2 * torch.randn_like(p))), {Behavior.NOISE}),
    "a drift": (editing(lambda p, count: p.add_(1e-2)), {Behavior.UNPROMPTED}),
    "a drawn step size": (DrawnRate, {Behavior.NOISE}),
    "a step size drawn elsewhere": (PythonRate, {Behavior.NOISE}),
    "a perturbed gradient": (Perturbed, {Behavior.BESIDE_PATH}),
    "flooding by the gradient": (FloodsByGradient, {Behavior.ASCENDS}),
    "flooding by the loss": (FloodsByLoss, {Behavior.ASCENDS}),
    "flooding later": (FloodsLate, {Behavior.ASCENDS}),
}  # fmt: skip


@pytest.mark.parametrize("name", REGULARIZERS)
def test_who_regularizes_is_seen(name: str) -> None:
    make, expected = REGULARIZERS[name]
    for task in ("sparse_regression", "teacher_student"):
        seen = set(probe(make, task=task).behaviors)
        assert seen & expected, (task, seen)
        assert regularizes(seen)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (SGD, set()),
        (lambda params, lr: SGD(params, lr, momentum=0.9, nesterov=True), set()),
        (Adam, set()),
        (lambda params, lr: AdamW(params, lr, weight_decay=0.0), set()),
        (lambda params, lr: LBFGS(params, lr, max_iter=4, line_search_fn="strong_wolfe"), set()),
        (Optimistic, set()),
        (lambda params, lr: SGD(params, lr, momentum=0.99), set()),
        (LayerWise, {Behavior.SCALES}),
        (HashedRate, {Behavior.AMPLIFIES}),
    ],
)
def test_who_follows_gradients_is_not_accused(make: Callable[..., Any], expected: set[Behavior]) -> None:
    for task in ("sparse_regression", "teacher_student"):
        assert set(probe(make, task=task).behaviors) == expected
    assert not regularizes(expected)


MEASURED = {
    "adamw": {Behavior.DECAYS},
    "sam": {Behavior.BESIDE_PATH},
    "asam": {Behavior.BESIDE_PATH, Behavior.DEPENDS},
    "kron": {Behavior.NOISE},
}


@pytest.mark.parametrize("name", [name for name, path in builtin_files().items() if path.parent.name == "optimizers"])
def test_the_built_in_optimizers_are_what_they_say(name: str) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    settings = submission.settings(4)
    seen = probe(submission.optimizer, settings[2 % len(settings)], submission=submission).behaviors
    assert set(seen) - HARMLESS == MEASURED.get(name, set())
    assert submission.explicit == regularizes(seen)


def test_a_late_edit_is_met_as_often_as_stated() -> None:
    """The path is longer than s steps with the probability (16 / s) ** 0.8."""
    probes = [probe(editing(at(100, 0.5)), task="min_norm_regression", seed=seed) for seed in range(20)]
    caught = [regularizes(found.behaviors) for found in probes]
    assert caught == [found.steps > 100 for found in probes]
    expected = 20 * (16 / 101) ** 0.8
    assert abs(sum(caught) - expected) < 3 * math.sqrt(expected)


def test_names_and_declarations_count_only_where_nothing_was_measured() -> None:
    assert explicit(True, []) == (True, ())
    assert explicit(True, [None]) == (True, ())
    assert explicit(True, [None, []]) == (False, ())
    assert explicit(False, [[], [Behavior.DECAYS], None]) == (True, (Behavior.DECAYS,))
    assert explicit(False, [[Behavior.SCALES], [Behavior.REMEMBERS]])[0] is False
    assert explicit(False, [["a word of a newer version"]])[0] is True


SOURCE = """
import torch
from suite import Submission

class Plain(torch.optim.AdamW):
    def __init__(self, params, lr, memory):
        super().__init__(params, lr=lr, weight_decay=1 - memory)

submission = Submission(name="plain", optimizer=Plain, space={"lr": 0.01, "memory": 0.5}, explicit=%s)
"""


def test_records_carry_the_probe_and_tables_read_it(tmp_path: Path) -> None:
    hidden, honest = tmp_path / "plain.py", tmp_path / "honest.py"
    hidden.write_text(SOURCE % False)
    honest.write_text(SOURCE.replace("1 - memory", "0.0").replace('"plain"', '"honest"') % True)
    log = Log(tmp_path / "log.jsonl")
    for path in (hidden, honest):
        trials = (Trial(0, {"lr": 0.01, "memory": 0.5}),)
        records = run_unit(Unit(str(path), "min_norm_regression", "smoke", "score", trials, (0, 1)))
        assert [record["probe"] is None for record in records] == [False, True]
        assert {record["explicit"] for record in records} == {path == honest}
        log.append(*records)
    results = load_results([tmp_path / "log.jsonl"])
    measured = {record["submission"]: record["explicit"] for record in results.records}
    assert measured == {"plain": True, "honest": False}
    assert results.behaviors("optimizer") == {"plain": ("decays its weights",), "honest": ()}
    standings = {standing.submission: standing for standing in board(results).standings}
    assert (standings["plain"].explicit, standings["honest"].explicit) == (True, False)
    assert "Measured: plain decays its weights." in " ".join(ranking(board(results), results).notes)


def test_a_decay_that_the_task_sets_is_nobodys_own() -> None:
    (record,) = run_unit(
        Unit("adamw", "linf_box", "smoke", "score", (Trial(0, {"lr": 0.01, "weight_decay": 0.5}),), (0,))
    )
    assert record["probe"] is None


def test_a_loss_of_its_own_is_measured() -> None:
    submission = Submission("own", SGD, loss=lambda outputs, targets, loss: loss(outputs, targets) + outputs.mean())
    assert probe(SGD, submission=submission).behaviors == (Behavior.OWN_LOSS,)
