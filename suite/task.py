"""What a task is. Nothing here trains, solves or measures.

A task is written as a function that returns a `Task`, and whose docstring reads like the section of a paper: claim and
source, data, model, oracle, and why the axes have their measures and references. Its keyword arguments, all with
defaults, are the task's variants: ``sparse_regression[alpha=0.01]`` calls ``sparse_regression(alpha=0.01)``. See
`suite.tasks`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

AXES = ("flatness", "norm", "generalization")
"""The properties of solutions that are scored, in the order of tables."""

AxisName = Literal["flatness", "norm", "generalization"]
Scale = Literal["log", "linear"]
Selection = Literal["gradient_evaluations", "validation_loss", "convergence"]
"""Which of the settings that are tried on the tuning seeds are scored.

- ``gradient_evaluations``: the one that reaches the target loss first. Where the answer is that of the first solution.
- ``validation_loss``: the one with the lowest validation loss at the target loss. Where there are such data.
- ``convergence``: every one with which training reaches the target loss; scores are means over them, the area under the
  curve of the score over the step size, up to the edge of stability. Where the answer depends on the step size or on
  how far training drifts along its minima: the fastest setting is one that drifts little, or one that rounding stops.
"""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, ...], targets [n, ...]) -> scalar."""

Weights = dict[str, Tensor]
"""Parameters by name."""

CURVE_POINTS = 256
"""Points of a curve at most: curves are for pictures, and a record stays a line of a few kilobytes."""


@dataclass(frozen=True)
class Split:
    """Inputs and targets of one part of the data: `x` is [n, ...], `y` is [n] or [n, outputs]."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str) -> Split:
        """The same samples on `device`."""
        return Split(self.x.to(device), self.y.to(device))

    def __len__(self) -> int:
        return len(self.x)


RESOLUTION = 1e-5
"""Smallest difference that a fingerprint is certain to see, in root mean squares of the tensor.

Far above the rounding of double precision, and far below any change of data that a measure would show.
"""


def _in_steps(size: float) -> str:
    """A positive size on a log scale in steps of `RESOLUTION`; zero and what is not finite as they are."""
    return str(round(math.log(size) / RESOLUTION)) if 0 < size < math.inf else repr(size)


@dataclass(frozen=True)
class Problem:
    """The data of one training run.

    Attributes:
        train, validation, test: the parts of the data; only training and, for selection, validation data are used
            before a run is scored.
        lipschitz: the Lipschitz constant of the loss's gradient (the L of L-smooth) by which the task divides its
            objective, so that one space of step sizes serves tasks of any scale. Reported losses are undivided.
        ground_truth: what only measures and oracles know (a teacher, a covariance), by name: no submission sees it.
    """

    train: Split
    validation: Split | None = None
    test: Split | None = None
    lipschitz: float = 1.0
    ground_truth: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def required_test(self) -> Split:
        """The test part, for a task that always has one; a `ValueError` if this problem has none."""
        if self.test is None:
            raise ValueError("This problem has no test data.")
        return self.test

    def _splits(self) -> dict[str, Split]:
        """The parts of the data that there are, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    def to(self, device: torch.device | str) -> Problem:
        """The same data on `device`."""
        splits: dict[str, Any] = {name: split.to(device) for name, split in self._splits().items()}
        return replace(self, **splits, ground_truth={name: t.to(device) for name, t in self.ground_truth.items()})

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor of the problem, by name."""
        tensors = dict(self.ground_truth)
        for name, split in self._splits().items():
            tensors |= {f"{name}.x": split.x, f"{name}.y": split.y}
        return tensors

    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) over names, shapes, dtypes and values of every tensor: equal on every processor.

        Processors differ in the last bits of products, sums and functions such as the logarithm. So real numbers count
        in steps of `RESOLUTION` times the root mean square of their tensor, and positive scales in steps of their
        logarithm. These steps are no round numbers, so values that a task prescribes lie on no bound between two steps;
        a value with a relative error of 1e-15 crosses one with a probability of 1e-10. Whole numbers count exactly.
        """
        digest = hashlib.sha256(_in_steps(self.lipschitz).encode())
        for name, tensor in sorted(self._tensors().items()):
            values = tensor.detach().cpu().flatten()
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            if values.is_floating_point():
                size = float(torch.linalg.vector_norm(values, dtype=torch.float64)) / math.sqrt(max(1, len(values)))
                digest.update(_in_steps(size).encode())
                values = (values / (RESOLUTION * size)).round_() if 0 < size < math.inf else values
                values = values + 0.0  # -0 becomes 0
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()[:16]


