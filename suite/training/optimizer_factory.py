"""Building an optimizer from whatever its constructor asks for.

Most constructors take the parameters and hyper-parameters. Some ask for more, and the suite knows the answer: how many
steps there will be, the number of samples, the model, an optimizer to wrap, parameter groups with flags. Only what a
signature *requires* and the submission's space does not give is filled in; defaults are never touched.

    try make(parameters, **settings), with what else its signature requires
    if it raises, try groups flagged `use_muon` (hidden matrices, and the rest)
    if it raises, try make(hidden matrices) and AdamW for the rest
    if it raises, raise the first error
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.optim import SGD, AdamW

from suite import signature
from suite.namesakes.collections import source_package
from suite.optimizers import OptimizerList
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
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    """Build an optimizer, with whatever else its constructor requires and the suite knows.

    A constructor that refuses plain parameters is tried with groups flagged `use_muon`, and then with hidden matrices
    only and AdamW at the same `lr` for the rest, as the authors of Muon advise (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/). See `hidden_matrices`.

    Args:
        make: the constructor, called as ``make(parameters, **settings)``.
        budget: for a constructor that asks for steps or samples.
        model: the module that `parameters` belong to, for a constructor that asks.
        splits_matrices: build matrices and AdamW for the rest at once.
        groups: parameter groups with options of their own, which are handed over as they are, or not at all.

    Raises:
        Exception: whatever the constructor raised on the plain parameters, or on the groups.
    """
    construct = functools.partial(_construct, make, settings=settings, budget=budget, model=model)
    if groups is not None:
        return construct(parameters, [dict(group) for group in groups])
    tensors = list(parameters.values())
    try:
        if splits_matrices:
            return _split(make, construct, parameters, settings, model)
        return construct(parameters, tensors)
    except Exception:
        hidden = hidden_matrices(parameters, model)
        flagged = [(flag, [p for n, p in parameters.items() if (n in hidden) == flag]) for flag in (True, False)]
        groups = [{"params": members, "use_muon": flag} for flag, members in flagged if members]
        with contextlib.suppress(Exception):
            return construct(parameters, groups)
        with contextlib.suppress(Exception):
            return _split(make, construct, parameters, settings, model)
        raise


def hidden_matrices(parameters: Parameters, model: nn.Module) -> set[str]:
    """The names of the `parameters` that Muon's authors mean it for: hidden matrices, and convolutions.

    Not so vectors and scalars, embeddings (the weights of `nn.Embedding`) and heads: the last `nn.Linear` of the model
    or its own parameter of the name `head` or `output`. A head that is the only matrix counts as hidden, since nothing
    would be left for Muon otherwise (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).
    """
    layers = list(model.named_modules())
    linear = [f"{name}.weight".lstrip(".") for name, module in layers if isinstance(module, nn.Linear)]
    embeddings = [f"{name}.weight".lstrip(".") for name, module in layers if isinstance(module, nn.Embedding)]
    # Stacked parameters have the number of lanes as one more dimension: shapes are those of the model.
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    matrices = {name for name, p in parameters.items() if len(shapes.get(name, p.shape)) > 1} - {*embeddings}
    return matrices - {*linear[-1:], "head", "output"} or matrices


def placement(optimizer: Any) -> dict[str, int]:
    """How many weights each algorithm steps, by the name of its class.

    Several where the suite or the submission gives matrices to one optimizer and the rest to another. A group with the
    flag `use_muon` of its own class counts by class and flag: ``AdaMuon``, and ``AdaMuon without use_muon``.
    """
    counts: dict[str, int] = {}
    for part in _parts(optimizer):
        for group in part.param_groups:
            name = type(part).__name__ + ("" if group.get("use_muon", True) else " without use_muon")
            counts[name] = counts.get(name, 0) + sum(parameter.numel() for parameter in group["params"])
    return counts


def implementations(optimizer: Any) -> dict[str, str]:
    """The package and version of each class of `placement`, such as ``torch 2.14.1``; without those of a file."""
    return {type(part).__name__: package for part in _parts(optimizer) if (package := source_package(type(part)))}


def _parts(optimizer: Any) -> list[Any]:
    return optimizer.optimizers if isinstance(optimizer, OptimizerList) else [optimizer]


def _split(
    make: MakeOptimizer, construct: Callable[..., Any], parameters: Parameters, settings: Settings, model: nn.Module
) -> OptimizerList:
    """The optimizer for hidden matrices (not convolutions: it may take nothing else), AdamW for the rest."""
    hidden = {name for name in hidden_matrices(parameters, model) if parameters[name].dim() == 2}
    matrices, rest = ({n: p for n, p in parameters.items() if (n in hidden) == flag} for flag in (True, False))
    if not rest or signature.wants_model(make) or signature.wraps(make):
        raise TypeError("there is nothing to split")
    # Whether the optimizer is content with matrices is tried, since the task may have none: of the weights' precision,
    # as it may refuse that, and AdamW alone would train in its name.
    matrix = nn.Parameter(torch.ones(2, 2, dtype=next(iter(rest.values())).dtype))
    probe = construct({"matrix": matrix}, [matrix])
    matrix.grad = torch.ones_like(matrix)
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
