"""From a unit of work to its records: train, save the solutions, measure.

build the data, and solve the oracles that are scored
look at the data of every seed                        (failed: all records are `unavailable`)
in a child process:                                   (died: no records)
    load the submission
    train all runs together                           (fails: each run by itself)
    answer with weights and numbers, as plain data
check the numbers; of an architecture, load the code that makes its network
for each run; of those on seeds that are scored ahead, for those of trials that the others select
    look at the oracle                                (failed: the record is `unavailable`)
    if it ended at the target loss: build its network anew, with its weights
        if that network's training loss is the target loss: save the solution, measure it
        else: the record is `failed`
    seal the record
measure the scored runs along the way, where they were traced

The process that judges, measures and seals never runs an optimizer's code: the network and the loss are the task's own.
It must run an architecture's, but nothing of what that did while it was trained is there. A process that no worker has
forked (the engine `local:0`, systems without `fork`) trains in itself, and what a submission changes stays changed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from msgspec import to_builtins
from torch import Tensor, nn

import suite
from suite.boards import BOARD_VERSION
from suite.errors import sentence, trace_of
from suite.estimate import uncertainties
from suite.models import hold, restore
from suite.sandbox import host
from suite.sandbox.answers import Runs, decode, encode, of_results
from suite.sandbox.child import in_child, is_child
from suite.sandbox.confinement import isolation
from suite.storage.cache import read_only
from suite.storage.record import PATH, SCHEMA, TRACEBACK, Record, Status, clean, seal
from suite.storage.solutions import save, solution_hash
from suite.task import CURVE_POINTS, Axis, Curve, Oracle, Solution, Split, Task, Weights
from suite.training import TrainingResult, TrainingRun, train
from suite.training.retry import by_run, train_in_parts
from suite.training.single_precision import in_single_precision, is_reachable, narrowed, refuses_double, widened
from suite.trials.probes import undefined
from suite.trials.provenance import environment, task_hash
from suite.trials.resolved import ResolvedUnit, load_ground, resolve
from suite.trials.training_path import TracedRun, training_paths
from suite.trials.unit import Trial, Unit

if sys.platform != "win32":
    import resource

CURVE_SEED = 0
"""The scored seed whose records carry curves: a picture shows one data set."""

PROBED_SEED = 0
"""The scored seed in whose run an optimizer is probed (`suite.training.behavior_probe`): once per task."""


def run_unit(unit: Unit) -> list[Record]:
    """Train and measure every run of `unit`; returns a sealed record per run, trial by trial.

    Runs on seeds that are scored ahead come last, and only those of trials that the unit's other records select.

    A submission that raises gives records with status `failed` and the reason. A task whose data or oracle cannot be
    had gives records with status `unavailable`: the submission is not to blame, and a later run tries again.
    """
    begin, worked = time.perf_counter(), _processor_seconds()
    with _without_traces(unit):
        records, traced = _run_unit(unit)
        # What a unit costs beside training and measuring is in no run's own time: data, oracles, checks, probes.
        seconds, cpu = time.perf_counter() - begin, _processor_seconds() - worked
        spent = {
            "unit_seconds": round(seconds / unit.size, 4),
            # The sandbox's processes and a GPU's time are none of this process's.
            "cpu_seconds": round(cpu / unit.size, 4) if unit.isolation is None and unit.device == "cpu" else None,
            "peak_memory": _peak_memory(),
        }
        sealed = [_sealed(record | spent) for record in records]
        return sealed if traced is None else _with_paths(traced, sealed)


class _Traced(NamedTuple):
    """What is left to measure of a unit whose runs were traced: along the way, by the numbers of trial and seed."""

    work: ResolvedUnit
    runs: Mapping[tuple[int, int], TracedRun]


def _with_paths(traced: _Traced, records: Sequence[Record]) -> list[Record]:
    """The sealed records of a unit, those of scored runs with their paths, which are outside of what is sealed."""
    unit, keys = traced.work.unit, [(record["trial"], record["seed"]) for record in records]
    known = [key in traced.runs and record["phase"] == "score" for key, record in zip(keys, records, strict=True)]
    runs = [traced.runs[key] for key in itertools.compress(keys, known)]
    paths = iter(training_paths(traced.work.task, runs, unit.device, unit.traced_all))
    return [
        record | {PATH: next(paths)._asdict()} if is_known else record
        for record, is_known in zip(records, known, strict=True)
    ]


def _processor_seconds() -> float:
    """Seconds of CPU of this process, and of its children that have ended."""
    return sum(os.times()[:4])


def _sealed(record: Record) -> Record:
    """The sealed record; the traceback of a run that failed stays outside of what is sealed."""
    trace = record.pop(TRACEBACK, "")
    return seal(record) | ({TRACEBACK: trace} if trace else {})


def _peak_memory() -> int | None:
    """The most bytes of memory that this process or one that it forked to train has held at a time.

    None where the system does not tell.
    """
    if sys.platform == "win32":
        return None
    held = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return held * (1 if sys.platform == "darwin" else 1024)


def _run_unit(unit: Unit) -> tuple[list[Record], _Traced | None]:
    """The records of `run_unit`, not sealed yet, without what the unit cost as a whole; and what is left to measure."""
    work = resolve(unit)
    try:
        problems = {seed: work.problem(seed) for seed in unit.all_seeds}
    except Exception as error:
        return failed(work, sentence(error), Status.UNAVAILABLE, trace_of(error)), None
    scored = unit.seeds if work.scored else unit.scored_ahead
    runs = [
        TrainingRun(
            problems[seed],
            seed,
            trial.number,
            trial.settings,
            probed=_may_be_probed(work, trial, seed),
            traced=unit.traced if seed in scored else None,
        )
        for trial in unit.trials
        for seed in unit.all_seeds
    ]
    results = {(run.trial, run.seed): (run, result) for run, result in zip(runs, _train(work, runs), strict=True)}
    work = _with_network(work)
    records = _records(work, lambda part, trial, seed: _record(part, *results[trial.number, seed]))
    if unit.traced is None:
        return records, None
    oracle = functools.cache(work.oracle) if unit.traced_all and work.task.oracle is not None else lambda _: None
    return records, _Traced(
        work,
        {
            key: TracedRun(run, result, oracle(run.seed))
            for key, (run, result) in results.items()
            if run.traced is not None and isinstance(result, TrainingResult)
        },
    )


def _with_network(work: ResolvedUnit) -> ResolvedUnit:
    """The unit with the code that makes its networks: an architecture's own; of an optimizer nothing is needed."""
    return work.with_code() if work.loaded.submission.kind == "architecture" else work