ROUNDING = 1e-6
"""By how much (relative) a training loss that is computed again may exceed the target loss.

Training computes a batch of runs, or other samples, at a time. On the track `quick` the two losses differ by 4e-11 of
the target loss at most.
"""


@dataclass(frozen=True)
class Target:
    """The stopping criterion: train until the loss on the whole clean training part is at most the target loss.

    Attributes:
        loss: the target loss.
        budget: gradient evaluations within which it must be reached.
        check_every: optimizer steps between two looks at the loss.
        at_end: every run spends the whole budget, and the loss is judged there: for tasks that ask where training
            drifts along a manifold of minima.
        annealing: gradient evaluations over which the step size falls to 0 once the target loss is reached; the run
            ends if the loss holds there, and goes on as before if it does not. For tasks on mini-batches: a loss that
            is reached at a full step may be a lucky dip, and curvature at the same loss depends on the step.
    """

    loss: float
    budget: int
    check_every: int = 1
    at_end: bool = False
    annealing: int = 0

    def admits(self, loss: float) -> bool:
        """Whether a training loss that is computed again is at the target loss, up to `ROUNDING`; false for NaN."""
        return loss <= self.loss + ROUNDING * abs(self.loss)


@dataclass(frozen=True)
class LabelNoise:
    """Noise that is part of the problem: each step sees targets ``y ± scale``, the sign of every target drawn anew.

    All gradients of one step see the same signs, as they see the same batch. Training losses are those of the clean
    targets. (On squared errors, noise of `scale` on all n samples moves weights as noise of ``scale * sqrt(b / n)`` on
    batches of b does.)

    `scale` is in the units of the targets; after the share `until` of the budget the noise is switched off.
    """

    scale: float
    until: float = 1.0


@dataclass(frozen=True)
class Decay:
    """L2 decay that is part of the problem: every gradient is that of the loss plus ``strength / 2 |weights|²``.

    Training losses are without it; after the share `until` of the budget it is switched off.
    """

    strength: float
    until: float = 1.0


