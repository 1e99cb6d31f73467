"""What an optimizer does by default that few expect of it: found by stepping it, never by its name.

A matrix and a vector with the same entries get the same gradients, of their own and scaled, in double precision:

    stands    = the first step leaves all weights where they are
    splits    = vector and matrix part, though no random number is drawn
    clips     = gradients 30 or 1000 times as long do not lead along the same direction, or not by one power of 30
    draws     = a random number is drawn
    narrow    = state as large as the weights is in a lower precision than they are
    refuses   = an error is raised that single precision does not raise
    options   = of decay, clipping or warm-up that are not 0 by default

Of an optimizer that differentiates the graph of its gradients, or looks around itself, the options alone are seen: it
would need a loss.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.errors import sentence
from suite.seeding import torch_stream
from suite.signature import Settings, signature
from suite.submission import Submission
from suite.training import Budget, make_optimizer
from suite.training.global_state import generator_states, same_generators, seed_generators, settings_preserved
from suite.training.step_protocol import call_mode

ROWS, COLUMNS, STEPS = 6, 4, 3
SCALES = (1.0, 30.0, 900.0)

NOT_NEUTRAL = re.compile(r"weight_decay|(^|_)wd$|(^|_)clip|max_grad_norm|warmup_steps")
"""Options that do nothing at 0."""

PARTED = 1e-3
"""Steps that differ by more than this share of the longer one are different steps."""

BENT = 0.05
"""Of a direction, and of an exponent of lengths: what eps and averages that have just begun do is less."""


class _Pair(nn.Module):
    """A matrix and a vector of the same entries; the layer after it keeps the matrix a hidden one."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        entries = torch.randn(ROWS, COLUMNS, generator=torch_stream("habits", "weights"), dtype=torch.float64)
        self.matrix = nn.Parameter(entries.to(dtype))
        self.vector = nn.Parameter(entries.flatten().to(dtype).clone())


@dataclass(frozen=True)
class Habits:
    """What an optimizer does unasked. See the module's docstring; the texts are empty where nothing was seen.

    Attributes:
        options: those that are not neutral and that the settings do not give.
        narrow: the precision of such state. refuses: the error.
        walked: whether it stepped; if not, `options` and `refuses` are all that is known.
    """

    options: Mapping[str, float] = field(default_factory=dict)
    stands: bool = False
    splits: bool = False
    clips: bool = False
    draws: bool = False
    narrow: str = ""
    refuses: str = ""
    walked: bool = False

    def sentences(self, name: str) -> list[str]:
        """Those that few expect, a sentence each, of a submission of this name. (Random numbers are seen in runs.)"""
        given = ", ".join(f"{key}={value}" for key, value in self.options.items())
        said = {
            f"does not step weights in double precision ({self.refuses})": bool(self.refuses),
            f"has by default {given}": bool(given),
            "does not move in its first step": self.stands,
            "steps vectors otherwise than matrices": self.splits,
            "does not treat large gradients as it treats small ones: it clips": self.clips,
            f"keeps state in {self.narrow} for weights in double precision": bool(self.narrow),
        }
        return [f"{name!r} {habit}." for habit, seen in said.items() if seen]


@dataclass(frozen=True)
class _Walk:
    """Where the pair went: the matrix's entries and the vector's, at the start and after each step.

    Attributes:
        draws: whether random numbers were drawn on the way.
        narrow: the precision of state that is as large as its weights and less precise; empty if there is none.
    """

    matrix: tuple[Tensor, ...]
    vector: tuple[Tensor, ...]
    draws: bool
    narrow: str