def _records(work: ResolvedUnit, record: Callable[[ResolvedUnit, Trial, int], Record]) -> list[Record]:
    """The records that `record` gives for the runs of a unit; of those scored ahead, for those that are selected."""

    def of_seeds(part: ResolvedUnit) -> list[Record]:
        return [record(part, trial, seed) for trial in part.unit.trials for seed in part.unit.seeds]

    records = of_seeds(replace(work, unit=work.unit.without_ahead()))
    return records + of_seeds(work.ahead(records))


def _is_probed(work: ResolvedUnit, trial: int, seed: int) -> bool:
    """Whether a record states what the optimizer does beside following gradients: once per task and search."""
    return work.scored and (trial, seed) == (work.unit.trials[0].number, PROBED_SEED)


def _may_be_probed(work: ResolvedUnit, trial: Trial, seed: int) -> bool:
    """Whether a run's record may state it, whatever is selected. Where the task sets something in it: never."""
    part = work if seed in work.unit.seeds else replace(work, unit=work.unit.ahead([trial.number]))
    is_theirs = work.loaded.submission.kind == "optimizer" and work.task.fixed.keys().isdisjoint(trial.settings)
    return _is_probed(part, trial.number, seed) and is_theirs


def failed(work: ResolvedUnit, reason: str, status: Status = Status.FAILED, trace: str = "") -> list[Record]:
    """The records of a unit that gave none: its worker died or was stopped, or there are no data. Needs no data."""

    def fields(part: ResolvedUnit) -> Record:
        axes = resolve_axes(work.task.axes, None) if part.measured else {}
        return {"status": status, "reason": reason, "axes": axes, TRACEBACK: trace}

    return _records(
        work, lambda part, trial, seed: _sealed(_blank(part, trial.number, trial.settings, seed) | fields(part))
    )


