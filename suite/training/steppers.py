"""One step of all lanes, for each mode of training.

- `FullBatchStepper`: the gradient at the weights comes with the loss, which is checked for free at every step.
- `MiniBatchStepper`: steps on mini-batches (or with noisy labels, a loss of the submission's own, other weights for
  evaluation than for training), and now and then a check of the loss on the whole training data.
- `ClosureStepper`: the same for optimizers that call closures, as often as they like.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from suite.signature import Settings
from suite.task import Weights
from suite.training.closures import ClosureBarrier
from suite.training.equivalence import EquivalenceCheck
from suite.training.global_state import seed_generators
from suite.training.gradient_count import GRADIENTS, gradients_of_others
from suite.training.groups import Group, is_entrywise
from suite.training.lanes import SingleModel, StackedModels
from suite.training.optimizer_factory import BuildOptimizer, Parameters, implementations, placement
from suite.training.run import Device, Snapshot, Stepping, TrainingRun
from suite.training.snapshots import SnapshotRecorder
from suite.training.step_protocol import StepProtocol, TrainingSetup
from suite.training.stopping import StoppingRule
from suite.training.tape import NotEquivalent
from suite.training.vmapped import VmappedGroup

FULL_BATCH_CHECK = 20
"""Full batch: at least so many steps between two checks, where the loss at the weights does not come for free."""


class Stepper:
    """The lanes of one program: models, data, optimizers and counts; subclasses say what `advance` does.

    Attributes:
        evaluations, steps: of every lane: gradient evaluations, and calls of its optimizer's `step`.
        initial, final: of every lane: weights and buffers before the first step, and when it ended.
        placement: how many weights of a lane each algorithm steps.
        implementations: the packages that these algorithms come from.
    """

    def __init__(self, setup: TrainingSetup, runs: Sequence[TrainingRun], race: bool) -> None:
        self._setup, self._race = setup, race
        self._others = GRADIENTS.others
        task, device, lanes = setup.task, setup.device, range(len(runs))
        models = [run.model(task, device) for run in runs]
        self._stack, self._dataset, self._batches = setup.source.program(
            task, setup.loss, runs, models, device, setup.protocol.needs_graph
        )
        if isinstance(self._stack, SingleModel) and setup.replays and not setup.requires_single:
            self._stack.replay()
        self.initial = [self._stack.snapshot(lane) for lane in lanes]
        self.final: list[Weights] = [{} for _ in lanes]
        self.evaluations, self.steps = [0 for _ in lanes], [0 for _ in lanes]
        self.stopping = StoppingRule(task.target, self.evaluations)
        self._steps_per_check = max(task.target.check_every, FULL_BATCH_CHECK if task.batch_size is None else 0)
        seeds = [run.stream_seeds(task.name) for run in runs]

        def build(parameters: Parameters, settings: Settings) -> Any:
            return setup.make_optimizer(parameters, settings, models[0])

        trials = [list(trial) for _, trial in groupby(lanes, key=lambda lane: runs[lane].trial)]
        self._trials = {range(trial[0], trial[-1] + 1): runs[trial[0]].settings for trial in trials}
        rng_seeds = [streams["optimizer"] for streams in seeds]
        seed_generators(rng_seeds[0])
        self._groups, self.stepping = make_groups(
            self._stack, build, self._trials, setup.protocol, rng_seeds, device, setup.vmaps_steps
        )
        group = self._groups[0]
        stacked_lanes = len(group.lanes) if self.stepping == "stacked" else 1
        self.placement = {name: count // stacked_lanes for name, count in placement(group.optimizer).items()}
        self.implementations = implementations(group.optimizer)
        self._check = EquivalenceCheck(self._groups, setup, runs) if len(runs) > 1 else None
        traced = any(run.traced for run in runs)
        self._recorder = SnapshotRecorder(self._stack, runs, self.initial) if traced else None

    def start(self) -> None:
        """Check the initial loss, unless the first step does."""
        self._check_weights()
        self._switch("train")

    def advance(self, lanes: list[int]) -> None:
        """Train the active `lanes` up to the next check of their losses, and check them."""
        raise NotImplementedError

    def finish(self) -> None:
        """Look once more whether every lane was trained as by an ordinary loop; a `NotEquivalent` if not."""
        if self._check is not None:
            self._check.check_globals()
        if isinstance(self._stack, SingleModel):
            before = GRADIENTS.total
            self._stack.prove()
            GRADIENTS.expected += GRADIENTS.total - before

    def snapshots(self, lane: int) -> tuple[Snapshot, ...]:
        """What was kept of a lane along the way."""
        return () if self._recorder is None else tuple(self._recorder.snapshots[lane])

    def _before_step(self, lanes: list[int]) -> None:
        """Note what a snapshot after the next step of `lanes` needs to know."""
        if self._recorder is not None and not self._setup.protocol.has_eval_mode:  # whose weights are others in a step
            self._recorder.before_step(lanes, self.steps)

    def _after_step(self, lanes: list[int]) -> None:
        """Take the snapshots that are due of the active ones of `lanes`, which have their weights for evaluation."""
        if self._recorder is not None:
            active = [lane for lane in lanes if lane not in self.stopping.status]
            self._recorder.after_step(active, self.steps, self.evaluations, self._groups)

    def _batch(self, lanes: list[int], ahead: int = 0) -> tuple[Tensor, Tensor, Tensor | None]:
        """The present batches of `lanes`, and the task's decay of each when it has spent `ahead` more evaluations."""
        decay, strengths = self._setup.task.decay, None
        if decay is not None:
            decays = [self.stopping.progress(lane, ahead) < decay.until for lane in lanes]
            strengths = torch.tensor(decays).to(self._stack.scales) * decay.strength
        return *self._batches.batch(lanes), strengths

    def _evaluate(self, lanes: list[int], descended: bool = False) -> Tensor:
        """Losses of `lanes` on their batches, without the task's decay; sets their gradients, with it.

        With `descended` they are what the gradients belong to: what a closure returns.
        """
        x, y, strengths = self._batch(lanes)
        before, index = GRADIENTS.total, self._dataset.index(lanes)
        losses = self._stack.evaluate(x, y, index, strengths)
        # What a hook of the optimizer asks for meanwhile is its own. A tape that is played has no pass.
        GRADIENTS.expected += self._setup.passes if self._stack.runs_hooks else GRADIENTS.total - before
        return self._stack.descended(losses, index, strengths) if descended else losses

    def _update_stopping(self, lanes: list[int], losses: list[float]) -> None:
        """Freeze the lanes that end with these losses on the whole training data."""
        ended = self.stopping.update(lanes, losses)
        if self._race:
            ended += self.stopping.race(self._trials)
        for lane in ended:
            self.final[lane] = self._stack.snapshot(lane)
            if self._recorder is not None:
                self._recorder.finish(lane, self.steps[lane], self.evaluations[lane], self.final[lane], self._groups)
            for gradient in self._stack.gradients.values():
                gradient[lane] = 0  # a stacked optimizer goes on with the lane's neighbours

    def _active_groups(self) -> list[Group]:
        return [group for group in self._groups if any(lane not in self.stopping.status for lane in group.lanes)]

    def _active_lanes(self, group: Group) -> list[int]:
        return [lane for lane in group.lanes if lane not in self.stopping.status]

    def _set_rate(self, group: Group) -> None:
        active = next(lane for lane in group.lanes if lane not in self.stopping.status)
        group.set_rate(self._setup.schedule(self.stopping.progress(active)) * self.stopping.annealing(active))

    def _step(self, groups: list[Group]) -> None:
        """Step every group with the gradients that were just evaluated."""
        self._before_step(self.stopping.active())
        for group in groups:
            self._set_rate(group)
        if self._check is not None:
            self._check.before_step(self.stopping.active(), self._batch)
        for group in groups:
            group.step()
        if self._check is not None:
            self._check.after_step()

    def _count(self, lanes: list[int], evaluations: int) -> None:
        """Count a step and gradient `evaluations` of the active ones of `lanes`, and what the optimizer did itself."""
        own, self._others = gradients_of_others(self._others), GRADIENTS.others
        if own and len(self._stack) > 1:
            raise NotEquivalent("it computes gradients of its own, which are counted where a run is the only one")
        evaluations += math.ceil(own / self._setup.passes)
        for lane in lanes:
            if lane not in self.stopping.status:
                self.evaluations[lane] += evaluations
                self.steps[lane] += 1
        if not self._setup.protocol.has_eval_mode:
            self._after_step(lanes)

    def _check_losses(self) -> None:
        """Update the stopping rule at the weights that are meant for evaluation."""
        self._switch("eval")
        if self._setup.protocol.has_eval_mode:
            self._after_step(self.stopping.active())
        self._check_weights()
        self._switch("train")

    def _check_weights(self) -> None:
        """Update the stopping rule with the losses of all active lanes, at the weights as they are."""
        lanes = self.stopping.active()
        x, y = self._dataset.whole(lanes)
        # While no lane can stall, it is enough to know whether its loss is above the target loss.
        ceiling = math.inf if self.stopping.needs_exact_loss() else self._setup.task.target.loss
        self._update_stopping(lanes, self._stack.losses(x, y, self._dataset.index(lanes), ceiling).tolist())

    def _switch(self, mode: str) -> None:
        """Call `train` or `eval` of the active optimizers that have them."""
        for group in self._active_groups() if self._setup.protocol.has_eval_mode else ():
            getattr(group.optimizer, mode)()


