"""Building an optimizer from whatever its constructor asks for.

Most constructors take the parameters and hyper-parameters. Some ask for more, and the suite knows the answer: how many
steps there will be, the number of samples, the model, an optimizer to wrap, parameter groups with flags. Only what a
signature *requires* and the submission's space does not give is filled in; defaults are never touched.
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

Made = TypeVar("Made")


Parameters = Mapping[str, nn.Parameter]


BASE_MOMENTUM = 0.9
"""An optimizer that wraps another wraps heavy-ball SGD unless the submission says otherwise."""


@dataclass(frozen=True)
class Budget:
    """What a task tells a constructor that asks: the budget of gradient evaluations, and the training samples."""

    steps: int
    samples: int


class OptimizerList:
    """Several optimizers as one: their groups in a row, stepped in turn."""

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def with_process_group(call: Callable[[], Made]) -> Made:
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
    split: bool = False,
) -> Any:
    """``make(parameters, **settings)``, with whatever else its signature requires and the suite knows.

    A constructor that refuses plain parameters is tried with groups flagged `use_muon`, and then with matrices alone
    and AdamW at the same `lr` for the rest, as the authors of Muon advise (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/). With `split` the last is what is built.

    Raises:
        Exception: whatever the constructor raised on the plain parameters.
    """
    attempt = functools.partial(_call, make, settings=settings, budget=budget, model=model)
    tensors = list(parameters.values())
    try:
        return _split(make, attempt, parameters, settings) if split else attempt(parameters, tensors)
    except Exception:
        flagged = [(True, [p for p in tensors if p.dim() > 1]), (False, [p for p in tensors if p.dim() < 2])]
        groups = [{"params": part, "use_muon": flag} for flag, part in flagged if part]
        for other in (lambda: attempt(parameters, groups), lambda: _split(make, attempt, parameters, settings)):
            with contextlib.suppress(Exception):
                return other()
        raise


def _split(
    make: MakeOptimizer, attempt: Callable[..., Any], parameters: Parameters, settings: Settings
) -> OptimizerList:
    matrices, rest = ({n: p for n, p in parameters.items() if (p.dim() == 2) == flag} for flag in (True, False))
    if not rest or wants_model(make) or wraps(make):
        raise TypeError("there is nothing to split")
    # Whether the optimizer is content with matrices is tried, since the task may have none.
    matrix = nn.Parameter(torch.ones(2, 2))
    trial = attempt({"matrix": matrix}, [matrix])
    matrix.grad = torch.ones(2, 2)
    trial.step()
    companion = AdamW(rest.values(), **{key: value for key, value in settings.items() if key == "lr"})
    return OptimizerList([attempt(matrices, list(matrices.values())), companion] if matrices else [companion])


def _call(
    make: MakeOptimizer, parameters: Parameters, params: list[Any], settings: Settings, budget: Budget, model: nn.Module
) -> Any:
    given = dict(settings)
    missing = [name for name in required(make) if name not in given]
    base = None if BASE_INSTANCE.isdisjoint(missing) else _heavy_ball(make, params, given)
    known = (
        (PARAMETERS, params),
        (NAMED_PARAMETERS, list(parameters.items())),
        (MODEL, model),
        (BASE_INSTANCE, base),
        (BASE_CLASS, functools.partial(SGD, momentum=BASE_MOMENTUM)),
        (STEPS, budget.steps),
        (SAMPLES, budget.samples),
    )
    answers = {name: value for name in missing for names, value in known if name in names}
    has_parameters = not (PARAMETERS | NAMED_PARAMETERS | MODEL | BASE_INSTANCE).isdisjoint(answers)
    return with_process_group(lambda: make(*([] if has_parameters else [params]), **answers, **given))


def _heavy_ball(make: MakeOptimizer, params: list[Tensor], given: dict[str, Any]) -> SGD:
    """The optimizer to wrap; it takes the step size out of `given` unless the wrapper names one of its own."""
    options = {"lr": given.pop("lr")} if "lr" in given and "lr" not in signature(make) else {}
    return SGD(params, momentum=BASE_MOMENTUM, **options)