def measure_again(unit: Unit, weights: Weights) -> Record:
    """Measure stored weights of the unit's only run: the record's fields that do not depend on how it was trained."""
    with _without_traces(unit):
        work = _with_network(resolve(unit))
        (trial,), (seed,) = unit.trials, unit.seeds
        run = TrainingRun(work.problem(seed), seed, trial.number, trial.settings)
        axes = resolve_axes(work.task.axes, work.oracle(seed))
        return clean(_judged(work, run, weights) | {"data_fingerprint": work.fingerprint(seed), "axes": axes})


@contextlib.contextmanager
def _without_traces(unit: Unit) -> Iterator[None]:
    """Fill the caches that other processes read before a submission is loaded, and write nothing to them after."""
    with contextlib.suppress(Exception):  # the unit itself meets the error, and says what it means
        load_ground(unit)
    with read_only():
        yield


def resolve_axes(axes: Sequence[Axis], oracle: Oracle | None) -> dict[str, dict[str, Any]]:
    """The axes as a record states them: references that theory gives per data set become numbers.

    Without an oracle (it did not solve, or the run failed before) such references are null.
    """

    def reference(value: float | str) -> float | None:
        if isinstance(value, str):
            return None if oracle is None else oracle.values[value]
        return value

    return {
        axis.axis: {
            "measure": axis.measure,
            "scale": axis.scale,
            "score_0": reference(axis.score_0),
            "score_1": reference(axis.score_1),
            "floor": axis.floor,
        }
        | ({"provisional": axis.provisional} if axis.provisional else {})
        for axis in axes
    }


def _train(work: ResolvedUnit, runs: Sequence[TrainingRun]) -> list[TrainingResult | Exception]:
    """A result for every run, or an error whose text says what went wrong.

    An optimizer that refuses weights in double precision is trained on a copy of the task, if that can reach its target
    loss; the first errors stay where the copy fails too.
    """
    task = work.task
    results = _train_on(work, runs)
    if work.loaded.submission.kind != "optimizer" or task.dtype != torch.float64 or not refuses_double(results):
        return results
    if not is_reachable(task.target):
        why = f"and single precision does not reach the target loss {task.target.loss:g}"
        return [RuntimeError(f"It refuses weights in double precision ({error}), {why}") for error in results]
    copied = _train_on(work, narrowed(runs), in_single_precision)
    if all(isinstance(result, Exception) for result in copied):
        return results
    return [result if isinstance(result, Exception) else widened(result) for result in copied]


def _itself(task: Task) -> Task:
    return task


def _train_on(
    work: ResolvedUnit, runs: Sequence[TrainingRun], of: Callable[[Task], Task] = _itself
) -> list[TrainingResult | Exception]:
    """`_train` on the task that `of` makes of the unit's."""
    unit = work.unit
    race = not work.measured and work.task.selection == "gradient_evaluations"
    if unit.isolation is not None and work.loaded.submission.kind == "optimizer":
        return host.train(of(work.task), unit.submission, runs, unit.isolation.limits, unit.device, race)

    def train_all() -> bytes:
        with_code = work.with_code()
        return encode(*of_results(_train_here(with_code, of(with_code.task), runs, race)))

    answer, tensors = decode(in_child(train_all) if is_child() else train_all(), Runs)
    if not isinstance(answer, Runs):
        raise RuntimeError("training ended without an answer that can be read")
    return host.results_of(answer, tensors, runs)


def _train_here(
    work: ResolvedUnit, task: Task, runs: Sequence[TrainingRun], race: bool
) -> list[TrainingResult | Exception]:
    """Train `runs` on `task` in this process with the submission's code; see `_train`."""
    optimizer = work.entry.optimizer

    def train_batch(part: Sequence[TrainingRun]) -> list[TrainingResult]:
        return train(
            task,
            part,
            work.entry.make,
            work.unit.device,
            race=race,
            schedule=optimizer.schedule,
            loss=optimizer.loss,
        )

    return train_in_parts(runs, train_batch, by_run)


