"""A lie in any field of a record is found, and the field is named: with its solution kept, and by repeating the run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.commands import verification
from suite.commands.verification import MEASURED_FIELDS, UNCHECKED_FIELDS, Request, verify
from suite.engine.costs import Costs
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.storage.log import Log, read
from suite.storage.record import Record, seal
from suite.tracks import Track
from suite.trials import Unit

TASK = "min_norm_regression"
TRACK = Track("tiny", (TASK,), seeds=1, trials=2, tuning_seeds=1, description="", measured_searches=1)

FAILING = '''"""Its step raises."""
import torch
from suite import Submission

class Failing(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError(f"no step in {id(self):#x}")

submission = Submission(name="failing", optimizer=Failing, space={"lr": 0.5})
'''


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of adam, tuned, and of a submission that raises; with solutions."""
    folder = tmp_path_factory.mktemp("honest")
    (folder / "failing.py").write_text(FAILING)
    log = Log(folder / "tiny.jsonl")
    plan = make_plan(("adam", str(folder / "failing.py")), (TASK,), TRACK, solutions=str(folder / "solutions"))
    with connect("local:0") as engine:
        list(Driver(plan, log, engine, Costs()).steps())
    return folder


@pytest.fixture(scope="module", autouse=True)
def repeated_once() -> Iterator[None]:
    """Honest runs are repeated once for all tests of this file: each gives what it gave."""
    kept: dict[str, list[Record]] = {}
    run = verification._run

    def run_once(unit: Unit, engine: Any) -> list[Record]:
        key = repr((unit.submission, unit.task, unit.phase, unit.trials, unit.seeds, unit.search, unit.measured))
        if key not in kept:
            kept[key] = run(unit, engine)
        return [dict(record) for record in kept[key]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_run", run_once)
        yield


def found(folder: Path, sample: int, kept: bool) -> list[str]:
    """All that a verification says."""
    sources = ("adam", str(folder / "failing.py"))
    solutions = folder / "solutions" if kept else None
    report = verify([folder / "tiny.jsonl"], Request(sources, sample, solutions=solutions))
    other = [f"{repetition.where}: {repetition.differences}" for repetition in report.repetitions if report.recorded]
    return [*map(str, report.disagreements), *report.unchecked, *other]


TUNED, SCORED, FAILED = "a tuning run", "a scored run", "a run that failed"

Lie = Callable[[Any], Any]


def put(**lies: Any) -> dict[str, Lie]:
    """Lies by field: a value in the place of the right one."""
    return {field: lambda _, value=value: value for field, value in lies.items()}


def changed(**lies: Lie) -> dict[str, Lie]:
    """Lies by field: functions of the right value."""
    return lies


def _part(name: str, lie: Lie) -> Lie:
    return lambda value: value | {name: lie(value[name])}


LIES: list[tuple[str, dict[str, Lie], str]] = [
    (SCORED, put(schema=3), "schema 3, not 2"),
    (SCORED, put(suite_version="9.9"), "suite_version is '9.9'"),
    (SCORED, put(board_version="9999.1"), "board_version is '9999.1'"),
    (SCORED, put(submission="sgd"), "sgd: its source was not given"),
    (SCORED, put(submission_hash=16 * "0"), "adam: the source is not the one that was recorded"),
    (SCORED, put(method="SAM"), "method is 'SAM'"),
    (SCORED, put(kind="architecture"), "kind is 'architecture'"),
    (SCORED, put(explicit=True), "explicit is True"),
    (SCORED, put(task="max_margin"), "adam on max_margin"),
    (SCORED, put(task_hash=16 * "0"), "adam on min_norm_regression"),
    (SCORED, put(family="images"), "family is 'images'"),
    (SCORED, put(variant={"n": 5}), "variant is {'n': 5}"),
    (SCORED, put(selection="convergence"), "selection is 'convergence'"),
    (SCORED, put(reported=["l1_norm"]), r"reported is \['l1_norm'\]"),
    (SCORED, put(data_fingerprint=16 * "0"), "data_fingerprint is '0000"),
    (TUNED, put(data_fingerprint=None), "data_fingerprint is None"),
    (SCORED, put(phase="tune"), "phase is 'tune'"),
    (TUNED, put(phase="score"), "phase is 'score'"),
    (SCORED, put(search=1), "search 1"),
    (TUNED, put(search=1), "search 1"),
    (SCORED, changed(trial=lambda value: 1 - value), "the protocol selects trial"),
    (SCORED, put(trial=2**53), "trial is 9007199254740992"),
    (FAILED, put(trial=1), "trial is 1"),
    (SCORED, changed(hyperparameters=_part("lr", lambda value: value / 2)), "hyperparameters {"),
    (FAILED, put(hyperparameters={"lr": 0.5, "momentum": 0.9}), "hyperparameters {"),
    (SCORED, put(seed=1), "data_fingerprint is"),
    (TUNED, put(seed=10_001), "data_fingerprint is"),
    (SCORED, put(seed=10_000), "seed 10000 is a tuning seed"),
    (SCORED, put(status="budget"), "the status is budget"),
    (SCORED, put(status="budget", converged=False), "status is 'budget'"),
    (TUNED, put(status="stalled", converged=False), "converged is False"),
    (FAILED, put(status="diverged"), "status is 'diverged'"),
    (FAILED, put(status="converged", converged=True), "converged is True"),
    (SCORED, put(reason="It was unlucky"), "reason is 'It was unlucky'"),
    (FAILED, put(reason="The machine was full"), "reason is 'The machine was full'"),
    (SCORED, put(train_loss=0.0), "train_loss is 0"),
    (TUNED, changed(train_loss=lambda value: value / 2), "train_loss is"),
    (FAILED, put(train_loss=1.0), "train_loss is 1"),
    (SCORED, put(validation_loss=1e-9), "validation_loss is 1e-09"),
    (SCORED, changed(gradient_evaluations=lambda value: value - 1), "gradient_evaluations is"),
    (TUNED, changed(gradient_evaluations=lambda value: value - 1), "gradient_evaluations is"),
    (FAILED, put(gradient_evaluations=1), "gradient_evaluations is 1"),
    (SCORED, changed(target_evaluations=lambda value: value - 1), "target_evaluations is"),
    (TUNED, changed(target_evaluations=lambda value: value - 1), "target_evaluations is"),
    (SCORED, changed(steps=lambda value: value - 1), "steps is"),
    (SCORED, put(stepping="rendezvous"), "stepping is 'rendezvous'"),
    (TUNED, put(stepping="alone"), "it says that it was stepped alone; beside another it is stacked here"),
    (SCORED, put(placement={"muon": 200}), "placement.muon is 200"),
    (SCORED, put(implementations={"SGD": "torch 0.1"}), "implementations.SGD is 'torch 0.1'"),
    (SCORED, put(precision="float32"), "precision is 'float32'"),
    (SCORED, put(probe=None), "probe is None"),
    (SCORED, changed(probe=_part("behaviors", lambda _: ["decays its weights"])), "probe.behaviors"),
    (SCORED, changed(probe=_part("steps", lambda value: value + 1)), "probe.steps is"),
    (SCORED, changed(probe=_part("rotated", lambda value: value / 2)), "probe.rotated is"),
    (SCORED, put(uncertainties={"excess_norm": {"kind": "exact", "error": None}}), "uncertainties.excess_norm is"),
    (SCORED, put(undefined={"excess_norm": "no"}), "undefined.excess_norm is 'no'"),
    (SCORED, put(measures={}), "measures.excess_norm is None"),
    (TUNED, changed(measures=_part("excess_norm", lambda value: value / 2)), "measures.excess_norm is"),
    (SCORED, put(axes={}), "axes.norm is None"),
    (SCORED, put(curves={}), "curves.training_loss is None"),
    (SCORED, put(solution_hash=16 * "0"), "solution_hash is '0000"),
]


def _is(record: Record, whose: str) -> bool:
    if record["submission"] == "failing":
        return whose == FAILED
    return bool(record["phase"] == {TUNED: "tune", SCORED: "score"}.get(whose))


def told(honest: Path, folder: Path, whose: str, lies: dict[str, Lie]) -> Path:
    """A copy of the results in which one record was changed and sealed again."""
    shutil.copytree(honest, folder, dirs_exist_ok=True)
    records = read(honest / "tiny.jsonl").records
    (one, *_) = [record for record in records if _is(record, whose)]
    for field, lie in lies.items():
        assert one[field] != lie(one[field])
        one[field] = lie(one[field])
    lines = [json.dumps(seal(record), sort_keys=True) for record in records]
    (folder / "tiny.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("kept", [False, True])
def test_the_truth_is_found_true(honest: Path, kept: bool) -> None:
    assert found(honest, 10, kept) == []


@pytest.mark.parametrize(
    ("whose", "lies", "text"), LIES, ids=lambda value: "+".join(value) if isinstance(value, dict) else ""
)
def test_a_lie_is_found_by_repeating_the_run(
    honest: Path, tmp_path: Path, whose: str, lies: dict[str, Lie], text: str
) -> None:
    said = found(told(honest, tmp_path, whose, lies), 10, kept=False)
    assert any(re.search(text, one) for one in said), said


def test_of_two_records_of_a_run_the_false_one_is_named(honest: Path, tmp_path: Path) -> None:
    """Appended, as code that runs beside the log could; no sample is drawn, and the run is repeated all the same."""
    folder = tmp_path / "forged"
    shutil.copytree(honest, folder)
    (true, *_) = [record for record in read(folder / "tiny.jsonl").records if _is(record, SCORED)]
    Log(folder / "tiny.jsonl").append(seal(true | {"measures": true["measures"] | {"excess_norm": 1e-9}}))
    said = found(folder, 0, False)
    assert any("two records of this run differ: measures.excess_norm" in one for one in said)
    assert sum("measures.excess_norm is 1e-09 in the record" in one for one in said) == 1


def test_there_is_a_lie_for_every_field_that_can_be_checked(honest: Path) -> None:
    fields = {field for record in read(honest / "tiny.jsonl").records for field in record} - {"checksum"}
    assert fields - {field for _, lies, _ in LIES for field in lies} == set(UNCHECKED_FIELDS)


def _leaves(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _leaves(item, (*path, name))]
    return [path]


def test_a_lie_in_any_part_of_what_the_weights_decide_is_found(honest: Path, tmp_path: Path) -> None:
    """Every measure, every reference of every axis: by the solution that was kept, and by the repeated run."""
    (record,) = [each for each in read(honest / "tiny.jsonl").records if _is(each, SCORED)]
    paths = [leaf for field in MEASURED_FIELDS for leaf in _leaves(record[field], (field,))]
    assert len(paths) >= 10
    for number, (field, *below) in enumerate(paths):

        def lie(value: Any, below: list[str] = below) -> Any:
            if below:
                return value | {below[0]: lie(value[below[0]], below[1:])}
            return 0.99 * value if isinstance(value, float) else 0.5 if value is None else f"{value}_"

        folder = told(honest, tmp_path / str(number), SCORED, {field: lie})
        if read(folder / "tiny.jsonl").damaged:  # a scale that there is not
            continue
        for sample, kept in ((0, True), (10, False)):
            said = found(folder, sample, kept)
            assert any(f"{'.'.join([field, *below])} is" in one for one in said), (field, below, kept, said)
