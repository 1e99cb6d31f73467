"""Submissions that patch what judges and measures them: training has a process of its own, and only data leave it.

Each lie is told at the import of the file, in the constructor and in a step; the record is the honest one, to the last
digit. A control runs the same unit in a single process, where each of them wins.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.engine.executors import Engine, connect, outcome
from suite.engine.plan import open_submissions
from suite.storage.record import Record, identity
from suite.trials import Trial, Unit, evaluate, run_unit

LIES = {
    "a measure": """
        import suite.tasks.linear
        suite.tasks.linear.relative_distance = lambda *_: 0.0
    """,
    "the measures of every task": """
        import gc
        from suite.task import Task
        for task in [each for each in gc.get_objects() if isinstance(each, Task)]:
            object.__setattr__(task, "measure", lambda _: {"excess_norm": 0.0})
    """,
    "the judge": """
        import suite.trials.evaluate as judge
        judged = judge._judged
        judge._judged = lambda *a: judged(*a) | {"measures": {"excess_norm": 0.0}}
    """,
    "functions of torch": """
        import torch
        torch.linalg.vector_norm = torch.Tensor.norm = lambda *_, **__: torch.tensor(0.5)
    """,
    "what puts weights into the network": """
        import torch, suite.trials.evaluate as judge
        def restore(model, weights):
            for parameter in model.parameters():
                parameter.copy_(2 * weights["weight"])
        judge.restore, judge._loss = torch.no_grad()(restore), lambda *_: 0.0
    """,
    "the seal": """
        import suite.trials.evaluate as judge
        seal = judge.seal
        judge.seal = lambda record: seal(record | {"measures": {"excess_norm": 0.0}})
    """,
    "the hash of the solution": """
        import suite.trials.evaluate as judge
        judge.solution_hash = lambda weights: 16 * "0"
    """,
}

OPTIMIZER = """
import functools, torch
from suite import Submission

@functools.cache  # once: the probe of optimizers makes several of them
def lie():
{lie}

