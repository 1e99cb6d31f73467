"""Building an optimizer from whatever its constructor asks for.

Most constructors take the parameters and hyper-parameters. Some ask for more, and the suite knows the answer: how many
steps there will be, the number of samples, the model, an optimizer to wrap, parameter groups with flags. Only what a
signature *requires* and the submission's space does not give is filled in; defaults are never touched.

    try make(parameters, **settings), with what else its signature requires
    if it raises, try groups flagged `use_muon` (matrices, and the rest)
    if it raises, try make(matrices) and AdamW for the rest
    if it raises, raise the first error
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.optim import SGD, AdamW

from suite.signature import (
    BASE_CLASS,
    BASE_INSTANCE,
    MODEL,
    NAMED_PARAMETERS,
    PARAMETERS,
    SAMPLES,
    STEPS,
    MakeOptimizer,
    Settings,
    required,
    signature,
    wants_model,
    wraps,
)

T = TypeVar("T")

Parameters = Mapping[str, nn.Parameter]

BuildOptimizer = Callable[[Parameters, Settings], Any]

BASE_MOMENTUM = 0.9
"""Default base optimizer for wrappers: SGD with this momentum."""


@dataclass(frozen=True)
class Budget:
    """What a task tells a constructor that asks.

    Attributes:
        steps: the budget of gradient evaluations.
        samples: the number of training samples.
    """

    steps: int
    samples: int


class OptimizerList:
    """Several optimizers as one: their groups in a row, stepped in turn."""

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """Step every optimizer."""
        for optimizer in self.optimizers:
            optimizer.step()


def with_process_group(call: Callable[[], T]) -> T:
    """What `call` returns. Optimizers that are written for many machines get a process group of this process alone."""
    try:
        return call()
    except Exception as error:
        if "process group" not in str(error) or distributed.is_initialized():
            raise
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    return call()


def make_optimizer(
    make: MakeOptimizer,
    parameters: Parameters,
    settings: Settings,
    budget: Budget,
    model: nn.Module,
    splits_matrices: bool = False,
) -> Any:
    """Build an optimizer, with whatever else its constructor requires and the suite knows.

    A constructor that refuses plain parameters is tried with groups flagged `use_muon`, and then with matrices only
    and AdamW at the same `lr` for the rest, as the authors of Muon advise (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/).

    Args:
        make: the constructor, called as ``make(parameters, **settings)``.
        parameters: by name.
        settings: the hyper-parameters.
        budget: for a constructor that asks for steps or samples.
        model: the module that `parameters` belong to, for a constructor that asks.
        splits_matrices: build matrices and AdamW for the rest at once.

    Raises:
        Exception: whatever the constructor raised on the plain parameters.
    """
    construct = functools.partial(_construct, make, settings=settings, budget=budget, model=model)
    tensors = list(parameters.values())
    try:
        return _split(make, construct, parameters, settings) if splits_matrices else construct(parameters, tensors)
    except Exception:
        flagged = [(True, [p for p in tensors if p.dim() > 1]), (False, [p for p in tensors if p.dim() < 2])]
        groups = [{"params": members, "use_muon": flag} for flag, members in flagged if members]
        with contextlib.suppress(Exception):
            return construct(parameters, groups)
        with contextlib.suppress(Exception):
            return _split(make, construct, parameters, settings)
        raise


def _split(
    make: MakeOptimizer, construct: Callable[..., Any], parameters: Parameters, settings: Settings
) -> OptimizerList:
    """The optimizer for matrices, AdamW for the rest."""
    matrices, rest = ({n: p for n, p in parameters.items() if (p.dim() == 2) == flag} for flag in (True, False))
    if not rest or wants_model(make) or wraps(make):
        raise TypeError("there is nothing to split")
    # Whether the optimizer is content with matrices is tried, since the task may have none.
    matrix = nn.Parameter(torch.ones(2, 2))
    probe = construct({"matrix": matrix}, [matrix])
    matrix.grad = torch.ones(2, 2)
    probe.step()
    companion = AdamW(rest.values(), **{key: value for key, value in settings.items() if key == "lr"})
    return OptimizerList([construct(matrices, list(matrices.values())), companion] if matrices else [companion])


def _construct(
    make: MakeOptimizer, parameters: Parameters, params: list[Any], settings: Settings, budget: Budget, model: nn.Module
) -> Any:
    """Call `make` with `params`, `settings` and what else its signature requires."""
    settings = dict(settings)
    missing = [name for name in required(make) if name not in settings]
    base = None if BASE_INSTANCE.isdisjoint(missing) else _base_optimizer(make, params, settings)
    answers = (
        (PARAMETERS, params),
        (NAMED_PARAMETERS, list(parameters.items())),
        (MODEL, model),
        (BASE_INSTANCE, base),
        (BASE_CLASS, functools.partial(SGD, momentum=BASE_MOMENTUM)),
        (STEPS, budget.steps),
        (SAMPLES, budget.samples),
    )
    arguments = {name: answer for name in missing for names, answer in answers if name in names}
    has_parameters = not (PARAMETERS | NAMED_PARAMETERS | MODEL | BASE_INSTANCE).isdisjoint(arguments)
    return with_process_group(lambda: make(*([] if has_parameters else [params]), **arguments, **settings))


def _base_optimizer(make: MakeOptimizer, params: list[Tensor], settings: dict[str, Any]) -> SGD:
    """The optimizer to wrap; it takes the step size out of `settings` unless the wrapper has one of its own."""
    options = {"lr": settings.pop("lr")} if "lr" in settings and "lr" not in signature(make) else {}
    return SGD(params, momentum=BASE_MOMENTUM, **options)
