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
from torch import distributed, nn
from torch.optim import SGD, AdamW

from suite import signature
from suite.signature import MakeOptimizer, Settings

T = TypeVar("T")
Parameters = Mapping[str, nn.Parameter]
BuildOptimizer = Callable[[Parameters, Settings], Any]

BASE_MOMENTUM = 0.9
"""Default base optimizer for wrappers: SGD with this momentum."""


@dataclass(frozen=True)
class Budget:
    """What a task tells a constructor that asks: gradient evaluations, and training samples."""

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
    if not rest or signature.wants_model(make) or signature.wraps(make):
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
    missing = [name for name in signature.required(make) if name not in settings]
    base = None
    if not signature.BASE_INSTANCE.isdisjoint(missing):  # it takes the step size, unless the wrapper has one of its own
        options = {"lr": settings.pop("lr")} if "lr" in settings and "lr" not in signature.signature(make) else {}
        base = SGD(params, momentum=BASE_MOMENTUM, **options)
    holding_parameters = (
        (signature.PARAMETERS, params),
        (signature.NAMED_PARAMETERS, list(parameters.items())),
        (signature.MODEL, model),
        (signature.BASE_INSTANCE, base),
    )
    others = (
        (signature.BASE_CLASS, functools.partial(SGD, momentum=BASE_MOMENTUM)),
        (signature.STEPS, budget.steps),
        (signature.SAMPLES, budget.samples),
    )
    arguments = {name: answer for name in missing for names, answer in holding_parameters + others if name in names}
    has_parameters = any(not names.isdisjoint(arguments) for names, _ in holding_parameters)
    return with_process_group(lambda: make(*([] if has_parameters else [params]), **arguments, **settings))
