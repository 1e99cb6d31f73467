"""What a measure is, and the list of all of them. A new measure is one function marked with `@declare`."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from suite import plugins
from suite.errors import InputError, unknown
from suite.estimate import Kind

if TYPE_CHECKING:
    from suite.measures.context import MeasureContext

Function = TypeVar("Function", bound="Callable[[MeasureContext], float | Mapping[str, float]]")
Scale = Literal["log", "linear"]
Need = Literal["initial", "test", "labels", "integers", "images", "predictor"]

LAYER_RESCALING = "layer rescaling"
NEURON_RESCALING = "neuron rescaling"
LOGIT_SCALE = "logit scale"
LINEAR_PAIR = "linear pair"
ATTENTION = "attention"
NORMALIZATION = "normalization"
RESIDUAL_STREAM = "residual stream"
PERIOD = "period"
LOGIT_SHIFT = "logit shift"
NEURON_PERMUTATION = "neuron permutation"
EVALUATION_BATCH = "evaluation batch"
SOLUTION_ORDER = "solution order"
DTYPE = "dtype"

INVARIANCES: Mapping[str, str] = {
    LAYER_RESCALING: "a layer's weights and bias times c, the next layer's weights over c, through a ReLU",
    NEURON_RESCALING: "the same neuron by neuron, each with its own factor",
    LOGIT_SCALE: "the last layer times c (classification is measured at matched training loss)",
    LINEAR_PAIR: "W1 -> A W1, W2 -> W2 A^-1 where linear maps follow each other, constants between them too",
    ATTENTION: "the same, head by head, for queries and keys and for values and outputs; constants of keys and values",
    NORMALIZATION: "a norm's gain and bias against what follows; scale and constants of what it normalizes",
    RESIDUAL_STREAM: "rotations of what layer or RMS norms read, constants and a scale that these forget",
    PERIOD: "periods of a sine added to the constant in it; half of one, with the sign of what reads the sine",
    LOGIT_SHIFT: "the same vector added to the weights of all classes (cross-entropy only)",
    NEURON_PERMUTATION: "the neurons of a hidden layer in another order",
    EVALUATION_BATCH: "how many samples are evaluated at a time",
    SOLUTION_ORDER: "which other solutions are measured in the same process, and in which order",
    DTYPE: "float32 in place of float64, up to rounding",
}
"""What a measure may declare itself invariant to; every one is tested on every measure that declares it."""

ALWAYS = frozenset({NEURON_PERMUTATION, EVALUATION_BATCH, SOLUTION_ORDER, DTYPE})
RESCALING = frozenset({LAYER_RESCALING, NEURON_RESCALING})
RELATIVE = RESCALING | {LOGIT_SCALE}
"""What relative changes of the weights are invariant to."""
CANONICAL = RELATIVE | {LINEAR_PAIR, ATTENTION, NORMALIZATION, RESIDUAL_STREAM, PERIOD}
"""What the scored measures of a task must be invariant to, in addition to `ALWAYS`."""

OF_FUNCTION = CANONICAL | {LOGIT_SHIFT}
"""What measures of the decisions alone are invariant to."""


@dataclass(frozen=True)
class Measure:
    """A named number that is taken of a solution.

    Attributes:
        name: the function's name.
        kind: the weakest kind that its values may have, and that of the plain floats which `function` returns.
        unit: what the number counts (the loss is in nats for cross-entropy).
        scale: whether scores compare two values by their ratio (``log``) or by their difference (``linear``).
        higher: whether larger values are better, None if neither is.
        invariances: names in `INVARIANCES`.
        cost: gradient evaluations on the same data, for a network of ten classes.
        source: paper and equation.
        needs: what must be given in addition to the network and its training data.
        function: context -> the number, or one number per layer, frequency, … by name.
    """

    name: str
    kind: Kind
    unit: str
    scale: Scale
    higher: bool | None
    invariances: frozenset[str]
    cost: float
    source: str
    needs: frozenset[Need]
    function: Callable[[MeasureContext], float | Mapping[str, float]]

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The paragraphs of the function's docstring, each on one line."""
        return tuple(" ".join(part.split()) for part in (inspect.getdoc(self.function) or "").split("\n\n"))

    @property
    def description(self) -> str:
        """The first paragraph of the docstring."""
        return self.paragraphs[0]

    @property
    def canonical(self) -> bool:
        """Whether no symmetry of the weights can move it, so that it may be scored."""
        return self.invariances >= CANONICAL


