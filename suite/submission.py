"""What a submission is: an optimizer or an architecture under test, with its search space. No torch import.

`suite.entries.loading` finds submissions by name, file or import path.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.errors import InputError, sentence, unknown
from suite.predictions.methods import STEP_SIZES, Method
from suite.signature import signature

TUNING_SEED = 20180225
"""Seed of the quasi-random settings of the first search; those of the n-th have this seed plus n.

Every submission gets the same points of the unit cube."""

FIXED = "default"
"""In brackets after a submission's name: with the setting that `Submission.fixed_setting` gives it."""


@dataclass(frozen=True)
class LogUniform:
    """A positive number, uniform on a log scale between `low` and `high`, inclusive.

    Raises:
        InputError: unless 0 < low <= high, both finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise InputError(f"LogUniform({self.low}, {self.high}) needs 0 < low <= high.")

    def at(self, u: float) -> float:
        """The value at quantile `u` in [0, 1)."""
        return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))


@dataclass(frozen=True)
class Uniform:
    """A number, uniform between `low` and `high`, inclusive.

    Raises:
        InputError: unless low <= high, both finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf:
            raise InputError(f"Uniform({self.low}, {self.high}) needs low <= high.")

    def at(self, u: float) -> float:
        """The value at quantile `u` in [0, 1)."""
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True, init=False)
class Choice:
    """One of several options, each equally likely: ``Choice(0.0, 0.9)``.

    Options are numbers, texts, or tuples of them, which a record can hold.

    Raises:
        InputError: there are no options.
    """

    options: tuple[Any, ...]

    def __init__(self, *options: Any) -> None:
        if not options:
            raise InputError("Choice() needs at least one option.")
        object.__setattr__(self, "options", options)

    def at(self, u: float) -> Any:
        """The option at quantile `u` in [0, 1)."""
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]


Distribution = LogUniform | Uniform | Choice


