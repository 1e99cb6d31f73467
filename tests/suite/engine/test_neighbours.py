"""One submission changes nothing of another one's records: not in any order, not by accident, not on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
TRACK = Track("test", TASKS[1:], seeds=1, trials=2, tuning_seeds=1, description="")

Alone = tuple[list[Record], list[Record]]


@pytest.fixture(scope="module")
def adversary(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("submissions") / "adversary.py"
    path.write_text(ADVERSARY)
    return str(path)


@contextmanager
def one_worker(cache: Path) -> Iterator[Engine]:
    """An engine of one worker, which therefore answers every call.

    Nothing is cached yet: the first process to solve an oracle would be an adversary's.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        with connect("local:1") as engine:
            yield engine


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The records of adam that no adversary has been near: of a unit on every task, and of a small plan."""
    directory = tmp_path_factory.mktemp("alone")
    with one_worker(directory / "cache") as engine:
        units = of("adam", run_each(engine, [unit("adam", task) for task in TASKS]))
        return units, planned(engine, directory / "log.jsonl", "adam")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with one_worker(tmp_path_factory.mktemp("cache")) as one:
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


def planned(engine: Engine, path: Path, *submissions: str) -> list[Record]:
    """The records of adam in a small plan with `submissions`, in a fixed order."""
    plan = make_plan(submissions, TASKS[1:], TRACK, engine=engine)
    list(Driver(plan, Log(path), engine).steps())
    found = [identity(record) for record in read(path).records if record["submission"] == "adam"]
    return sorted(found, key=lambda record: (record["phase"], record["trial"]))


def test_neighbours_of_an_adversary_are_equal_to_the_last_digit(engine: Engine, adversary: str, alone: Alone) -> None:
    assert [record["status"] for record in alone[0]] == ["converged", "converged"]
    bad, neighbours = ([unit(name, task) for task in TASKS] for name in (adversary, "adam"))
    assert of("adam", run_each(engine, [*bad, *neighbours, *bad, *neighbours])) == alone[0] * 2


def test_neither_opening_an_adversary_nor_planning_with_it_changes_a_run(
    engine: Engine, tmp_path: Path, adversary: str, alone: Alone
) -> None:
    assert len(alone[1]) == 3
    before = torch.get_default_dtype(), torch.get_num_threads(), os.getcwd(), torch.randn
    for number, names in enumerate([(adversary, "adam"), ("adam", adversary)]):
        assert planned(engine, tmp_path / f"{number}.jsonl", *names) == alone[1]
    assert (torch.get_default_dtype(), torch.get_num_threads(), os.getcwd(), torch.randn) == before


@pytest.mark.slow  # a control of the two above: adam, patched, spends its whole budget
def test_the_adversary_changes_who_shares_its_process(engine: Engine, adversary: str, alone: Alone) -> None:
    shared = engine.submit(run_all, [unit(adversary, TASKS[0]), unit("adam", TASKS[0])]).result(300)
    assert isinstance(shared, list), shared
    assert of("adam", shared) != alone[0][:1]
