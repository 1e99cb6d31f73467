"""The driver, with an engine that does as it is told: retries, blame, limits, resuming, order."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.engine import plan as plan_module
from suite.engine.costs import Costs
from suite.engine.driver import Driver, OutOfTime, Progress
from suite.engine.executors import Engine
from suite.engine.plan import Plan, make_plan, planned_entries
from suite.engine.worker import Failure, run_in_worker
from suite.errors import InputError
from suite.storage.log import Log, read
from suite.storage.record import identity, seal, search_of
from suite.tasks import find_task
from suite.tracks import Track, find_track
from suite.trials import resolved, select
from suite.trials.evaluate import run_unit
from suite.trials.unit import Unit
from tests.logs import runs_of
from tests.suite.engine.calls import session
from tests.suite.engine.scripted import Now, Scripted

TASK = "min_norm_regression"
LOST = Failure("the worker process was killed by SIGKILL", lost=True)
LATE = Failure("stopped by the time limit of 8 s")


def plan(*submissions: str, tasks: tuple[str, ...] = (TASK,), seeds: int = 2, trials: int = 2) -> Plan:
    return make_plan(submissions or ("sgd",), tasks, Track("test", tasks, seeds, trials, 1, ""))


def carry_out(path: Path, script: Any = None, what: Plan | None = None, **more: Any) -> list[Progress]:
    scripted = script if isinstance(script, Scripted) else Scripted(script or (lambda unit, before: None))
    return list(Driver(what or plan(), Log(path), scripted.engine(), **more).steps())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "log.jsonl"
    steps = carry_out(path)
    assert [step.unit.phase for step in steps] == ["tune", "score"]
    assert steps[-1].done == 1.0
    return path


def test_a_unit_whose_worker_was_lost_once_is_run_again(tmp_path: Path, undisturbed: Path) -> None:
    carry_out(tmp_path / "log.jsonl", lambda unit, before: LOST if not before else None)
    assert runs_of(tmp_path / "log.jsonl") == runs_of(undisturbed)


def test_a_setting_that_kills_its_worker_fails_alone(tmp_path: Path, undisturbed: Path) -> None:
    def script(unit: Unit, before: int) -> Failure | None:
        return LOST if unit.phase == "tune" and any(number == 0 for number, _ in unit.trials) else None

    scripted = Scripted(script)
    carry_out(tmp_path / "log.jsonl", scripted)
    # Twice together, then each setting once.
    assert [[number for number, _ in unit.trials] for unit in scripted.seen[:4]] == [[0, 1], [0, 1], [0], [1]]
    found = runs_of(tmp_path / "log.jsonl")
    assert found.keys() == runs_of(undisturbed).keys() - {
        ("sgd", TASK, "score", 0, 0),
        ("sgd", TASK, "score", 0, 1),
    } | {key for key in found if key[2] == "score"}
    for (*_, phase, number, _), record in found.items():
        dead = phase == "tune" and number == 0
        assert (record["status"] == "failed", record["reason"]) == (dead, LOST.reason if dead else None)


def test_a_unit_that_takes_too_long_is_not_tried_again_whole(tmp_path: Path) -> None:
    scripted = Scripted(lambda unit, before: LATE if unit.phase == "score" or len(unit.trials) == 2 else None)
    carry_out(tmp_path / "log.jsonl", scripted)
    assert [(unit.phase, len(unit.trials)) for unit in scripted.seen] == [
        ("tune", 2),
        ("tune", 1),
        ("tune", 1),
        ("score", 1),
    ]
    scored = [r for r in read(tmp_path / "log.jsonl").records if r["phase"] == "score"]
    assert [(r["seed"], r["status"], r["reason"]) for r in scored] == [(s, "failed", LATE.reason) for s in (0, 1)]


def test_a_unit_has_the_limit_of_each_of_its_trials(tmp_path: Path) -> None:
    scripted = Scripted()
    engine = replace(scripted.engine(), runner=run_in_worker, executor=_Carried(scripted))
    list(Driver(plan(), Log(tmp_path / "log.jsonl"), engine, trial_seconds=4.0).steps())
    assert scripted.seconds == [8.0, 4.0]
    with pytest.raises(InputError, match="needs worker processes"):
        Driver(plan(), Log(tmp_path / "log.jsonl"), scripted.engine(), trial_seconds=4.0)


class _Carried(Now):
    """Has units run by `scripted`, whatever the engine's runner is."""

    def __init__(self, scripted: Scripted) -> None:
        self.scripted = scripted

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(self.scripted, *args, **kwargs)