def _record(work: ResolvedUnit, run: TrainingRun, result: TrainingResult | Exception) -> Record:
    """The record of a run that was trained, or whose submission raised."""
    begin = time.perf_counter()
    record = _blank(work, run.trial, run.settings, run.seed) | {"data_fingerprint": work.fingerprint(run.seed)}
    if isinstance(result, TrainingResult):
        record |= _trained(result)
    else:
        record |= {"reason": str(result), TRACEBACK: trace_of(result)}
    if not _is_probed(work, run.trial, run.seed):
        record["probe"] = None
    if work.measured:
        try:
            record["axes"] = resolve_axes(work.task.axes, work.oracle(run.seed))
        except Exception as error:
            if work.scored:  # a trial goes without: selection needs no oracle
                ended = {"converged": False, "status": Status.UNAVAILABLE, "reason": sentence(error)}
                ended |= {TRACEBACK: trace_of(error)}
                return record | ended | {"axes": resolve_axes(work.task.axes, None)}
    if isinstance(result, TrainingResult):
        if work.scored and run.seed == CURVE_SEED:
            record["curves"] = {"training_loss": _rounded(_training_curve(result))}
        if result.converged:
            record |= _verdict(work, run, result, record["curves"])
    return record | {"measure_seconds": round(time.perf_counter() - begin, 4)}


def _verdict(work: ResolvedUnit, run: TrainingRun, result: TrainingResult, curves: Record) -> Record:
    """What becomes of a run that says it has converged: the fields that its weights decide, or why it has failed."""
    target = work.task.target
    try:
        fields = _judged(work, run, result.weights)
    except Exception as error:
        reason = f"Measuring raised {sentence(error)}"
        return {"converged": False, "status": Status.FAILED, "reason": reason, TRACEBACK: trace_of(error)}
    if not target.admits(fields["train_loss"]):
        reason = (
            f"Training ended at the loss {result.train_loss:g}, but its network, built anew with its weights, has the "
            f"training loss {fields['train_loss']:g}; the target loss is {target.loss:g}"
        )
        return {"converged": False, "status": Status.FAILED, "reason": reason, "train_loss": fields["train_loss"]}
    if work.scored and work.unit.solutions is not None:
        save(Path(work.unit.solutions), result.weights)  # a full disk is no fault of the run: it is not recorded
    return fields | {"curves": curves | fields.get("curves", {})}


def declared(work: ResolvedUnit) -> Record:
    """The fields of a record that suite, submission and task settle, whatever is run."""
    task, submission = work.task, work.loaded.submission
    return {
        "schema": SCHEMA,
        "suite_version": suite.__version__,
        "board_version": BOARD_VERSION,
        "submission": submission.name,
        "kind": submission.kind,
        "explicit": submission.explicit,
        "submission_hash": work.loaded.source_hash,
        "method": submission.method,
        "task": task.name,
        "family": task.family,
        "variant": dict(task.variant),
        "task_hash": task_hash(task),
        "selection": task.selection,
        "reported": list(task.reported),
    }