@settings_preserved()
def habits(submission: Submission, settings: Settings) -> Habits:
    """What the optimizer of `submission` does unasked; nothing for an architecture, or where none can be built."""
    if submission.optimizer is None:
        return Habits()
    try:
        options = _unasked(_built(submission, settings, _Pair(torch.float64)), settings)
    except Exception:
        return Habits()
    try:
        walks = [_walk(submission, settings, torch.float64, scale) for scale in SCALES]
    except Exception as error:
        try:
            _walk(submission, settings, torch.float32, 1.0)
        except Exception:
            return Habits(options)
        return Habits(options, refuses=sentence(error))
    plain, draws = walks[0], any(walk.draws for walk in walks)
    return Habits(
        options,
        stands=torch.equal(plain.matrix[1], plain.matrix[0]) and torch.equal(plain.vector[1], plain.vector[0]),
        splits=not draws and any(map(_part, _steps(plain.matrix), _steps(plain.vector))),
        clips=not draws and (_bends(walks, lambda walk: walk.matrix) or _bends(walks, lambda walk: walk.vector)),
        draws=draws,
        narrow=plain.narrow,
        walked=True,
    )


def _built(submission: Submission, settings: Settings, pair: _Pair) -> Any:
    assert submission.optimizer is not None
    seed_generators(0)
    return make_optimizer(submission.optimizer, dict(pair.named_parameters()), settings, Budget(100, 10), pair)


def _unasked(optimizer: Any, settings: Settings) -> dict[str, float]:
    """The options of decay, clipping and warm-up of its first group that are not 0, without those of `settings`."""
    return {
        key: value
        for key, value in optimizer.param_groups[0].items()
        if type(value) in (int, float) and value and math.isfinite(value)
        if NOT_NEUTRAL.search(key) and key not in settings
    }


def _walk(submission: Submission, settings: Settings, dtype: torch.dtype, scale: float) -> _Walk:
    pair = _Pair(dtype)
    optimizer = _built(submission, settings, pair)
    call_mode(optimizer, "train")
    stream, places, draws = torch_stream("habits", "gradients"), [_entries(pair)], False
    for _ in range(STEPS):
        gradient = scale * torch.randn(ROWS, COLUMNS, generator=stream, dtype=torch.float64).to(dtype)
        pair.matrix.grad, pair.vector.grad = gradient.clone(), gradient.flatten().clone()
        before = generator_states("cpu")
        if "closure" in signature(optimizer.step) and signature(optimizer.step)["closure"].default is not None:
            raise TypeError("needs a closure")
        optimizer.step()
        draws = draws or not same_generators(before, generator_states("cpu"))
        places.append(_entries(pair))
    matrix, vector = zip(*places, strict=True)
    return _Walk(matrix, vector, draws, _narrow(optimizer, dtype))


def _entries(pair: _Pair) -> tuple[Tensor, Tensor]:
    return pair.matrix.detach().flatten().double().clone(), pair.vector.detach().double().clone()


def _narrow(optimizer: Any, dtype: torch.dtype) -> str:
    """The precision of the least precise state that has as many floating-point numbers as a parameter."""
    found = [
        value.dtype
        for state in getattr(optimizer, "state", {}).values()
        for value in _tensors(state)
        if value.is_floating_point() and value.numel() == ROWS * COLUMNS
    ]
    least = max(found, key=lambda one: torch.finfo(one).eps, default=dtype)
    return str(least).removeprefix("torch.") if torch.finfo(least).eps > torch.finfo(dtype).eps else ""


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _steps(places: tuple[Tensor, ...]) -> list[Tensor]:
    return [after - before for before, after in itertools.pairwise(places)]


def _part(one: Tensor, other: Tensor) -> bool:
    return float((one - other).norm()) > PARTED * max(float(one.norm()), float(other.norm()))


def _bends(walks: list[_Walk], chosen: Callable[[_Walk], tuple[Tensor, ...]]) -> bool:
    """Whether longer gradients lead elsewhere than along the same way, or their lengths follow no power law."""
    ways = [chosen(walk)[-1] - chosen(walk)[0] for walk in walks]
    lengths = [float(way.norm()) for way in ways]
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        return False
    units = [way / length for way, length in zip(ways, lengths, strict=True)]
    exponents = [math.log(after / before, SCALES[1]) for before, after in itertools.pairwise(lengths)]
    turned = max(float((unit - units[0]).norm()) for unit in units)
    return turned > BENT or max(exponents) - min(exponents) > BENT