_registry: dict[str, Measure] = {}


def declare(
    *,
    kind: Kind,
    unit: str,
    cost: float,
    source: str,
    scale: Scale = "log",
    higher: bool | None = False,
    invariances: Iterable[str] = (),
    needs: Iterable[Need] = (),
) -> Callable[[Function], Function]:
    """Register a function ``context -> number`` as the measure of its name; its docstring says what the number is.

    The function itself stays as it is. A plain float is given the declared kind, a bound or estimate with an unknown
    error; a function that knows better, or knows the error, returns an `Estimate`.

    Args:
        kind, unit, cost, source, scale, higher: as in `Measure`.
        invariances: what the value is invariant to; `ALWAYS` is added.
        needs: what must be given: weights before training (``initial``), ``test`` data, integer ``labels`` of samples,
            ``integers`` as labels of samples or positions, ``images``, or a network that is a linear ``predictor``.
    """

    def register(function: Function) -> Function:
        name, invariant = function.__name__, frozenset(invariances) | ALWAYS
        _registry[name] = Measure(name, kind, unit, scale, higher, invariant, cost, source, frozenset(needs), function)
        return function

    return register


def measures() -> dict[str, Measure]:
    """Every measure by name, in the order of their files."""
    package = importlib.import_module("suite.measures")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        importlib.import_module(f"suite.measures.{module.name}")
    _load_plugins()
    return dict(_registry)


@functools.cache
def _load_plugins() -> None:
    """Import what installed packages declare; an `InputError` if one of them takes the name of another measure."""
    own = dict(_registry)
    for name in plugins.names("measures"):
        plugins.load("measures", name)
    for name, measure in own.items():
        if _registry[name] is not measure:
            _registry.update(own)
            raise InputError(f"A plug-in declares a measure {name!r}, which there is already.")


def find_measure(name: str) -> Measure:
    """The measure called `name`; without one, an `InputError` that suggests the nearest name."""
    table = measures()
    if name not in table:
        raise unknown("measure", name, table, "see `lowlands measures`.")
    return table[name]


DIRECTIONS = {True: "higher", False: "lower", None: "neither"}


def listing() -> str:
    """One line a measure: name, whether it may be scored, scale, better direction, cost, description."""
    lines = [f"{'measure':30}{'scored':8}{'scale':8}{'better':9}{'cost':>4}  what it is"]
    for m in measures().values():
        scored = "yes" if m.canonical else "no"
        line = f"{m.name:30}{scored:8}{m.scale:8}{DIRECTIONS[m.higher]:9}{m.cost:4.2g}  "
        lines.append(line + textwrap.shorten(m.description, 120 - len(line), placeholder=" …"))
    note = "scored: no symmetry of the weights can move it. cost: in gradient evaluations."
    return "\n".join([*lines, "", note])


def explain(names: Sequence[str]) -> str:
    """Everything that the measures `names` declare."""
    return "\n\n".join(_explained(find_measure(name)) for name in names)


def _explained(measure: Measure) -> str:
    lines = [
        measure.name,
        f"  {measure.description}",
        f"  unit: {measure.unit}; scale: {measure.scale}; better: {DIRECTIONS[measure.higher]}",
        f"  kind: {measure.kind}",
        f"  cost: {measure.cost:.3g} gradient evaluations on the same data",
        f"  source: {measure.source}",
    ]
    if measure.needs:
        lines.append(f"  needs: {', '.join(sorted(measure.needs))}")
    lines.append("  invariant to:")
    lines += [f"    {name}: {text}" for name, text in INVARIANCES.items() if name in measure.invariances - ALWAYS]
    lines.append(f"    {', '.join(sorted(ALWAYS))}")
    return "\n".join(lines)