def _blank(work: ResolvedUnit, trial: int, settings: Mapping[str, Any], seed: int) -> Record:
    """The record of a run before it is trained."""
    unit = work.unit
    return declared(work) | {
        "track": unit.track,
        "phase": unit.phase,
        "data_fingerprint": None,
        "search": unit.search,
        "trial": trial,
        "hyperparameters": settings,
        "seed": seed,
        "converged": False,
        "status": Status.FAILED,
        "reason": None,
        "train_loss": None,
        "validation_loss": None,
        "gradient_evaluations": 0,
        "target_evaluations": None,
        "steps": 0,
        "seconds": 0.0,
        "measure_seconds": 0.0,
        "unit_seconds": 0.0,
        "cpu_seconds": None,
        "peak_memory": None,
        "stepping": None,
        "placement": {},
        "implementations": {},
        "precision": None,
        "probe": None,
        "measures": {},
        "uncertainties": {},
        "undefined": {},
        "axes": {},
        "curves": {},
        "solution_hash": None,
        "isolation": None if unit.isolation is None else isolation(),
        "environment": environment(unit.device),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _trained(result: TrainingResult) -> Record:
    """The fields that training decides."""
    return {
        "converged": result.converged,
        "status": result.status,
        "train_loss": result.train_loss,
        "gradient_evaluations": result.gradient_evaluations,
        "target_evaluations": result.target_evaluations,
        "steps": result.steps,
        "seconds": round(result.seconds, 4),
        "stepping": result.stepping,
        "placement": result.placement,
        "implementations": result.implementations,
        "precision": result.precision,
        "probe": None if result.probe is None else to_builtins(result.probe),
        "solution_hash": solution_hash(result.weights),
    }


def _judged(work: ResolvedUnit, run: TrainingRun, weights: Weights) -> Record:
    """The fields that weights decide: losses, and where they are measured at the target loss, measures and curves.

    The network is built anew and takes the weights: what was added to it while it was trained is not there.
    """
    model = work.task.model(run.problem, run.seed).to(work.unit.device)
    initial = hold(model)
    restore(model, weights)
    model.eval()
    fields: Record = {"train_loss": _loss(work, model, run.problem.train), "validation_loss": None}
    if not work.task.target.admits(fields["train_loss"]):
        return fields
    if run.problem.validation is not None:
        fields["validation_loss"] = _loss(work, model, run.problem.validation)
    if work.scored:
        return fields | _measured(work, run, model, initial)
    if work.measured:
        with contextlib.suppress(Exception):  # what a trial measures must not decide whether it is selected
            return fields | _measured(work, run, model, initial)
    return fields


def _measured(work: ResolvedUnit, run: TrainingRun, model: nn.Module, initial: Weights) -> Record:
    """The measures and curves of a trained `model`."""
    problem = run.problem.to(work.unit.device)
    solution = Solution(model, initial, problem, work.oracle(run.seed), run.seed, run.settings)
    empty = _undefined(work, model, problem.train.x, run.seed)
    taken = work.task.measure(solution)
    empty |= {name: why for name, why in _unproved(work.task, taken).items() if name not in empty}
    measures = {name: value for name, value in taken.items() if name not in empty}
    curves = work.task.curves(solution) if work.task.curves and run.seed == CURVE_SEED else {}
    return {
        "measures": {name: float(value) for name, value in measures.items()} | dict.fromkeys(empty),
        "undefined": empty,
        "uncertainties": uncertainties(measures),
        "curves": {name: _rounded(curve) for name, curve in curves.items()},
    }


def _undefined(work: ResolvedUnit, model: nn.Module, inputs: Tensor, seed: int) -> dict[str, str]:
    """The measures that are not defined for a submitted network, with the reasons; the tasks' own have all."""
    if work.loaded.submission.kind != "architecture":
        return {}
    return undefined(model, inputs, list(dict.fromkeys([axis.measure for axis in work.task.axes])), seed)


def _unproved(task: Task, measures: Mapping[str, float]) -> dict[str, str]:
    """The scored measures of which it is not proved that no symmetry moves them, with the reasons."""
    notes = {axis.measure: getattr(measures.get(axis.measure), "note", "") for axis in task.axes}
    return {name: note.removesuffix(".") for name, note in notes.items() if note}


@torch.no_grad()
def _loss(work: ResolvedUnit, model: nn.Module, split: Split) -> float:
    split = split.to(work.unit.device)
    return work.task.loss(model(split.x), split.y).item()


def _training_curve(result: TrainingResult) -> Curve:
    # Drawn on a log scale, which has no place for the start at 0 evaluations.
    evaluations, losses = zip(*((max(1, at), loss) for at, loss in result.history[-CURVE_POINTS:]), strict=True)
    return Curve(evaluations, losses, "gradient evaluations", "training loss", x_log=True, y_log=min(losses) > 0)


def _rounded(curve: Curve) -> dict[str, Any]:
    """A curve as a record states it: four significant digits are enough for a picture."""
    fields = asdict(curve)
    for name in ("x", "y", "oracle"):
        if fields[name] is not None:
            fields[name] = [float(f"{value:.4g}") for value in fields[name]]
    return fields