class FullBatchStepper(Stepper):
    """The loss at the weights comes free with their gradient, so the stopping rule is updated at every step."""

    def start(self) -> None:
        pass

    def advance(self, lanes: list[int]) -> None:
        losses = self._evaluate(lanes)
        self._update_stopping(lanes, losses.tolist())
        self._step(self._active_groups())
        self._count(lanes, 1)


class MiniBatchStepper(Stepper):
    """Several steps on the lanes' batches, then a check."""

    def advance(self, lanes: list[int]) -> None:
        groups = self._active_groups()
        for _ in range(self._steps_per_check):
            for lane in lanes:
                self._batches.advance(lane, self.evaluations[lane])
            self._evaluate(lanes)
            self._step(groups)
            self._count(lanes, 1)
            if all(self.evaluations[lane] >= self._setup.task.target.budget for lane in lanes):
                break
        self._check_losses()


class ClosureStepper(Stepper):
    """Several steps of every lane, whose closures share batched gradients, then a check."""

    def advance(self, lanes: list[int]) -> None:
        groups = {group.lanes.start: group for group in self._active_groups()}

        def evaluate(waiting: list[int]) -> Mapping[int, Tensor]:
            if self._check is not None and any(groups[first].replaced_storage() for first in waiting):
                raise NotEquivalent("weights are not where the closure looks for them")
            evaluated = [lane for first in waiting for lane in self._active_lanes(groups[first])]
            losses = self._evaluate(evaluated, descended=True)
            if self._check is not None:
                self._check.in_closures(evaluated, self._batch)
            for lane in evaluated:
                self.evaluations[lane] += 1
            index = self._dataset.index(evaluated)
            of_all = losses if index is None else losses.new_zeros(len(self._stack)).index_copy_(0, index, losses)
            return {first: of_all[groups[first].index] for first in waiting}

        if len(groups) == 1:
            ((first, group),) = groups.items()
            self._step_group(group, lambda: evaluate([first])[first])
        else:
            barrier = ClosureBarrier(evaluate)
            closures = {first: functools.partial(barrier.closure, first) for first in groups}
            barrier.run(
                {first: functools.partial(self._step_group, groups[first], closures[first]) for first in groups}
            )
        self._check_losses()

    def _step_group(self, group: Group, closure: Callable[[], Tensor]) -> None:
        """Step the active lanes of `group` up to the next check or the end of their budget.

        They call closures equally often. The first gradient of a step alone updates the running statistics of batch
        norm: those that follow are taken at other weights, by which the network is not evaluated.
        """
        lanes, calls = self._active_lanes(group), 0

        def counted() -> Tensor:
            nonlocal calls
            calls += 1
            with contextlib.nullcontext() if calls == 1 else self._stack.statistics_kept():
                return closure()

        for _ in range(self._steps_per_check):
            if self.evaluations[lanes[0]] >= self._setup.task.target.budget:
                break
            for lane in lanes:
                self._batches.advance(lane, self.evaluations[lane])
            self._before_step(lanes)
            self._set_rate(group)
            if self._check is not None:
                self._check.before_closures(lanes, self._batch)
            calls = 0
            if self._setup.protocol.needs_grad_before_closure:
                group.prime(counted)
            group.step(counted)
            if self._check is not None:
                self._check.after_closures(lanes)
            self._count(lanes, 0)  # the closure counts its gradients


