"""Members of an algorithm stepped on the same gradients, and the groups of them that agree.

    case   = a shape of weights, a precision, weight decay or none, gradients as they are or a hundredth
    path   = the weights of a member in a case, before the first step and after steps 1, 2 and 30
    group  = members whose paths agree in every case that both can run

The gradients are those of a regression with one tanh unit, on 32 drawn samples of as many numbers as there are
weights: they turn, and shrink as it is fitted, from norms of several units, so that clipping is seen. They are computed
in double precision at the member's own weights. All members start at the same drawn weights.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.errors import sentence
from suite.namesakes.algorithms import Algorithm, Member, Reason
from suite.namesakes.collections import COLLECTIONS, find, installed, module_of
from suite.namesakes.formulas import FORMULAS, NUMBERS
from suite.seeding import torch_stream

SHAPES: Mapping[str, tuple[int, ...]] = {"vector": (8,), "tall": (8, 5), "wide": (5, 8), "4-d": (4, 3, 2, 2)}

AGREE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Paths whose distance is up to this agree: float32 state in double precision passes, and so does rounding."""

STEPS = (1, 2, 30)

SMALL = 0.01
"""Gradients are longer than 1 at the start, where many clip, and shorter where they are scaled by this."""

SAMPLES = 32


@dataclass(frozen=True)
class Case:
    """What members are compared in: a shape, a precision, with decay, with gradients `SMALL` times as long."""

    shape: str
    dtype: torch.dtype = torch.float64
    decay: bool = False
    small: bool = False

    @property
    def name(self) -> str:
        """Such as ``tall, float32, decay``."""
        flags = {"float32": self.dtype == torch.float32, "decay": self.decay, "small gradients": self.small}
        return ", ".join([self.shape, *(name for name, set_ in flags.items() if set_)])


CASES = (
    *(Case(shape, dtype, decay) for dtype in AGREE for decay in (False, True) for shape in SHAPES),
    *(Case(shape, small=True) for shape in SHAPES),
)


@dataclass(frozen=True)
class Path:
    """The weights at the start and after `STEPS`, in double precision, or the `error` that was raised."""

    weights: Mapping[int, Tensor]
    error: str = ""

    def update(self, step: int) -> Tensor:
        """How far the weights have come from the start."""
        return self.weights[step] - self.weights[0]


