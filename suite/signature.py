"""What a constructor asks for, judged by the names of its arguments. No torch import.

The sets hold the names under which optimizers ask for the same thing: parameters, named parameters, the model, the
number of steps, the number of samples, the class or an instance of another optimizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

MakeOptimizer = Callable[..., Any]
Settings = Mapping[str, Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARAMETERS = _names("params parameters param_groups model_params")
NAMED_PARAMETERS = _names("named_params named_parameters model_named_params")
MODEL = _names("model module network net")
STEPS = _names(
    """
    num_iterations num_steps num_training_steps total_iterations total_steps training_steps max_iterations max_steps
    iterations n_steps t_total T_max
    """
)
SAMPLES = _names("num_data num_samples n_samples dataset_size train_size")
BASE_CLASS = _names("base_optimizer base_optimizer_cls optimizer_class optimizer_cls")
BASE_INSTANCE = _names("optimizer base inner_optimizer")

TOKENS = _names("vocabulary context")
"""The arguments of an architecture of token sequences; all others take real inputs."""


def signature(make: MakeOptimizer) -> Mapping[str, inspect.Parameter]:
    """The parameters of `make` by name; empty for a callable that does not tell them."""
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}


def reads_tokens(architecture: Callable[..., Any]) -> bool:
    """Whether an architecture is one of token sequences."""
    return set(signature(architecture)) >= TOKENS


def required(make: MakeOptimizer) -> list[str]:
    """The named arguments that `make` cannot be called without."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in signature(make).items() if p.default is inspect.Parameter.empty and p.kind in named]


def wants_model(make: MakeOptimizer) -> bool:
    """Whether the constructor asks for the model, which must then be the one that is trained."""
    return not MODEL.isdisjoint(required(make))


def wraps(make: MakeOptimizer) -> bool:
    """Whether the constructor asks for another optimizer."""
    return not (BASE_CLASS | BASE_INSTANCE).isdisjoint(required(make))
