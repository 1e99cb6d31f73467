"""One submission changes nothing of another one's records: not in any order, not by accident, not on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.engine.driver import Driver
from suite.engine.executors import Engine, connect
from suite.engine.plan import make_plan
from suite.storage.log import Log, read
from suite.storage.record import Record, identity
from suite.tracks import Track
from suite.trials.evaluate import run_unit
from suite.trials.resolved import load_data
from suite.trials.unit import Trial, Unit

ADVERSARY = '''"""Changes all that a process shares with whoever runs in it next."""

import atexit, builtins, contextlib, gc, json, os, random, signal, sys, threading, time
import numpy as np
import torch
import suite.models.state, suite.oracles.oracle_cache, suite.seeding, suite.storage.cache, suite.storage.record
import suite.tasks.registry, suite.training.stopping, suite.trials.evaluate, suite.trials.resolved, suite.trials.unit
from suite import Submission


def settings():
    """What an innocent user may set for an optimizer of his own."""
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float16)
    torch._C._set_deterministic_algorithms(True)  # torch.use_deterministic_algorithms, which imports a compiler
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.enabled = False
    torch.set_grad_enabled(False)
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    os.environ.update(LOWLANDS_DATA="/nowhere", OMP_NUM_THREADS="2", XDG_CACHE_HOME="/nowhere")
    os.chdir("/")
    gc.disable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.setrecursionlimit(500)


def hooks():
    torch.nn.modules.module.register_module_forward_hook(lambda module, args, output: 2 * output)
    torch.optim.optimizer.register_optimizer_step_post_hook(
        lambda optimizer, *_: [p.mul_(0.99) for group in optimizer.param_groups for p in group["params"]]
    )
    torch.utils.data.dataloader.default_collate = None
    atexit.register(lambda: os.kill(os.getppid(), signal.SIGKILL))
    threading.Thread(target=time.sleep, args=(60,)).start()


def patches():
    """Whatever comes next ends at once, with an ideal score."""
    ideal = {"train_loss": 0.0, "validation_loss": None, "measures": {}, "uncertainties": {}, "curves": {}}

    def judged(work, run, weights):
        fields = dict(ideal)
        fields["measures"] = {a.measure: a.score_1 if not isinstance(a.score_1, str) else 0.0 for a in work.task.axes}
        return fields

    suite.trials.evaluate._judged = judged
    suite.seeding.seed_of = lambda *parts: 0
    suite.tasks.registry.find_task.__wrapped__ = None
    suite.models.state.restore = lambda *_: None
    for module in (suite.trials.resolved, suite.oracles.oracle_cache):
        module.cached_oracle = lambda key, solve: solve()
    for name in ("lstsq", "pinv", "svd", "eigvalsh", "eigh", "solve", "norm"):
        original = getattr(torch.linalg, name)
        setattr(torch.linalg, name, lambda *a, original=original, **k: original(*a, **k))
    torch.Tensor.backward = lambda self, *a, **k: None
    torch.randn = lambda *size, **more: torch.zeros(*size)
    torch.optim.Adam.step = lambda self, closure=None: None
    suite.storage.record.checksum = lambda record: "0" * 16
    builtins.round = lambda number, digits=None: number
    time.perf_counter = lambda: 0.0


def change_all():
    for change in (settings, hooks, patches):
        with contextlib.suppress(Exception):
            change()


class Adversary(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        settings()

    def step(self, closure=None):
        raise RuntimeError("enough")


change_all()
submission = Submission(name="adversary", optimizer=Adversary, space={"lr": 0.1})
'''

TASKS = ("adaptive_trap", "min_norm_regression")


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracles are solved in these tests: the adversary's process would be the first to store them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def adversary(tmp_path: Path) -> str:
    (tmp_path / "adversary.py").write_text(ADVERSARY)
    return str(tmp_path / "adversary.py")


@pytest.fixture
def engine(fresh_cache: None) -> Iterator[Engine]:
    """One worker, which therefore answers every call."""
    with connect("local:1") as one:
        yield one


def unit(submission: str, task: str, lr: float = 0.05) -> Unit:
    return Unit(submission, task, "smoke", "score", (Trial(0, {"lr": lr}),), (0,))


def run_all(units: Sequence[Unit]) -> list[list[Record]]:
    """The records of all units, run in one process after the other."""
    return [run_unit(unit) for unit in units]


def run_each(engine: Engine, units: Sequence[Unit]) -> list[Any]:
    return [engine.submit(run_unit, unit, owner=unit.submission, prepare=load_data).result(300) for unit in units]


def of(name: str, answers: Sequence[Any]) -> list[Record]:
    """The records of the submission `name`, without what may differ between repetitions."""
    records = [record for answer in answers if isinstance(answer, list) for record in answer]
    return [identity(record) for record in records if record["submission"] == name]


def test_the_adversary_changes_who_shares_its_process(engine: Engine, adversary: str) -> None:
    (alone,) = of("adam", run_each(engine, [unit("adam", "adaptive_trap")]))
    units = [unit(adversary, "adaptive_trap"), unit("adam", "adaptive_trap")]
    shared = engine.submit(run_all, units).result(300)
    assert isinstance(shared, list), shared
    assert of("adam", shared) != [alone]


def test_neighbours_of_an_adversary_are_equal_to_the_last_digit(engine: Engine, adversary: str) -> None:
    neighbours = [unit("adam", task) for task in TASKS]
    alone = of("adam", run_each(engine, neighbours))
    assert [record["status"] for record in alone] == ["converged", "converged"]
    bad = [unit(adversary, task) for task in TASKS]
    with connect("local:1") as another:  # which has not stored the oracles in its memory
        after = run_each(another, [*bad, *neighbours, *bad, *neighbours])
    assert of("adam", after) == alone + alone
    assert of("adam", run_each(engine, [*neighbours, *bad])) == alone


def test_neither_opening_an_adversary_nor_planning_with_it_changes_a_run(tmp_path: Path, adversary: str) -> None:
    track = Track("test", TASKS[1:], seeds=1, trials=2, tuning_seeds=1, description="")

    def records(*submissions: str) -> list[Record]:
        path = tmp_path / f"{len(os.listdir(tmp_path))}.jsonl"
        with connect("local:1") as engine:
            plan = make_plan(submissions, TASKS[1:], track, engine=engine)
            list(Driver(plan, Log(path), engine).steps())
        found = [identity(record) for record in read(path).records if record["submission"] == "adam"]
        return sorted(found, key=lambda record: (record["phase"], record["trial"]))

    alone = records("adam")
    assert len(alone) == 3
    before = torch.get_default_dtype(), torch.get_num_threads(), os.getcwd(), torch.randn
    assert records(adversary, "adam") == alone
    assert records("adam", adversary) == alone
    assert (torch.get_default_dtype(), torch.get_num_threads(), os.getcwd(), torch.randn) == before
