"""Malformed submissions and data files, through the command: a record or one clear sentence, no traceback, no hang.

The command runs in this process, because it takes seconds to start and thousands of them would take hours. So every
one runs on what the ones before have left behind, too.
"""

from __future__ import annotations

import io
import itertools
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard.cli import main
from suite.data import download as downloading
from suite.data.lookup import _load
from suite.errors import InputError
from suite.storage.log import read

Report = Callable[[str, str], None]
SUBMISSIONS, FILES = 1_000, 1_000
PATIENCE = 120
TASK = "adaptive_trap"

NAMES = ("'odd'", "''", "None", "3", "'a\\x00b'", "'\\ud800'", "'x' * 10_000", "b'odd'")
OPTIMIZERS = (
    "None", "3", "print", "int", "object", "lambda params, lr: None", "torch.nn.Linear",
    "torch.optim.SGD", "lambda params, lr: torch.optim.SGD([], lr=lr)", "torch.optim.lr_scheduler.StepLR", "Odd(1)",
)  # fmt: skip
SPACES = (
    "{'lr': 0.1}", "{}", "None", "[]", "{'lr': LogUniform(1.0, 0.0)}",
    "{'lr': LogUniform(float('nan'), 1.0)}", "{'lr': Choice()}", "{'lr': Choice(0.1, 'a', None)}", "{1: 2}",
    "{'lr': Choice(object(), object())}", "{'lr': float('nan')}", "{'lr': float('inf')}", "{'lr': -1.0}",
    "{'lr': 10**400}", "{'lr': 0.1, 'no_such': 1}", "{'lr': 'fast'}", "{'lr': (0.1, 0.2)}", "{'lr': Uniform(0, 1e300)}",
    "{'lr': Choice([0.1], [0.2])}", "{'lr': 1 + 2j}",
)  # fmt: skip
INITS = (
    "pass",
    "super().__init__(list(params)[:0], lr)", "raise SystemExit(3)", "1 / 0",
    "super().__init__(params, lr); del self.step",
    "super().__init__(params, lr); self.param_groups = None", "self.__init__(params, lr)", "raise MemoryError",
    "super().__init__(params, lr); self.param_groups[0]['lr'] = None",
)  # fmt: skip
STEPS = (
    "return super().step(closure)", "pass", "return 'done'", "1 / 0", "raise SystemExit(1)", "raise StopIteration",
    "raise MemoryError", "self.step(closure)", "closure()", "[closure() for _ in range(3)]",
    "self.param_groups.clear()",
    "del self.param_groups", "self.param_groups[0]['params'] = []", "self.param_groups[0]['lr'] = 'fast'",
    "[p.data.fill_(float('nan')) for g in self.param_groups for p in g['params']]",
    "[p.data.fill_(1e308) for g in self.param_groups for p in g['params']]",
    "[p.data.resize_(1) for g in self.param_groups for p in g['params']]",
    "[setattr(p, 'data', p.data[..., :1]) for g in self.param_groups for p in g['params']]",
    "[setattr(p, 'data', p.data.float()) for g in self.param_groups for p in g['params']]",
    "[setattr(p, 'grad', None) for g in self.param_groups for p in g['params']]",
    "[p.requires_grad_(False) for g in self.param_groups for p in g['params']]; return super().step(closure)",
    "raise Exception('\\x00' * 10_000)", "raise type('\\n', (Exception,), {})()", "print(self.no_such_thing)",
)  # fmt: skip
SOURCE = """'''An odd one.'''
import torch
from suite import Choice, LogUniform, Submission, Uniform

class Odd(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        {init}

    def step(self, closure=None):
        {step}

submission = Submission(name={name}, optimizer={optimizer}, space={space})
"""


def mostly(usual: str, others: tuple[str, ...]) -> st.SearchStrategy[str]:
    """`usual` in four of five cases, so that one odd part is not hidden behind another."""
    return st.integers(0, 4).flatmap(lambda number: st.sampled_from(others) if number == 0 else st.just(usual))


mostly_whole = st.builds(
    lambda **parts: SOURCE.format(**parts).encode("utf-8", "surrogatepass"),
    name=mostly("'odd'", NAMES),
    optimizer=mostly("Odd", OPTIMIZERS),
    space=mostly("{'lr': LogUniform(1e-3, 1.0)}", SPACES),
    init=mostly("super().__init__(params, lr)", INITS),
    step=st.sampled_from(STEPS),
)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes of a whole file lost, replaced or doubled."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 20))
        data[at : at + length] = draw(st.sampled_from((b"", bytes(data[at : at + length]) * 2)) | st.binary(max_size=8))
    return bytes(data)