@dataclass(frozen=True)
class ArchitectureInterface:
    """How an architecture enters a task: called as ``architecture(input_shape, outputs)``.

    All are trained by the task's optimizer, so that entries differ in the architecture alone.

    Attributes:
        input_shape, outputs: the shape of one sample, and the network's outputs per sample.
        optimizer, space: constructs the optimizer from parameters and hyper-parameters; those that are tuned.
        tokens: whether samples are sequences of token numbers. Then architectures are called as
            ``architecture(vocabulary, context)``: ``input_shape`` is ``(context,)``, and `outputs`, the vocabulary, are
            those at each place. Networks map [n, T], int64, to [n, T, vocabulary].
    """

    input_shape: tuple[int, ...]
    outputs: int
    optimizer: Callable[..., Any]
    space: Mapping[str, Any]
    tokens: bool = False

    @property
    def arguments(self) -> tuple[Any, Any]:
        """What an architecture is called with."""
        return (self.outputs, self.input_shape[0]) if self.tokens else (self.input_shape, self.outputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of a network's outputs for one sample."""
        return (*self.input_shape, self.outputs) if self.tokens else (self.outputs,)

    def samples(self, count: int, dtype: torch.dtype, generator: torch.Generator | None = None) -> Tensor:
        """So many random samples: token numbers, or N(0, 1) of this precision."""
        shape = (count, *self.input_shape)
        if self.tokens:
            return torch.randint(self.outputs, shape, generator=generator)
        return torch.randn(shape, dtype=dtype, generator=generator)


@dataclass(frozen=True)
class Axis:
    """The measure that stands for an axis, and the two frozen references that its scores lie between.

    Attributes:
        axis: flatness, norm or generalization.
        measure: the measure's name.
        scale: whether scores compare values by their ratio (``log``) or by their difference (``linear``).
        score_0, score_1: the measure's values that score 0 and 1: numbers, or names of values of the problem's oracle
            where theory gives them per data set.
        floor: bounds log-scale measures from below; closer to 0 than the floor counts as exact.
        higher: whether larger values are better (implied by the references, stated for the reader).
        provisional: why the references will be made anew, as a clause about them; empty if they are final.
    """

    axis: AxisName
    measure: str
    scale: Scale
    score_0: float | str
    score_1: float | str
    floor: float | None = None
    higher: bool = False
    provisional: str = ""


@dataclass(frozen=True)
class Oracle:
    """The exact solution of one problem: weights by name, and numbers (margins, norms, references of axes) by name."""

    solutions: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Solution:
    """The result of one training run, as measures take it.

    Attributes:
        model: with the final weights, in eval mode.
        initial: the initial weights by name.
        problem, seed, settings: the data that it was trained on, the run's seed and hyper-parameters.
        oracle: the problem's oracle; an empty one where the task has none.
    """

    model: nn.Module
    initial: Mapping[str, Tensor]
    problem: Problem
    oracle: Oracle
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A small picture of a solution that its record keeps: `y` over `x`.

    Attributes:
        x, y: at most `CURVE_POINTS` points.
        x_label, y_label: quantity and unit.
        oracle: the exact solution's `y`, where there is one.
        x_log, y_log: whether an axis is logarithmic.
        points: draws marks instead of a line.

    Raises:
        ValueError: the lengths differ, or there are too many points.
    """

    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    oracle: Sequence[float] | None = None
    x_log: bool = False
    y_log: bool = False
    points: bool = False

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.y if self.oracle is None else self.oracle) <= CURVE_POINTS:
            raise ValueError(f"A curve needs x, y and oracle of one length, at most {CURVE_POINTS}.")


@dataclass(frozen=True)
class Task:
    """A standard learning problem.

    Attributes:
        problem: seed -> data.
        model: (problem, seed) -> module with seeded initial weights.
        loss: (outputs [n, ...], targets [n, ...]) -> scalar, the mean over samples or another symmetric summary.
        target: the stopping criterion.
        measure: solution -> named numbers.
        axes: what is scored; a task without axes is reported and not scored.
        selection: which of the tuned settings are scored (see `Selection`).
        oracle: (problem, seed) -> exact solution, where theory gives one.
        batch_size: None means full batch.
        cyclic: batches take the samples in the order of the data, the same in every epoch, not in one drawn anew.
        dtype: of data and weights.
        batched: whether training many runs as one program is worthwhile on a CPU.
        label_noise, decay: noise and decay that are part of the problem.
        reported: names of the measures that tables show beside the axes.
        interface: how architectures enter; None: they cannot.
        seconds: about how long a run takes on one core, for estimates before anything is recorded.
        fixed: hyper-parameters that the task sets in every submission whose optimizer takes them.
        curves: solution -> what the site draws of it (a learned function, singular values, a slice of the loss).
        papers: the claim's sources; `suite.tasks.task` adds those that the docstring cites.
        family: tasks of one family share a weight in the scores; the first word of the file's name, and for a task that
            is not of the suite the file's whole name, unless it says otherwise.
        name, description, variant: with the family set by `suite.tasks.task`, from the function's name, docstring and
            arguments.
        source: a hash of the source of a task that is not of the suite; empty for the suite's own.
        open_axes: axes that state no references, so that a file beside the task decides whether they are scored
            (`suite.tasks.own_references`).
    """

    problem: Callable[[int], Problem]
    model: Callable[[Problem, int], nn.Module]
    loss: Loss
    target: Target
    measure: Callable[[Solution], dict[str, float]]
    axes: tuple[Axis, ...] = ()
    selection: Selection = "gradient_evaluations"
    oracle: Callable[[Problem, int], Oracle] | None = None
    batch_size: int | None = None
    cyclic: bool = False
    dtype: torch.dtype = torch.float64
    batched: bool = True
    label_noise: LabelNoise | None = None
    decay: Decay | None = None
    reported: tuple[str, ...] = ()
    interface: ArchitectureInterface | None = None
    seconds: float | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    curves: Callable[[Solution], Mapping[str, Curve]] | None = None
    papers: tuple[str, ...] = ()
    family: str = ""
    name: str = ""
    description: str = ""
    variant: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    open_axes: tuple[Axis, ...] = ()
