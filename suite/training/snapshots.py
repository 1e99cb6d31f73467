"""Weights along training, at steps evenly spaced in log time: what `suite.trials.training_path` measures.

    before a step that is due     note the weights of its lanes
    after it                      keep the new ones, the norm of the update, and the preconditioner if it is known
    too many bytes are kept       drop every other snapshot, and take half as many from then on

Nothing that training reads is written, so a run that is traced has the numbers of one that is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adagrad, Adam, AdamW, RMSprop

from suite.task import Weights
from suite.training.groups import Group
from suite.training.lanes import StackedModels
from suite.training.run import Snapshot, TrainingRun

MAX_BYTES = 2**28
"""What the snapshots of one program may take: 56 of a network of 118,000 parameters, for each of ten runs."""


class SnapshotRecorder:
    """Takes the snapshots of the runs of one program that are `traced`.

    Attributes:
        snapshots: of every lane, in the order of steps; none for a lane that is not traced.
    """

    def __init__(self, stack: StackedModels, runs: Sequence[TrainingRun], initial: Sequence[Weights]) -> None:
        """Begin with the `initial` weights of every traced lane."""
        self._stack, self._parameters = stack, tuple(stack.parameters)
        self._growth = {lane: run.traced for lane, run in enumerate(runs) if run.traced is not None}
        self._due = dict.fromkeys(self._growth, 1)
        self._before: dict[int, Weights] = {}
        self._bytes = 0
        self.snapshots: list[list[Snapshot]] = [[] for _ in runs]
        for lane in self._growth:
            self._keep(lane, Snapshot(0, 0, initial[lane]))

    def before_step(self, lanes: Iterable[int], steps: Sequence[int]) -> None:
        """Note the weights of those of `lanes` whose next step is due; `steps` are those that every lane has made."""
        for lane in lanes:
            if steps[lane] + 1 >= self._due.get(lane, math.inf):
                self._before[lane] = self._stack.snapshot(lane)

    def after_step(
        self, lanes: Iterable[int], steps: Sequence[int], evaluations: Sequence[int], groups: Sequence[Group]
    ) -> None:
        """Keep the weights of those of `lanes` that are due, with what their optimizer among `groups` knows."""
        for lane in lanes:
            if steps[lane] >= self._due.get(lane, math.inf):
                weights, before = self._stack.snapshot(lane), self._before.pop(lane, None)
                update = None if before is None else distance(weights, before, self._parameters)
                diagonal = _preconditioner_of(lane, groups)
                snapshot = Snapshot(steps[lane], evaluations[lane], weights, update, diagonal)
                self._due[lane] = max(steps[lane] + 1, math.ceil(steps[lane] * self._growth[lane]))
                self._keep(lane, snapshot)

    def finish(self, lane: int, step: int, evaluations: int, final: Weights, groups: Sequence[Group]) -> None:
        """Keep where a lane ended, at its `final` weights."""
        self._before.pop(lane, None)
        if lane in self._growth and self.snapshots[lane][-1].step < step:
            weights = {name: tensor.clone() for name, tensor in final.items()}  # a process's answer holds none twice
            self._keep(lane, Snapshot(step, evaluations, weights, None, _preconditioner_of(lane, groups)))

    def _keep(self, lane: int, snapshot: Snapshot) -> None:
        self.snapshots[lane].append(snapshot)
        self._bytes += snapshot.size
        if self._bytes > MAX_BYTES and any(len(kept) > 2 for kept in self.snapshots):
            self.snapshots = [kept[::2] for kept in self.snapshots]
            self._growth = {lane: growth**2 for lane, growth in self._growth.items()}
            self._bytes = sum(snapshot.size for kept in self.snapshots for snapshot in kept)


def distance(one: Weights, other: Weights, names: Iterable[str]) -> float:
    """The Euclidean distance of the parameters `names` of two states of one network."""
    return math.sqrt(sum(float((one[name] - other[name]).double().square().sum()) for name in names))


def _preconditioner_of(lane: int, groups: Sequence[Group]) -> Weights | None:
    return preconditioner(next(group for group in groups if lane in group.lanes), lane)


@torch.no_grad()
def preconditioner(group: Group, lane: int) -> Weights | None:
    """The diagonal by which the last step of a lane divided its (averaged) gradient, by parameter.

    Of Adam ``(1 - b1^t) (sqrt(v / (1 - b2^t)) + epsilon)`` (Cohen et al. 2022, arXiv:2207.14484), of RMSprop
    ``sqrt(v) + epsilon``, of Adagrad ``sqrt(sum of squares) + epsilon``; None for every other class.
    """
    optimizer = group.optimizer
    if type(optimizer) not in (Adam, AdamW, RMSprop, Adagrad):
        return None
    options = {id(leaf): settings for settings in optimizer.param_groups for leaf in settings["params"]}
    diagonals: Weights = {}
    for name, leaf in group.parameters.items():
        state = optimizer.state.get(leaf)
        settings = options.get(id(leaf))
        if not state or settings is None or settings.get("centered"):
            return None
        diagonal = _diagonal(type(optimizer), state, settings)
        diagonals[name] = diagonal[lane - group.lanes.start] if group.is_stacked else diagonal
    return diagonals


def _diagonal(kind: type[torch.optim.Optimizer], state: dict[str, Any], settings: dict[str, Any]) -> Tensor:
    """The diagonal of one parameter, as the state and the settings of its optimizer give it: a new tensor."""
    epsilon = settings["eps"]
    if kind is RMSprop:
        return state["square_avg"].sqrt() + epsilon
    if kind is Adagrad:
        return state["sum"].sqrt() + epsilon
    beta1, beta2 = settings["betas"]
    steps = float(state["step"])
    second = state["max_exp_avg_sq"] if settings["amsgrad"] else state["exp_avg_sq"]
    return (1 - beta1**steps) * ((second / (1 - beta2**steps)).sqrt() + epsilon)