@functools.cache
def _regression(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    stream, size = torch_stream("namesakes", *shape), math.prod(shape)
    draw = functools.partial(torch.randn, generator=stream, dtype=torch.float64)
    return draw(shape), draw(SAMPLES, size) / size**0.5, draw(SAMPLES)


def start(shape: tuple[int, ...]) -> Tensor:
    """The weights that every member starts at."""
    return _regression(shape)[0].clone()


def gradient(weights: Tensor) -> Tensor:
    """The gradient of the sum of the squared errors of tanh(X w) at weights of any shape, in double precision."""
    _, inputs, targets = _regression(tuple(weights.shape))
    outputs = torch.tanh(inputs @ weights.double().flatten())
    return (2 * inputs.T @ ((outputs - targets) * (1 - outputs**2))).reshape(weights.shape)


def path(member: Member, case: Case) -> Path:
    """Where `member` goes in `case`."""
    settings = {**member.settings, **(member.decay or {} if case.decay else {})}
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            weights = (_of_formula if member.formula else _of_class)(member, settings, case)
    except Exception as error:
        return Path({}, sentence(error))
    if not all(torch.isfinite(one).all() for one in weights.values()):
        return Path({}, "its weights are not finite")
    return Path(weights)


def _scale(case: Case) -> float:
    return SMALL if case.small else 1.0


def _of_formula(member: Member, settings: Mapping[str, object], case: Case) -> dict[int, Tensor]:
    walk = FORMULAS[member.use](start(SHAPES[case.shape]).to(case.dtype).double(), **settings)
    found = {0: next(walk)}
    for step in range(1, max(STEPS) + 1):
        found[step] = walk.send(_scale(case) * gradient(found[step - 1]))
    return found


def _of_class(member: Member, settings: Mapping[str, object], case: Case) -> dict[int, Tensor]:
    parameter = torch.nn.Parameter(start(SHAPES[case.shape]).to(case.dtype))
    given = [{"params": [parameter], "use_muon": parameter.dim() > 1}] if member.groups else [parameter]
    optimizer = find(member.use)(given, **settings)
    if callable(train := getattr(optimizer, "train", None)):
        train()
    found = {0: parameter.detach().double().clone()}
    for step in range(1, max(STEPS) + 1):
        parameter.grad = (_scale(case) * gradient(parameter.detach())).to(case.dtype)
        optimizer.step()
        found[step] = parameter.detach().double().clone()
    return found


def distance(one: Path, other: Path, step: int) -> float:
    """How far two paths are apart, as a share of the longer way; 0 where both stand still."""
    apart = float((one.update(step) - other.update(step)).norm())
    longer = max(float(one.update(step).norm()), float(other.update(step).norm()))
    return apart / longer if apart else 0.0


@dataclass(frozen=True)
class Difference:
    """What a member shows in a case, beside the reference.

    Attributes:
        distances: after each of `STEPS`, in their order.
        length: the first update's length as a multiple of the reference's; NaN where that stands still.
        error: what was raised instead.
    """

    distances: tuple[float, ...] = ()
    length: float = math.nan
    error: str = ""

    def agrees(self, dtype: torch.dtype) -> bool:
        """Whether all distances are rounding."""
        return not self.error and max(self.distances) <= AGREE[dtype]


@dataclass(frozen=True)
class Row:
    """A member of a comparison.

    Attributes:
        group: its group, ``A`` the reference's; empty for a member that runs in no case.
        version: of its package; empty for a formula.
        differences: by case, from the reference.
        reason: why it differs, if its version is the one that the reason was found in.
        outdated: the version of a reason that is not shown.
    """

    member: Member
    group: str
    version: str
    differences: Mapping[Case, Difference]
    reason: Reason | None = None
    outdated: str = ""


@dataclass(frozen=True)
class Comparison:
    """An algorithm's members beside the paper's formula, or beside the first of them where there is none.

    Attributes:
        missing: the collections that are not installed.
        defaults: labels of members in groups that agree where only the step size is set; None for formulas alone.
    """

    algorithm: Algorithm
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    defaults: tuple[tuple[str, ...], ...]

    @property
    def reference(self) -> Member:
        """What the others are compared with."""
        return self.rows[0].member


Paths = Mapping[Case, Path]


def _agree(one: Paths, other: Paths) -> bool:
    """Whether two members agree in every case that both can run, and there is one."""
    both = [case for case in one.keys() & other.keys() if not one[case].error and not other[case].error]
    return bool(both) and all(
        distance(one[case], other[case], step) <= AGREE[case.dtype] for case in both for step in STEPS
    )


def grouped(paths: Sequence[Paths]) -> list[list[int]]:
    """The members, by number, in groups: one joins the first group whose first member it agrees with."""
    groups: list[list[int]] = []
    for number, own in enumerate(paths):
        if all(one.error for one in own.values()):
            continue
        for group in groups:
            if _agree(paths[group[0]], own):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _paths(member: Member) -> dict[Case, Path]:
    return {case: path(member, case) for case in CASES if not case.decay or member.decay}


def _difference(reference: Paths, own: Paths, case: Case) -> Difference:
    if error := own[case].error or (reference[case].error if case in reference else ""):
        return Difference(error=error)
    distances = tuple(distance(reference[case], own[case], step) for step in STEPS)
    first = float(reference[case].update(1).norm())
    return Difference(distances, float(own[case].update(1).norm()) / first if first else math.nan)


def by_default(member: Member, settings: Mapping[str, object]) -> Member:
    """The class of a member with the step size alone, where it names one."""
    rate = {"lr": settings["lr"]} if "lr" in settings else {}
    return Member(use=member.use, settings=rate, groups=member.groups)


def _defaults(algorithm: Algorithm, members: Sequence[Member]) -> tuple[tuple[str, ...], ...]:
    classes = {one.use: by_default(one, algorithm.settings) for one in members if not one.formula}
    cases = [Case(shape) for shape in SHAPES]
    paths = [{case: path(one, case) for case in cases} for one in classes.values()]
    names = list(classes)
    return tuple(tuple(names[number] for number in group) for group in grouped(paths))


def compare(algorithm: Algorithm) -> Comparison:
    """Step every member of `algorithm` whose collection is installed."""
    members = [one for one in algorithm.members if one.formula or installed(module_of(one.use))]
    wanted = {module_of(one.use) for one in algorithm.members if not one.formula}
    missing = tuple(module for module in COLLECTIONS if module in wanted and not installed(module))
    paths = [_paths(member) for member in members]
    groups = grouped(paths)
    letters = {number: chr(ord("A") + place) for place, group in enumerate(groups) for number in group}
    rows = [_row(member, letters.get(number, ""), paths[0], paths[number]) for number, member in enumerate(members)]
    rows = [rows[0], *sorted(rows[1:], key=lambda row: row.group or "~")] if rows else []
    return Comparison(algorithm, tuple(rows), missing, _defaults(algorithm, members))


def _row(member: Member, group: str, reference: Paths, own: Paths) -> Row:
    version = "" if member.formula else installed(module_of(member.use)) or ""
    differences = {case: _difference(reference, own, case) for case in own if case in reference}
    reason = member.reason
    known = reason is not None and reason.version == version
    return Row(
        member, group, version, differences, reason if known else None, reason.version if reason and not known else ""
    )


def as_data(comparison: Comparison) -> dict[str, object]:
    """A comparison as plain values, for tables: distances of the first update and of the end, by shape of weights.

    ``decay``, ``float32`` and ``small`` are the largest distances of all cases with weight decay, in single precision,
    and with small gradients; None where a member has none. ``errors`` are sentences, by shape.
    """
    return {
        "name": comparison.algorithm.name,
        "title": comparison.algorithm.title,
        "note": comparison.algorithm.note,
        "missing": list(comparison.missing),
        "defaults": [list(group) for group in comparison.defaults],
        "rows": [_row_data(row) for row in comparison.rows],
    }


def _row_data(row: Row) -> dict[str, object]:
    plain = {name: row.differences[Case(name)] for name in SHAPES if Case(name) in row.differences}
    ran = [one for one in plain.values() if not one.error]
    lengths = [one.length for one in ran if math.isfinite(one.length)]
    return {
        "label": row.member.label,
        "use": row.member.use,
        "source": source(row.member),
        "number": NUMBERS[row.member.use] if row.member.formula else "",
        "version": row.version,
        "group": row.group,
        "lengths": [min(lengths), max(lengths)] if lengths else None,
        "shapes": {
            name: None
            if one.error
            else {"first": one.distances[0], "end": one.distances[-1], "same": one.agrees(torch.float64)}
            for name, one in plain.items()
        },
        "errors": {name: one.error for name, one in plain.items() if one.error},
        "decay": _largest(row, lambda case: case.decay and case.dtype == torch.float64),
        "float32": _largest(row, lambda case: case.dtype == torch.float32),
        "small": _largest(row, lambda case: case.small),
        "reason": {"text": row.reason.text, "source": row.reason.source} if row.reason else None,
        "outdated": row.outdated,
    }


def _largest(row: Row, chosen: Callable[[Case], bool]) -> dict[str, object] | None:
    found = [(case, one) for case, one in row.differences.items() if chosen(case) and not one.error]
    if not found:
        return None
    return {
        "largest": max(max(one.distances) for _, one in found),
        "same": all(one.agrees(case.dtype) for case, one in found),
    }


def source(member: Member) -> str:
    """The first sentence of a formula's docstring, which names the paper; empty for a class."""
    if not member.formula:
        return ""
    return " ".join((FORMULAS[member.use].__doc__ or "").split("\n\n")[0].split())