@dataclass(frozen=True)
class Submission:
    """An optimizer or an architecture, and the space that its hyper-parameters are tuned in::

        submission = Submission(
            name="heavy_ball",
            optimizer=torch.optim.SGD,
            space={"lr": LogUniform(1e-3, 1.0), "momentum": 0.9},
        )

    Attributes:
        name: what tables call it.
        optimizer: called as ``optimizer(params, **settings)``; anything with the interface of `torch.optim.Optimizer`.
        architecture: called as ``architecture(input_shape, outputs)``; returns an `nn.Module`.
        space: by an optimizer's hyper-parameter, a `LogUniform`, `Uniform` or `Choice` (tuned), or a plain value.
        explicit: whether it regularizes on purpose (weight decay, SAM, a loss of its own).
        schedule: maps the spent share of the budget, in [0, 1], to a factor of every step size; None: the common one.
        loss: called as ``loss(outputs, targets, task_loss)`` and minimized in place of ``task_loss(outputs, targets)``.
            A run still ends when the task's loss reaches the target loss, and evaluations of either loss count alike.
        description: one paragraph; by default the docstring of the submission's file.
        method: the `Method`, or its value such as ``"Adam"``, whose theory is held against an optimizer's runs
            (`suite.predictions`); None: of none. It enters no score.

    Raises:
        InputError: not exactly one of optimizer and architecture is given, the name cannot be printed, there is no such
            method, or the space, the schedule or the loss cannot be used.
    """

    name: str
    optimizer: Callable[..., Any] | None = None
    architecture: Callable[..., Any] | None = None
    space: Mapping[str, Any] = field(default_factory=dict)
    explicit: bool = False
    schedule: Callable[[float], float] | None = None
    loss: Callable[..., Any] | None = None
    description: str = ""
    method: Method | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise InputError(f"A submission's name must be a printable, non-empty string, not {self.name!r}.")
        if (self.optimizer is None) == (self.architecture is None):
            raise InputError(f"Submission {self.name!r} must give either optimizer= or architecture=.")
        if not callable(self.factory):
            raise InputError(f"Submission {self.name!r}: the {self.kind} {self.factory!r} cannot be called.")
        if not isinstance(self.space, Mapping) or not all(isinstance(key, str) for key in self.space):
            raise InputError(
                f"Submission {self.name!r}: space= must be a dict of hyper-parameter names, not {self.space!r}."
            )
        if self.architecture is not None and self.space:
            raise InputError(
                f"Submission {self.name!r}: an architecture has no settings (the task's optimizer is tuned), but it is "
                f"given {', '.join(self.space)}."
            )
        for key, value in self.space.items():
            if not isinstance(value, Distribution | numbers.Number | str | tuple | None):
                raise InputError(
                    f"Submission {self.name!r}: space[{key!r}] must be LogUniform, Uniform, Choice or a plain value, "
                    f"not {value!r}."
                )
        for name, function in (("schedule", self.schedule), ("loss", self.loss)):
            if function is not None and (self.optimizer is None or not callable(function)):
                raise InputError(f"Submission {self.name!r}: {name}= must be a function, and needs optimizer=.")
        if self.method is not None:
            if self.optimizer is None:
                raise InputError(
                    f"Submission {self.name!r}: method= says what an optimizer is, so it needs optimizer=."
                )
            if self.method not in set(Method):
                raise unknown("method", str(self.method), [method.value for method in Method])
            object.__setattr__(self, "method", Method(self.method))
        if self.schedule is not None:
            self._check_schedule(self.schedule)
        if self.loss is not None:
            object.__setattr__(self, "explicit", True)

    def _check_schedule(self, schedule: Callable[[float], float]) -> None:
        for progress in (step / 100 for step in range(101)):
            try:
                factor = schedule(progress)
            except Exception as error:
                raise InputError(f"Submission {self.name!r}: schedule({progress}) raised {sentence(error)}.") from error
            if not isinstance(factor, numbers.Real) or not 0 <= factor < math.inf:
                raise InputError(
                    f"Submission {self.name!r}: schedule({progress}) must be a number of at least 0, not {factor!r}."
                )

    @property
    def kind(self) -> str:
        """`optimizer` or `architecture`."""
        return "optimizer" if self.optimizer is not None else "architecture"

    @property
    def factory(self) -> Callable[..., Any]:
        """The optimizer or the architecture: what is under test."""
        factory = self.architecture if self.optimizer is None else self.optimizer
        assert factory is not None
        return factory

    @property
    def tuned(self) -> list[str]:
        """The hyper-parameters that are searched for; without any there is one setting only."""
        return [name for name, value in self.space.items() if isinstance(value, Distribution)]

    def fixed_setting(self) -> dict[str, Any]:
        """One setting for all tasks: the middle of the space of a step size, the optimizer's own default of the rest.

        Where the optimizer names no default, the middle of the space too, to three digits. Default step sizes of
        libraries are no choice of the authors' (torch's for SGD is 0.001); those that are exactly 1 are in no space.
        """
        arguments = signature(self.factory)

        def chosen(name: str, space: Distribution) -> Any:
            default = arguments[name].default if name in arguments and name not in STEP_SIZES else None
            if default not in (None, inspect.Parameter.empty):
                return default
            middle = space.at(0.5)
            return float(f"{middle:.3g}") if isinstance(middle, float) else middle

        return dict(self.space) | {
            name: chosen(name, space) for name, space in self.space.items() if isinstance(space, Distribution)
        }

    def size_of_search(self, trials: int) -> int:
        """How many settings a search tries on a track of so many trials: twice as many where several are tuned.

        So each half of the range of a further hyper-parameter has the points that one alone has: among 2n points of a
        Sobol sequence there is one in each n-th part of the first range, for each half of the second. A single trial
        stays one: nothing is tuned.
        """
        return trials if trials == 1 or len(self.tuned) < 2 else 2 * trials

    def settings(self, trials: int, search: int = 0) -> list[dict[str, Any]]:
        """The first `trials` hyper-parameter settings of a search: a scrambled Sobol sequence over the space.

        A smaller budget tries a prefix: 4 trials are the first 4 of 8. Submissions with equal spaces get equal
        settings. Searches are scrambled independently of each other.
        """
        tuned = self.tuned
        if not tuned:
            return [dict(self.space)]
        from scipy.stats import qmc

        # Sobol points are balanced only in full powers of two, and prefixes do not depend on how many are drawn.
        points = qmc.Sobol(len(tuned), rng=TUNING_SEED + search).random_base2(max(0, math.ceil(math.log2(trials))))[
            :trials
        ]
        return [
            dict(self.space) | {key: self.space[key].at(float(u)) for key, u in zip(tuned, point, strict=True)}
            for point in points
        ]