class Patcher(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        self.steps = 0
        {init}

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 1:
            {step}
        return super().step(closure)

{top}
submission = Submission(name="patcher", optimizer=Patcher, space={{"lr": 0.5}})
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with connect("local:1") as one:
        yield one


@pytest.fixture(scope="module")
def honest(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return _record(engine, _file(tmp_path_factory.mktemp("honest"), "pass", ""))


def _file(folder: Path, lie: str, place: str) -> str:
    """A submission that tells the lie in this place."""
    calls = {name: "lie()" if name == place else "pass" for name in ("init", "step", "top")}
    path = folder / "patcher.py"
    path.write_text(OPTIMIZER.format(lie=textwrap.indent(textwrap.dedent(lie), "    "), **calls))
    return str(path)


def _unit(text: str, engine: Engine, task: str = "min_norm_regression", lr: float = 0.5) -> Unit:
    """A scored run of the submission, as a plan makes it."""
    (loaded,) = open_submissions([text], 1, None, (), engine)
    trials = (Trial(0, {"lr": lr}),)
    return Unit(text, task, "smoke", "score", trials, (1,), described=loaded)  # no probe of seed 1


def _record(engine: Engine, text: str, function: Any = run_unit) -> Record:
    """The record of the submission, but for what may differ between two repetitions, and for its source."""
    (record,) = outcome(engine, function, _unit(text, engine))
    return identity(record) | {"submission_hash": None}


def run_together(unit: Unit) -> list[Record]:
    """`run_unit` in a single process."""
    evaluate.is_child = lambda: False  # type: ignore[attr-defined]
    return run_unit(unit)


EVERYWHERE = "the judge"
"""The lie that the fast tests tell in every place; the others they tell in a step."""


@pytest.mark.parametrize(
    ("lie", "place"),
    [
        pytest.param(lie, place, marks=() if place == "step" or lie == EVERYWHERE else pytest.mark.slow)
        for lie in LIES
        for place in ("top", "init", "step")
    ],
)
def test_no_patch_reaches_the_judge(engine: Engine, tmp_path: Path, honest: Record, lie: str, place: str) -> None:
    assert honest["status"] == "converged"
    assert _record(engine, _file(tmp_path, LIES[lie], place)) == honest


@pytest.mark.parametrize("lie", LIES)
def test_in_one_process_each_of_them_wins(engine: Engine, tmp_path: Path, honest: Record, lie: str) -> None:
    assert _record(engine, _file(tmp_path, LIES[lie], "step"), run_together) != honest


CLAIMS = {
    "a step less than none": "steps=-1",
    "half a step": "steps=0.5",
    "less than no gradient": "gradient_evaluations=-4",
    "the target before it began": "target_evaluations=-1",
    "more to the target than in all": "target_evaluations=10**9",
    "a status of its own": "status='won'",
    "time that runs backwards": "seconds=-1.0",
    "a history without an end": "history=[[1, 0.5]] * 200_000",
    "a history that goes back": "history=[[9, 0.5], [3, 0.4]]",
    "a loss in words": "train_loss='low'",
    "a placement of less than nothing": "placement=dict(adam=-3)",
    "a field of its own": "score=1.25",
}

REFUSALS = "its text is not of the format|numbers that are impossible|without the steps that this takes"


def _forged(text: str) -> str:
    """A lie that writes this in the place of the text of what training answers, which is `plain`."""
    return f"""
        import json, msgspec
        encode = msgspec.json.encode
        def forged(answer):
            plain = json.loads(encode(answer))
            return {text}
        msgspec.json.encode = forged
    """


def _reason(engine: Engine, text: str) -> str:
    """Why a unit has failed, as its record or its process says."""
    try:
        (record,) = outcome(engine, run_unit, _unit(text, engine))
    except RuntimeError as error:
        return str(error)
    assert (record["status"], record["measures"]) == ("failed", {})
    return str(record["reason"])


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_of_training_that_cannot_be_are_refused(engine: Engine, tmp_path: Path, claim: str) -> None:
    lie = _forged(f"encode(dict(runs=[plain['runs'][0] | dict({CLAIMS[claim]})], type='runs'))")
    assert re.search(REFUSALS, _reason(engine, _file(tmp_path, lie, "step")))


def test_names_that_a_submission_answers_can_stand_in_a_table(engine: Engine, tmp_path: Path) -> None:
    said = r"dict(placement={'Ad\x1bam\n': 1}, implementations={'': 'torch\u202e'})"
    lie = _forged(f"encode(dict(runs=[plain['runs'][0] | {said}], type='runs'))")
    record = _record(engine, _file(tmp_path, lie, "step"))
    assert (record["placement"], record["implementations"]) == ({"Ad\ufffdam\ufffd": 1}, {"unnamed": "torch\ufffd"})


@pytest.mark.parametrize("text", ["b''", "b'{}'", "encode(plain | dict(runs=[]))", "encode(plain)[:-9]", "b'['*10**5"])
def test_an_answer_that_is_none_fails_the_unit(engine: Engine, tmp_path: Path, text: str) -> None:
    reason = _reason(engine, _file(tmp_path, _forged(text), "step"))
    assert re.search("it is not whole|its text is not of the format|another number of runs", reason)


ARCHITECTURE = """
from torch import nn
from suite import Submission

def lie():
{lie}

class Network(nn.Sequential):
    def forward(self, x):
        if self.training:  # never where it is measured
            lie()
        return super().forward(x)

def network(input_shape, outputs):
    return Network(nn.Flatten(), nn.Linear(input_shape[0], 20), nn.ReLU(), nn.Linear(20, outputs))

submission = Submission(name="patcher", architecture=network)
"""


@pytest.mark.parametrize("together", [False, True])
def test_what_an_architecture_does_in_training_does_not_reach_the_judge(
    engine: Engine, tmp_path: Path, together: bool
) -> None:
    lie = """
        import suite.trials.evaluate as judge
        judge._measured = lambda work, run, model, initial: {"measures": {"test_error": 0.0}}
    """
    records = []
    for number, text in enumerate(("pass", lie)):
        path = tmp_path / f"{number}.py"
        path.write_text(ARCHITECTURE.format(lie=textwrap.indent(textwrap.dedent(text), "    ")))
        unit = _unit(str(path), engine, "univariate_relu", 0.01)
        (record,) = outcome(engine, run_together if together else run_unit, unit)
        records.append(identity(record) | {"submission_hash": None})
    assert records[0]["status"] == "converged"
    assert (records[0] == records[1]) is not together


def test_a_source_that_was_edited_after_it_was_opened_is_refused(engine: Engine, tmp_path: Path) -> None:
    unit = _unit(_file(tmp_path, "pass", ""), engine)
    _file(tmp_path, "return", "")
    with pytest.raises(Exception, match="not the one of the command") as refusal:
        outcome(engine, run_unit, unit)
    assert type(refusal.value).__name__ == "InputError"


def test_memory_that_training_holds_is_the_units(engine: Engine, tmp_path: Path) -> None:
    records = []
    for lie in ("pass", "bytearray(b'x') * 300_000_000"):
        unit = _unit(_file(tmp_path, lie, "step"), engine)
        records += outcome(engine, run_unit, unit)
    more = records[1]["peak_memory"] - records[0]["peak_memory"]
    assert 200_000_000 < more < 320_000_000  # less than was added: what else there was peaked at another time