def stepper_class(setup: TrainingSetup) -> type[Stepper]:
    """The mode of training that `setup` needs."""
    task, protocol = setup.task, setup.protocol
    if protocol.needs_closure:
        return ClosureStepper
    is_loss_free = task.batch_size is None and task.label_noise is None and setup.loss is task.loss
    return FullBatchStepper if is_loss_free and not protocol.has_eval_mode else MiniBatchStepper


def make_groups(
    stack: StackedModels,
    build: BuildOptimizer,
    trials: Mapping[range, Settings],
    protocol: StepProtocol,
    seeds: Sequence[int],
    device: Device = "cpu",
    vmaps_steps: bool = False,
) -> tuple[list[Group], Stepping]:
    """Optimizers for all lanes, and the way in which they are stepped.

    `trials` maps the consecutive lanes of each trial to its hyper-parameters, `seeds` holds each lane's seed for an
    optimizer that draws. `vmaps_steps`: the code of an optimizer may run once for all lanes of a trial.
    """
    stepping: Stepping = "alone" if len(stack) == 1 else "rendezvous" if protocol.needs_closure else "per lane"
    if stepping == "per lane" and protocol.is_entrywise:
        groups = [Group(stack, lanes, build, settings, stacked=True) for lanes, settings in trials.items()]
        if all(is_entrywise(group.optimizer) for group in groups):
            return groups, "stacked"
    if vmaps_steps:
        return [VmappedGroup(stack, lanes, build, settings) for lanes, settings in trials.items()], stepping
    return [
        Group(stack, range(lane, lane + 1), build, settings, False, seed, device, protocol.uses_rng)
        for lanes, settings in trials.items()
        for lane in lanes
        for seed in (seeds[lane] if stepping == "per lane" else None,)
    ], stepping