def test_failed_runs_are_not_run_again(tmp_path: Path) -> None:
    carry_out(tmp_path / "log.jsonl", lambda unit, before: LOST)
    before = (tmp_path / "log.jsonl").read_bytes()
    assert carry_out(tmp_path / "log.jsonl") == []
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("kept", range(4))
def test_an_interrupted_run_goes_on_to_the_same_records(tmp_path: Path, undisturbed: Path, kept: int) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(undisturbed.read_bytes().splitlines(keepends=True)[:kept]))
    carry_out(log)
    assert runs_of(log) == runs_of(undisturbed)


def test_a_worker_with_other_sources_ends_the_run_and_nothing_is_recorded(tmp_path: Path) -> None:
    def other(unit: Unit, _: int) -> list[dict[str, Any]]:
        return [seal(record | {"submission_hash": "another"}) for record in run_unit(unit)]

    with pytest.raises(InputError, match="is not the one of this process"):
        carry_out(tmp_path / "log.jsonl", other)
    assert not (tmp_path / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (InputError("A worker cannot enter /x."), "cannot enter /x"),
        (CancelledError(), "The engine is gone"),
        (RuntimeError("no such module"), "cannot run units .RuntimeError: no such module"),
    ],
)
def test_what_the_engine_cannot_do_ends_the_run(tmp_path: Path, outcome: BaseException, sentence: str) -> None:
    def script(unit: Unit, _: int) -> Any:
        if isinstance(outcome, InputError):
            return outcome
        raise outcome

    with pytest.raises(InputError, match=sentence):
        carry_out(tmp_path / "log.jsonl", script)


def test_an_executor_that_gives_up_a_unit_counts_as_a_loss(tmp_path: Path, undisturbed: Path) -> None:
    class KilledWorker(Exception):
        """As Dask calls it."""

    def script(unit: Unit, before: int) -> None:
        if not before:
            raise KilledWorker("after 4 attempts")

    carry_out(tmp_path / "log.jsonl", script)
    assert runs_of(tmp_path / "log.jsonl") == runs_of(undisturbed)


