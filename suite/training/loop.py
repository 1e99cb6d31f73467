"""The training loop: any optimizer, all runs, until the stopping criterion.

    probe how the optimizer's step must be called                            # step_protocol
    stack the runs as lanes of one program if that is exact and faster       # equivalence; otherwise one run at a time
    build one optimizer per trial (stacked) or per lane                      # steppers.make_groups
    while a lane is active:
        batches = next mini-batch of each lane                               # minibatches
        losses, gradients = one batched forward and backward pass            # lanes; closures: closures
        every lr = lr * schedule(share of the budget that is spent)          # groups
        optimizer.step()
        if the loss on the whole training data is known now:
            freeze the lanes that reach the target loss or cannot reach it   # stopping

The budget is one of gradient evaluations. The common schedule is constant up to half of it, then a cosine to zero.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import torch

from suite.behavior import Probe
from suite.signature import MakeOptimizer
from suite.task import Task
from suite.training.behavior_probe import probe_behavior
from suite.training.equivalence import affordable_lane, same_result, supports_vmap, vmap_is_faster
from suite.training.global_state import generators_preserved, settings_preserved
from suite.training.gradient_count import gradients_counted
from suite.training.marks import unmarked
from suite.training.run import Device, TrainingResult, TrainingRun
from suite.training.source import LOCAL, GradientSource
from suite.training.step_protocol import OwnLoss, Schedule, TrainingSetup, training_setup
from suite.training.steppers import stepper_class
from suite.training.tape import NotEquivalent
from suite.training.vmapped import supports_vmapped_steps


@gradients_counted()
@settings_preserved()
@unmarked()
def train(
    task: Task,
    runs: Sequence[TrainingRun],
    make: MakeOptimizer,
    device: Device = "cpu",
    batched: bool | None = None,
    race: bool = False,
    schedule: Schedule | None = None,
    loss: OwnLoss | None = None,
    source: GradientSource = LOCAL,
) -> list[TrainingResult]:
    """Train every run, each with its own optimizer ``make(params, **settings)``.

    Args:
        runs: what is trained; those of one trial are consecutive.
        batched: all runs as one program, or one by one; None: whichever is faster for the task on the device.
            Optimizers that need a run's own model or the graph of its gradients are trained one by one in any case, and
            so are networks that cannot be batched.
        race: end trials that cannot be selected any more, where selection is by fewest gradient evaluations. It never
            changes which trial is selected.
        schedule: the submission's own, in place of `common_schedule`.
        loss: the submission's own. The stopping criterion reads the task's loss in any case.
        source: of losses and gradients.

    Returns:
        The results, in the order of `runs`. What the submission raises is raised.
    """
    setup = training_setup(task, runs[0], make, device, schedule, loss, source)
    as_one_program = (
        len(runs) > 1
        and batched is not False
        and not setup.requires_single
        and (source is not LOCAL or supports_vmap(task, runs[0], device))  # another one is asked by `batched`
        and (batched or vmap_is_faster(task, runs, device))
    )
    with generators_preserved(device):
        if as_one_program:
            for each in (replace(setup, vmaps_steps=True), setup) if supports_vmapped_steps(setup, runs) else (setup,):
                with contextlib.suppress(NotEquivalent):
                    results = _train_together(each, runs, race)
                    if _as_if_alone(setup, runs, results):
                        return _probed(setup, runs, results)
                source.begin_again()
        return _probed(setup, runs, _train_one_by_one(setup, runs, race))


def _as_if_alone(setup: TrainingSetup, runs: Sequence[TrainingRun], results: Sequence[TrainingResult]) -> bool:
    """Whether one of `runs` has the same result by itself, where it costs little to find out."""
    lane = affordable_lane(results)
    return lane is None or same_result(results[lane], _train_together(setup, [replace(runs[lane], traced=None)])[0])


def _train_one_by_one(setup: TrainingSetup, runs: Sequence[TrainingRun], race: bool) -> list[TrainingResult]:
    """Train each of `runs` alone; in a `race` no trial goes on beyond the evaluations of the best that is complete."""
    results: list[TrainingResult] = []
    best: int | None = None
    for _, trial in groupby(runs, key=attrgetter("trial")):
        spent, complete = 0, True
        for run in trial:
            limit = max(0, best - spent) * complete if race and best is not None else None
            results.append(_train_alone(setup, run, limit))
            spent += results[-1].gradient_evaluations
            complete &= results[-1].converged
        if complete:
            best = spent if best is None else min(best, spent)
    return results


def _train_alone(setup: TrainingSetup, run: TrainingRun, limit: int | None) -> TrainingResult:
    """Train one run; without replayed gradients where its network turns out to be another function later."""
    with contextlib.suppress(NotEquivalent):
        return _train_together(setup, [run], limit=limit)[0]
    setup.source.begin_again()
    return _train_together(replace(setup, replays=False), [run], limit=limit)[0]


def _probed(
    setup: TrainingSetup, runs: Sequence[TrainingRun], results: Sequence[TrainingResult]
) -> list[TrainingResult]:
    """The results with the probes that runs ask for, but for those that no record states.

    Of several trials it is the first selected one: none behind a trial whose every run has converged, and before it
    none that never did.
    """
    converged: dict[int, list[bool]] = {}
    for run, result in zip(runs, results, strict=True):
        converged.setdefault(run.trial, []).append(result.converged)
    complete = [trial for trial, ended in converged.items() if all(ended)]
    stated = {trial for trial, ended in converged.items() if not complete or (trial <= min(complete) and any(ended))}

    def probe(run: TrainingRun) -> Probe | None:
        for each in (setup, replace(setup, replays=False)):
            setup.globals.restore()
            with contextlib.suppress(NotEquivalent):
                return probe_behavior(each, run)
        return None

    return [
        replace(result, probe=probe(run)) if run.probed and run.trial in stated else result
        for run, result in zip(runs, results, strict=True)
    ]


def _train_together(
    setup: TrainingSetup, runs: Sequence[TrainingRun], race: bool = False, limit: int | None = None
) -> list[TrainingResult]:
    """Train `runs` as the lanes of one program; a `NotEquivalent` if one did not get what it gets alone.

    `limit`: gradient evaluations after which a run that still goes on has lost a race.
    """
    setup.globals.restore()
    stepper = stepper_class(setup)(setup, runs, race)
    stopping, seconds = stepper.stopping, [0.0] * len(runs)
    stopping.limit = limit
    stepper.start()
    while lanes := stopping.active():
        begin = time.perf_counter()
        stepper.advance(lanes)
        seconds_each = (time.perf_counter() - begin) / len(lanes)
        for lane in lanes:
            seconds[lane] += seconds_each
    stepper.finish()
    return [
        TrainingResult(
            status=stopping.status[lane],
            weights=stepper.final[lane],
            initial=stepper.initial[lane],
            train_loss=stopping.loss[lane],
            gradient_evaluations=stepper.evaluations[lane],
            steps=stepper.steps[lane],
            seconds=seconds[lane],
            stepping=stepper.stepping,
            target_evaluations=stopping.target_evaluations[lane],
            history=(*stopping.history[lane], (stepper.evaluations[lane], stopping.loss[lane])),
            placement=stepper.placement,
            implementations=stepper.implementations,
            snapshots=stepper.snapshots(lane),
        )
        for lane in range(len(runs))
    ]


def warm_up() -> None:
    """Prepare a process for training: fix the number of threads, and build an optimizer.

    One thread, since the number decides rounding: a record must not depend on the machine's cores. A process's first
    optimizer imports further parts of torch, which takes a second and a half and replaces some of torch's functions.
    """
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