sources = st.one_of(
    mostly_whole, mostly_whole, mostly_whole, mutated(mostly_whole), st.binary(max_size=200), st.text().map(str.encode)
)
quiet = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)


class Hang(BaseException):
    """No end within `PATIENCE`; nothing on the way may take it for a submission's own error."""


@contextmanager
def patience() -> Iterator[None]:
    """No example may take longer."""

    def give_up(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The command handles signals its own way, to the end of its process."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def outcome(results: Path, submission: str, task: str) -> str:
    """What comes of the command: refused with a sentence, or the status that is recorded."""
    options = ["--track", "smoke", "--trials", "1", "--seeds", "1", "--engine", "local:0", "--results", str(results)]
    with patience():
        told = CliRunner().invoke(main, ["run", submission, "--task", task, *options])
    assert isinstance(told.exception, SystemExit | None), told.exception
    assert "Traceback" not in told.output
    log = read(results / "smoke.jsonl")
    assert not log.damaged
    if told.exit_code:
        assert told.exit_code == 2
        assert told.stderr.startswith("Error: ")
        assert len(told.stderr) > len("Error: \n")
        assert not log.records
        return "refused before the run"
    (record,) = log.records
    return f"recorded as {record['status']}"


def test_submissions(tmp_path: Path, report: Report) -> None:
    outcomes: Counter[str] = Counter()
    numbers = itertools.count()

    @settings(quiet, max_examples=SUBMISSIONS)
    @given(sources)
    def one(source: bytes) -> None:
        number = next(numbers)
        path = tmp_path / f"submission_{number}.py"
        path.write_bytes(source)
        outcomes[outcome(tmp_path / str(number), str(path), TASK)] += 1

    one()
    report(f"{outcomes.total():,} malformed submissions", _figures(outcomes))


def _figures(outcomes: Counter[str]) -> str:
    return "; ".join(f"{count} {what}" for what, count in outcomes.most_common()) + "; 0 tracebacks, 0 hangs"


def _npz(train: int, shape: tuple[int, ...], classes: int, dtype: str, labels: str, compress: bool) -> bytes:
    buffer = io.BytesIO()
    arrays = {
        "x_train": np.zeros((train, *shape), dtype),
        "y_train": (np.arange(train) % max(classes, 1)).astype(labels),
        "x_test": np.zeros((4, *shape), dtype),
        "y_test": np.zeros(4, labels),
    }
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


npz_files = st.builds(  # each part mostly right, so that every check is reached
    _npz,
    train=st.sampled_from((12,) * 8 + (0, 1)),
    shape=st.sampled_from(((4, 5), (4, 5, 3)) * 5 + ((4, 5, 9), (), (0, 5), (4,), (2, 2, 2, 2))),
    classes=st.sampled_from((3,) * 8 + (0, 1)),
    dtype=st.sampled_from(("uint8", "float32") * 6 + ("float64", "int64", "bool", "complex64", "U3", "M8[s]")),
    labels=st.sampled_from(("int64", "uint8") * 4 + ("float32", "bool", "U2")),
    compress=st.booleans(),
)
headers = st.builds(
    lambda kind, sizes, body: struct.pack(">HBB", 0, kind, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes) + body,
    st.sampled_from((8, 9, 13, 255)),
    st.lists(st.sampled_from((0, 1, 4, 28, 2**31, 2**32 - 1)), max_size=4),
    st.binary(max_size=64),
)
files = st.one_of(npz_files, mutated(npz_files), mutated(npz_files), headers, st.binary(max_size=200))


def test_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(downloading, "download", _no_network)
    outcomes: Counter[str] = Counter()
    numbers = itertools.count()

    @settings(quiet, max_examples=FILES)
    @given(files, st.sampled_from(("npz", "npz", "mnist", "cifar10")))
    def one(content: bytes, layout: str) -> None:
        number = next(numbers)
        root = tmp_path / str(number)
        task, path = {
            "npz": (f"image[data=mine{number},network=mlp]", root / f"mine{number}.npz"),
            "mnist": ("mnist_mlp", root / "MNIST" / "raw" / "train-images-idx3-ubyte"),
            "cifar10": ("cifar10_cnn", root / "cifar-10-batches-py" / "data_batch_1"),
        }[layout]
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        monkeypatch.setenv("LOWLANDS_DATA", str(root))
        _load.cache_clear()
        outcomes[outcome(root / "results", "sgd", task)] += 1

    one()
    report(f"{outcomes.total():,} malformed data files (.npz, MNIST, CIFAR-10)", _figures(outcomes))


def _no_network(name: str, root: Path) -> None:
    raise InputError("There is no network here.")