def test_runs_without_data_are_run_again_and_are_noted_once(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"

    def nothing(_: int) -> Any:
        raise InputError("There is no such data set.")

    with monkeypatch.context() as patch:
        patch.setattr(resolved, "open_task", lambda name: replace(find_task(name), problem=nothing))
        patch.setattr(resolved, "_problem", resolved._problem.__wrapped__)
        assert len(carry_out(log)) == 2
        first = log.read_bytes()
        assert len(carry_out(log)) == 2
        assert log.read_bytes() == first
    carry_out(log)
    whole = [identity(r) for r in read(log).records if r["status"] != "unavailable"]
    assert whole == list(runs_of(undisturbed).values())


def test_a_deadline_ends_the_run_between_records(tmp_path: Path, undisturbed: Path) -> None:
    class Never(Now):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            return type(super().submit(int))()  # a future that nobody fulfils

    engine = Engine(Never(), run_in_worker, session("never"), workers=lambda: 1, max_pending=lambda: 1)
    begin = time.monotonic()
    with pytest.raises(OutOfTime):
        list(Driver(plan(), Log(tmp_path / "log.jsonl"), engine).steps(begin + 0.2))
    assert not (tmp_path / "log.jsonl").read_bytes()


def test_a_full_disk_ends_the_run_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log.jsonl")
    run = Driver(plan(), log, Scripted().engine())
    steps = run.steps()
    next(steps)
    before = log.path.read_bytes()
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(InputError, match="No space left on device"):
        list(steps)
    assert log.path.read_bytes() == before


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_longest_critical_path_first_and_progress_counts_costs(tmp_path: Path) -> None:
    def record(submission: str, task: str, phase: str, seconds: float) -> dict[str, Any]:
        return {
            "submission": submission, "kind": "optimizer", "task": task, "phase": phase, "status": "converged",
            "seconds": seconds, "measure_seconds": 0.0, "track": "quick", "converged": True,
        }  # fmt: skip

    tasks = (TASK, "adaptive_trap")
    costs = Costs(
        record(submission, task, phase, {"sgd": 1.0, "adam": 3.0}[submission] * (2.5 if task == TASK else 1.0))
        for submission in ("sgd", "adam")
        for task in tasks
        for phase in ("tune", "score")
    )
    scripted = Scripted()
    steps = carry_out(tmp_path / "log.jsonl", scripted, plan("sgd", "adam", tasks=tasks), costs=costs)
    # Tuning and scoring, two runs each: adam 30 and 12, sgd 10 and 4; half of it is left once it is tuned.
    assert [(u.submission, u.task, u.phase) for u in scripted.seen] == [
        ("adam", TASK, "tune"), ("adam", TASK, "score"), ("adam", "adaptive_trap", "tune"), ("sgd", TASK, "tune"),
        ("adam", "adaptive_trap", "score"), ("sgd", TASK, "score"), ("sgd", "adaptive_trap", "tune"),
        ("sgd", "adaptive_trap", "score"),
    ]  # fmt: skip
    assert [round(step.done * 56, 6) for step in steps] == [15, 30, 36, 41, 47, 52, 54, 56]
    assert steps[-1].left == 0
    assert all(step.left >= 0 for step in steps)


def test_the_estimate_before_the_first_unit_is_the_recorded_cost(tmp_path: Path) -> None:
    costs = Costs(
        {
            "submission": "other", "kind": "optimizer", "task": TASK, "phase": phase, "status": "converged",
            "seconds": seconds, "measure_seconds": 1.0, "track": "quick", "converged": True,
        }
        for phase, seconds in (("tune", 2.0), ("score", 4.0))
    )  # fmt: skip
    run = Driver(plan(), Log(tmp_path / "log.jsonl"), Scripted().engine(), costs)
    assert run.seconds_left() == 2 * 3.0 + 2 * 5.0


def _costs(*tasks: str, seconds: float) -> Costs:
    return Costs(
        {
            "submission": "sgd", "kind": "optimizer", "task": task, "phase": "tune", "status": "converged",
            "seconds": 0.0, "measure_seconds": 0.0, "unit_seconds": seconds, "peak_memory": 5 * 10**8, "track": "quick",
            "converged": True,
        }
        for task in tasks
    )  # fmt: skip


def test_the_estimate_follows_the_pace_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def script(unit: Unit, _: int) -> list[dict[str, Any]]:
        nonlocal now
        now += 20.0 * unit.size  # twice what is recorded
        return [seal(record | {"unit_seconds": 20.0}) for record in run_unit(unit)]

    tasks = (TASK, "adaptive_trap")
    run = Driver(
        plan(tasks=tasks), Log(tmp_path / "log.jsonl"), Scripted(script).engine(), _costs(*tasks, seconds=10.0)
    )
    assert run.seconds_left() == 80.0
    left = [(step.left, 160.0 - now) for step in run.steps()]
    paces = [(spent + 30.0) / (spent / 2 + 30.0) for spent in (40.0, 80.0, 120.0)]
    assert [estimate for estimate, _ in left] == pytest.approx([60 * paces[0], 40 * paces[1], 20 * paces[2], 0.0])
    errors = [truth - estimate for estimate, truth in left]
    assert errors == sorted(errors, reverse=True)


def test_units_that_are_running_count_as_far_as_they_have_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    engine = replace(Scripted().engine(), workers=lambda: 2)
    run = Driver(plan(), Log(tmp_path / "log.jsonl"), engine, _costs(TASK, seconds=10.0))
    now = 7.0  # it counts from the first unit on
    assert run.seconds_left() == 20.0
    run._begun = now
    now = 12.0
    assert run.seconds_left() == 15.0


def test_the_outlook_is_what_is_then_done(tmp_path: Path, drifting: Plan) -> None:
    costs = _costs("valley_scalar", seconds=0.5)

    def outlook(path: Path) -> tuple[int, int, int, float]:
        (task,) = Driver(drifting, Log(path, writable=False), Scripted().engine(), costs).outlook()
        assert task.task == "valley_scalar"
        assert task.memory is not None
        assert task.memory >= 5 * 10**8
        return task.recorded, task.runs, task.units, task.seconds

    # Eight settings on a tuning seed and two others, as one program.
    assert outlook(tmp_path / "log.jsonl") == (0, 24, 1, 12.0)
    assert not (tmp_path / "log.jsonl").exists()
    records = len(carry_out(tmp_path / "log.jsonl", what=drifting)[-1].records)
    assert outlook(tmp_path / "log.jsonl")[:3] == (records, 0, 0)


def test_the_outlook_counts_what_is_scored_after_tuning(tmp_path: Path) -> None:
    def outlook() -> tuple[int, int, int, float]:
        log = Log(tmp_path / "log.jsonl", writable=False)
        (task,) = Driver(plan(trials=4, seeds=3), log, Scripted().engine(), _costs(TASK, seconds=2.0)).outlook()
        return task.recorded, task.runs, task.units, task.seconds

    assert outlook() == (0, 4 + 3, 2, 14.0)
    run = Driver(plan(trials=4, seeds=3), Log(tmp_path / "log.jsonl"), Scripted().engine())
    next(run.steps())
    assert outlook()[:3] == (4, 3, 1)
    assert [task.runs for task in run.outlook()] == [3]


def test_as_many_settings_are_expected_to_be_scored_as_are_recorded_to_train(tmp_path: Path) -> None:
    """Where every setting is scored that reaches the target loss, and not ahead: at least one is."""
    sam = make_plan(["sam"], ["valley_scalar"], Track("test", (), 3, 4, 1, ""))
    costs = _costs("valley_scalar", seconds=2.0)
    missed = {"submission": "sgd", "kind": "optimizer", "task": "valley_scalar", "phase": "tune", "status": "budget"}
    missed |= {"cpu_seconds": 2.0, "converged": False}

    def scored() -> int:
        (task,) = Driver(sam, Log(tmp_path / "log.jsonl", writable=False), Scripted().engine(), costs).outlook()
        return task.runs - 8

    assert scored() == 3 * 8
    costs.add(missed)
    assert scored() == 3 * 4
    for _ in range(98):
        costs.add(missed)
    assert scored() == 3


def test_every_search_is_scored_on_seeds_of_its_own(tmp_path: Path) -> None:
    what = plan(seeds=5, trials=4)
    what = replace(what, track=replace(what.track, searches=2))
    carry_out(tmp_path / "log.jsonl", what=what)
    records = read(tmp_path / "log.jsonl").records
    for search, seeds in ((0, [0, 2, 4]), (1, [1, 3])):
        own = [record for record in records if record["search"] == search]
        tuned = [record for record in own if record["phase"] == "tune"]
        scored = [record for record in own if record["phase"] == "score"]
        settings = what.submissions[0].submission.settings(4, search)
        assert [record["hyperparameters"] for record in tuned] == settings
        assert {record["seed"] for record in tuned} == {10_000 + 1_000 * search}
        (chosen,) = select(find_task(TASK).selection, tuned)
        assert [record["seed"] for record in scored] == seeds
        assert {record["trial"] for record in scored} == {chosen}
        assert all(record["hyperparameters"] == settings[chosen] for record in scored)
    # Another invocation has nothing to do; more seeds repeat none and are dealt out alike.
    before = (tmp_path / "log.jsonl").read_bytes()
    assert carry_out(tmp_path / "log.jsonl", what=what) == []
    assert (tmp_path / "log.jsonl").read_bytes() == before
    carry_out(tmp_path / "log.jsonl", what=replace(what, track=replace(what.track, seeds=6)))
    added = read(tmp_path / "log.jsonl").records[len(records) :]
    assert [(record["search"], record["phase"], record["seed"]) for record in added] == [(1, "score", 5)]


def test_a_task_has_the_seeds_that_the_track_asks_of_it(tmp_path: Path) -> None:
    what = plan(tasks=(TASK, "spectral_margin"), seeds=4)
    what = replace(what, track=replace(what.track, searches=2, fewer_seeds={TASK: 3}))
    carry_out(tmp_path / "log.jsonl", what=what)
    scored = [record for record in read(tmp_path / "log.jsonl").records if record["phase"] == "score"]
    for task, dealt in ((TASK, [[0, 2], [1]]), ("spectral_margin", [[0, 2], [1, 3]])):
        own = [record for record in scored if record["task"] == task]
        assert [sorted(r["seed"] for r in own if r["search"] == search) for search in range(2)] == dealt
    # The same seeds on every task: only what is missing is run, by the search that it falls to.
    carry_out(tmp_path / "log.jsonl", what=replace(what, track=what.track.with_seeds(4)))
    (added,) = read(tmp_path / "log.jsonl").records[-1:]
    assert (added["task"], added["search"], added["seed"]) == (TASK, 1, 3)


@pytest.fixture
def drifting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A submission with a wide space on a task of which every setting that trains is scored."""
    task = find_task("valley_scalar")
    short = replace(task, target=replace(task.target, budget=200))
    monkeypatch.setattr(plan_module, "open_task", lambda name: short)
    monkeypatch.setattr(resolved, "open_task", lambda name: short)
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\nfrom suite import LogUniform, Submission\n"
        "submission = Submission('own', torch.optim.SGD, space={'lr': LogUniform(0.1, 100.0)})\n"
    )
    return plan(str(own), tasks=("valley_scalar",), trials=8)


def test_every_setting_that_trains_is_scored_where_the_answer_depends_on_the_drift(
    tmp_path: Path, drifting: Plan
) -> None:
    scripted = Scripted()
    carry_out(tmp_path / "log.jsonl", scripted, drifting)
    # Tuned and scored runs are one program; where the log has the tuned ones, the scored ones are another.
    assert [(unit.phase, unit.seeds, unit.scored_ahead) for unit in scripted.seen] == [("tune", (10_000,), (0, 1))]
    records = read(tmp_path / "log.jsonl").records
    tuned, scored = ([r for r in records if r["phase"] == phase] for phase in ("tune", "score"))
    trained = {r["trial"] for r in tuned if r["converged"]}
    # The objective's curvature is 1 at the limit of gradient flow: no step above 2 is stable there, nor far above it.
    assert {r["trial"] for r in tuned if 0.5 < r["hyperparameters"]["lr"] < 2} <= trained
    assert all(r["hyperparameters"]["lr"] < 10 for r in tuned if r["trial"] in trained)
    assert 1 < len(trained) < 8
    assert [(r["trial"], r["seed"]) for r in scored] == [(trial, seed) for trial in sorted(trained) for seed in (0, 1)]
    assert {r["selection"] for r in records} == {"convergence"}
    assert [(r["trial"], r["seed"]) for r in scored if r["probe"]] == [(min(trained), 0)]


def test_runs_that_are_scored_ahead_are_those_of_a_scoring_unit(tmp_path: Path, drifting: Plan) -> None:
    carry_out(tmp_path / "log.jsonl", what=drifting)
    whole = tmp_path / "log.jsonl"
    tuned = [line for line in whole.read_bytes().splitlines(keepends=True) if b'"phase":"tune"' in line]
    (tmp_path / "tuned.jsonl").write_bytes(b"".join(tuned))
    scripted = Scripted()
    carry_out(tmp_path / "tuned.jsonl", scripted, drifting)
    assert [(unit.phase, unit.seeds, unit.scored_ahead) for unit in scripted.seen] == [("score", (0, 1), ())]
    ahead, alone = runs_of(whole), runs_of(tmp_path / "tuned.jsonl")
    assert ahead.keys() == alone.keys()
    for key, record in ahead.items():
        other = alone[key]
        assert record["train_loss"] == pytest.approx(other["train_loss"], rel=1e-9)
        assert record["measures"] == pytest.approx(other["measures"], rel=1e-9)
        assert [record[name] for name in ("status", "steps", "probe")] == [
            other[name] for name in ("status", "steps", "probe")
        ]


def test_scored_runs_of_settings_that_do_not_train_are_skipped_where_they_would_cost(
    tmp_path: Path, drifting: Plan
) -> None:
    """Where every run has an optimizer of its own; records are those of the runs that are trained ahead."""
    carry_out(tmp_path / "torch.jsonl", what=drifting)
    own = tmp_path / "subclass.py"
    own.write_text(
        "import torch\nfrom suite import LogUniform, Submission\nclass Own(torch.optim.SGD):\n    pass\n"
        "submission = Submission('own', Own, space={'lr': LogUniform(0.1, 100.0)})\n"
    )
    scripted, what = Scripted(), plan(str(own), tasks=("valley_scalar",), trials=8)
    assert [loaded.entrywise for loaded in (*drifting.submissions, *what.submissions)] == [True, False]
    carry_out(tmp_path / "own.jsonl", scripted, what)
    ahead, after = (
        {key[2:]: r for key, r in runs_of(tmp_path / name).items()} for name in ("torch.jsonl", "own.jsonl")
    )
    trained = {trial for phase, trial, _ in ahead if phase == "score"}
    assert [
        (unit.phase, unit.seeds, unit.scored_ahead, {number for number, _ in unit.trials}) for unit in scripted.seen
    ] == [
        ("tune", (10_000,), (), set(range(8))),
        ("score", (0, 1), (), trained),
    ]
    assert len(trained) < 8
    assert after.keys() == ahead.keys()
    for key, record in after.items():
        assert record["status"] == ahead[key]["status"]
        assert record["train_loss"] == pytest.approx(ahead[key]["train_loss"], rel=1e-9)
        assert record["measures"] == pytest.approx(ahead[key]["measures"], rel=1e-9)


@pytest.mark.parametrize("kept", [1, 8, 9])
def test_an_interrupted_run_with_scores_ahead_goes_on_to_the_same_records(
    tmp_path: Path, drifting: Plan, kept: int
) -> None:
    carry_out(tmp_path / "log.jsonl", what=drifting)
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_bytes(b"".join(lines[:kept]))
    steps = carry_out(tmp_path / "part.jsonl", what=drifting)
    assert len(read(tmp_path / "part.jsonl").records) == len(lines)
    assert runs_of(tmp_path / "part.jsonl").keys() == runs_of(tmp_path / "log.jsonl").keys()
    assert steps[-1].done == 1.0
    assert carry_out(tmp_path / "part.jsonl", what=drifting) == []


def test_a_setting_that_kills_its_worker_leaves_the_scores_ahead_of_others(tmp_path: Path, drifting: Plan) -> None:
    scripted = Scripted(lambda unit, before: LOST if any(number == 0 for number, _ in unit.trials) else None)
    carry_out(tmp_path / "log.jsonl", scripted, drifting)
    # Twice together, then each setting once; nothing is trained again to be scored.
    assert [len(unit.trials) for unit in scripted.seen] == [8, 8] + [1] * 8
    records = read(tmp_path / "log.jsonl").records
    tuned, scored = ([r for r in records if r["phase"] == phase] for phase in ("tune", "score"))
    assert [r["trial"] for r in tuned if r["status"] == "failed"] == [0]
    trained = {r["trial"] for r in tuned if r["converged"]}
    assert {(r["trial"], r["seed"]) for r in scored} == {(trial, seed) for trial in trained for seed in (0, 1)}
    assert len(scored) == 2 * len(trained)


def test_where_no_setting_trains_one_is_scored_ahead(tmp_path: Path, drifting: Plan) -> None:
    scripted = Scripted(lambda unit, before: LOST)
    carry_out(tmp_path / "log.jsonl", scripted, drifting)
    records = read(tmp_path / "log.jsonl").records
    assert {r["status"] for r in records} == {"failed"}
    assert [(r["trial"], r["seed"]) for r in records if r["phase"] == "score"] == [(0, 0), (0, 1)]
    assert len(records) == 8 + 2


@pytest.mark.parametrize(("seeds", "submission"), [(1, "sgd"), (3, "sgd[lr=0.5]")])
def test_one_search_where_a_second_would_have_nothing_to_tell(tmp_path: Path, seeds: int, submission: str) -> None:
    """With one scored seed a second search would not be scored; where nothing is tuned there is no search."""
    what = plan(submission, seeds=seeds)
    carry_out(tmp_path / "log.jsonl", what=replace(what, track=replace(what.track, searches=2)))
    records = read(tmp_path / "log.jsonl").records
    assert {search_of(record) for record in records} == {0}
    assert [record["seed"] for record in records if record["phase"] == "score"] == list(range(seeds))


def test_only_the_first_searches_are_measured_and_only_where_a_race_or_a_choice_would_hide_scores() -> None:
    names = ("min_norm_regression", "mnist5k_mlp", "valley_scalar")
    entries = planned_entries(make_plan(("sgd",), names, find_track("quick")), Costs())
    measured = {(entry.task.name, entry.search) for entry in entries for unit in entry.tuning() if unit.measured}
    assert measured == {("min_norm_regression", 0), ("mnist5k_mlp", 0)}
    assert {entry.search for entry in entries} == {0, 1}
