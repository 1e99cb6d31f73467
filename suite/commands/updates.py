"""`lowlands compare --updates`: two versions of an optimizer are fed the same gradients, and their updates compared.

    plan  = what BASE can be asked: its calling convention, parameter groups, and scenarios
    paths = of either version, one in every scenario: 50 steps on a small network (in one 300), all weights after each
    the first step in which an update differs by more than rounding is named, with the tensor and by how much

A scenario is a precision, settings, and what is done on the way. There is one for the defaults, for weight decay on and
off, for saving and reloading, for a tensor whose gradient is missing or 0 in every other step, for a group that is
added on the way, for kernels and scalars, and for every switch that the constructor has (`nesterov`, `foreach`, ...).
One is longer, since counters overflow late. In all of them there are two parameter groups with hyper-parameters of
their own, gradients change their size by four decades, and the step size is halved on the way.

The gradient in a step is a drawn number at the weights before it, the same in both versions wherever they are. Closures
that are called at other weights (SAM, line searches) get the gradient of a quadratic about these. So nothing is
trained, no seed matters, and a difference is a difference of code.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from suite.entries.versions import Version
from suite.errors import InputError, sentence
from suite.seeding import torch_stream
from suite.signature import MakeOptimizer, Settings, signature
from suite.storage.record import as_settings
from suite.submission import Submission
from suite.training import Budget, make_optimizer
from suite.training.behavior_probe import attach_gradients
from suite.training.global_state import seed_generators
from suite.training.groups import ScheduledRates
from suite.training.step_protocol import CANDIDATES, PLAIN, StepProtocol, call_mode

STEPS = 50
MANY_STEPS = 300
"""A number of 8 bits has overflowed by then, and one in bfloat16 no longer grows when 1 is added."""
ADDED_AT, RELOADED_AT, HALVED_AT = 10, 20, 30
"""The steps before which a group is added, state is saved and reloaded, and the step size is halved."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
"""Updates that differ by up to this share of their largest entry differ by rounding, as other orders of sums do."""

ROUNDINGS = 16
"""Roundings of a weight by which an update may differ as well: it is read off as the difference of two weights."""

DECAY, MOMENTUM = 0.1, 0.9
MOST_SWITCHES = 10

SIZES = (1e-3, 10.0)
"""The standard deviations that gradients have, log-uniform from step to step."""


class Outcome(StrEnum):
    """What a scenario showed."""

    IDENTICAL = "identical"
    """Bit for bit."""
    ROUNDING = "equal up to rounding"
    DIFFERENT = "different"
    REFUSED = "refused by NEW"
    """NEW raises where BASE does not."""
    UNAVAILABLE = "not possible"
    """BASE raises."""


@dataclass(frozen=True)
class Scenario:
    """A path: its name and precision, and what is done on the way.

    Attributes:
        settings: hyper-parameters, in place of those that either version has itself.
        defaults: what BASE tunes is left to the constructors, where they have defaults.
        reloads: state is saved and loaded into a new optimizer before step `RELOADED_AT`.
        misses: a tensor has no gradient in every other step.
        vanishes: its gradient is 0 there.
        grows: the second group is added before step `ADDED_AT`.
        shapes: a convolution's kernel and a scalar are among the tensors.
        steps: how many.
    """

    name: str
    dtype: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: bool = False
    reloads: bool = False
    misses: bool = False
    vanishes: bool = False
    grows: bool = False
    shapes: bool = False
    steps: int = STEPS


@dataclass(frozen=True)
class Plan:
    """What both versions are asked.

    Attributes:
        layout: the parameter groups: ``groups`` (two), ``matrices`` (two, without vectors), or ``whole`` (one).
        closure: how `step` is called, as an index of `suite.training.step_protocol.CANDIDATES`.
        tuned: what BASE tunes, at the middle of its range; a version that fixes it has its own value.
        required: those of them for which BASE's constructor has no default.
    """

    layout: str
    closure: int
    tuned: Mapping[str, Any]
    required: tuple[str, ...]
    scenarios: tuple[Scenario, ...]

    @property
    def protocol(self) -> StepProtocol:
        """How `step` is called."""
        return CANDIDATES[self.closure]


@dataclass(frozen=True)
class Trajectory:
    """All weights [steps + 1, weights] in double precision, or the `error` that the optimizer raised."""

    weights: Tensor
    error: str = ""


Trajectories = Mapping[str, Trajectory]


@dataclass(frozen=True)
class UpdateDifference:
    """What a scenario showed.

    Attributes:
        step: the first step whose update differs, counted from 1; 0 where none does.
        parameter: the tensor where it differs most, with its group.
        relative: the largest difference of an entry, as a share of the largest entry of BASE's update there.
        ratio: NEW's update as a multiple of BASE's (the projection).
        cosine: between the two updates.
        error: what was raised, where something was.
    """

    scenario: str
    outcome: Outcome
    step: int = 0
    parameter: str = ""
    relative: float = 0.0
    ratio: float = math.nan
    cosine: float = math.nan
    error: str = ""

    @property
    def differs(self) -> bool:
        """Whether NEW is not what BASE is."""
        return self.outcome in (Outcome.DIFFERENT, Outcome.REFUSED)


class _Network(nn.Module):
    """Matrices and vectors; with `shapes` a convolution's kernel and a scalar besides."""

    def __init__(self, shapes: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        if shapes:
            self.kernel, self.scalar = nn.Conv2d(2, 3, 3), nn.Parameter(torch.zeros(()))


SECOND_GROUP = ("second", "scalar")
"""Parts of the network whose tensors are in the second parameter group."""


def _group(name: str) -> int:
    return 2 if name.startswith(SECOND_GROUP) else 1


def _network(plan: Plan, scenario: Scenario) -> nn.Module:
    """The network of a scenario; only tensors that the plan's layout gives to the optimizer require gradients."""
    network = _Network(scenario.shapes).to(DTYPES[scenario.dtype])
    stream = torch_stream("weights of updates")
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=stream, dtype=torch.float64))
        parameter.requires_grad_(plan.layout != "matrices" or parameter.dim() == 2)
    return network


def _parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def fixed(submission: Submission) -> dict[str, Any]:
    """The hyper-parameters that a submission does not tune."""
    return {name: value for name, value in submission.space.items() if name not in submission.tuned}


def _build(submission: Submission, plan: Plan, scenario: Scenario, network: nn.Module) -> tuple[Any, dict[str, Any]]:
    """The optimizer of `network`, and the group that is added to it later.

    The second group has hyper-parameters of its own where the class bears that; only such a group is added later.
    """
    parameters, budget = _parameters(network), Budget(max(STEPS, scenario.steps), 100)
    tuned = {key: value for key, value in plan.tuned.items() if key in plan.required or not scenario.defaults}
    settings = tuned | fixed(submission) | dict(scenario.settings)

    def build(groups: Any) -> Any:
        return make_optimizer(submission.factory, parameters, settings, budget, network, groups=groups)

    if plan.layout == "whole":
        return build(None), {}
    groups = [{"params": [p for name, p in parameters.items() if _group(name) == number]} for number in (1, 2)]
    options = _of_second_group(getattr(build(groups), "defaults", {}))
    for keys in (options.keys(), options.keys() & {"lr", "weight_decay"}, options.keys() & {"lr"}):
        own = {"params": groups[1]["params"], **{key: options[key] for key in keys}}
        with contextlib.suppress(Exception):
            together = build([groups[0], own])
            return (build(groups[:1]), own) if scenario.grows else (together, {})
    return build(groups), {}


def _of_second_group(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Half the step size, and a tenth less of every other number (and pair of numbers) between 0 and 1."""

    def less(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(map(less, value))
        return 0.9 * value if isinstance(value, float) and 0 < value < 1 else value

    changed = {key: less(value) for key, value in defaults.items() if isinstance(value, float | tuple)}
    if isinstance(defaults.get("lr"), float):
        changed["lr"] = defaults["lr"] / 2
    return {key: value for key, value in changed.items() if value != defaults[key]}


class _Walk:
    """An optimizer on its way through a scenario."""

    def __init__(self, submission: Submission, plan: Plan, scenario: Scenario) -> None:
        self._submission, self._plan, self._scenario = submission, plan, scenario
        seed_generators(0)
        self._take(_network(plan, scenario))
        self._drawn = _drawn(tuple(parameter.shape for parameter in self._parameters.values()), scenario.steps)

    def _take(self, network: nn.Module) -> None:
        self._network, self._parameters = network, _parameters(network)
        self._optimizer, self._later = _build(self._submission, self._plan, self._scenario, network)
        call_mode(self._optimizer, "train")
        self._rates = ScheduledRates(self._optimizer)

    def weights(self) -> Tensor:
        """All weights as one vector in double precision."""
        return torch.cat([p.detach().double().reshape(-1) for p in self._parameters.values()])

    def trajectory(self, steps: int) -> Tensor:
        """The weights [steps + 1, weights] before the first step and after each."""
        places = [self.weights()]
        for step in range(1, steps + 1):
            if self._scenario.reloads and step == RELOADED_AT:
                self._reload()
            if self._later and step == ADDED_AT:
                self._optimizer.add_param_group(self._later)
            if step == HALVED_AT:
                self._rates.set(0.5)
            self._step(step)
            places.append(self.weights())
        return torch.stack(places)

    def _reload(self) -> None:
        """Save everything, and go on with a network and an optimizer that are made anew, as another process does."""
        saved = io.BytesIO()
        torch.save((self._network.state_dict(), self._optimizer.state_dict()), saved)
        saved.seek(0)
        weights, state = torch.load(saved, weights_only=False)
        network = _network(self._plan, self._scenario)
        network.load_state_dict(weights)
        self._take(network)
        self._optimizer.load_state_dict(state)

    def _step(self, step: int) -> None:
        protocol, parameters = self._plan.protocol, list(self._parameters.values())
        gradients = [
            gradient.to(parameter.dtype) for gradient, parameter in zip(self._drawn[step - 1], parameters, strict=True)
        ]
        given: list[Tensor | None] = [*gradients]
        if step % 2 == 0 and self._scenario.misses:
            given[0] = None
        elif step % 2 == 0 and self._scenario.vanishes:
            given[0] = torch.zeros_like(gradients[0])
        start = [parameter.detach().clone() for parameter in parameters] if protocol != PLAIN else []

        def closure() -> Tensor:
            return attach_gradients(parameters, given, start, 1.0, protocol.needs_graph)

        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        if protocol.needs_graph or protocol.needs_grad_before_closure:
            closure()
        _ = self._optimizer.step(closure) if protocol.needs_closure else self._optimizer.step()


@functools.cache
def _drawn(shapes: tuple[torch.Size, ...], steps: int) -> list[list[Tensor]]:
    """The gradients of tensors of these shapes in every step, in double precision."""
    stream = torch_stream("gradients of updates")
    exponents = torch.rand(steps, generator=stream, dtype=torch.float64).tolist()
    sizes = [SIZES[0] * (SIZES[1] / SIZES[0]) ** exponent for exponent in exponents]
    return [[size * torch.randn(shape, generator=stream, dtype=torch.float64) for shape in shapes] for size in sizes]


def trajectory(submission: Submission, plan: Plan, scenario: Scenario) -> Trajectory:
    """Where the optimizer of `submission` goes in a scenario."""
    with torch.random.fork_rng(devices=[]):
        try:
            return Trajectory(_Walk(submission, plan, scenario).trajectory(scenario.steps))
        except Exception as error:
            return Trajectory(torch.zeros(0), sentence(error))


def trajectories(submission: Submission, plan: Plan) -> Trajectories:
    """Where the optimizer of `submission` goes, by the name of the scenario."""
    return {scenario.name: trajectory(submission, plan, scenario) for scenario in plan.scenarios}


def make_plan(submission: Submission) -> Plan:
    """What can be asked of BASE, found by trying it.

    Raises:
        InputError: it takes no step under any calling convention.
    """
    arguments = signature(submission.factory)
    tuned = {key: submission.space[key].at(0.5) for key in submission.tuned}
    required = tuple(key for key in tuned if key not in arguments or arguments[key].default is inspect.Parameter.empty)
    errors = []
    for layout in ("groups", "matrices", "whole"):
        for number, protocol in enumerate(CANDIDATES):
            if protocol.splits_matrices:  # what `whole` does by itself
                continue
            plan = Plan(layout, number, tuned, required, ())
            found = trajectory(submission, plan, Scenario("trial", "float64", steps=3))
            if not found.error and bool((found.weights[-1] != found.weights[0]).any()):
                has_defaults, has_groups = len(required) < len(tuned), layout != "whole"
                return replace(plan, scenarios=tuple(_scenarios(submission, has_defaults, has_groups)))
            errors.append(found.error or "its steps do not move the weights")
    raise InputError(f"{submission.name!r} takes no step ({errors[0]}).")


def _scenarios(submission: Submission, has_defaults: bool, has_groups: bool) -> Iterator[Scenario]:
    """Every scenario in both precisions."""
    for dtype in DTYPES:
        for scenario in _of_dtype(submission, dtype, has_defaults, has_groups):
            yield replace(scenario, name=f"{scenario.name}, {dtype}")


def _of_dtype(submission: Submission, dtype: str, has_defaults: bool, has_groups: bool) -> Iterator[Scenario]:
    arguments = signature(submission.factory)
    decay = {"weight_decay": DECAY} if "weight_decay" in arguments else {}
    momentum = {"momentum": MOMENTUM} if "momentum" in arguments and not submission.space.get("momentum") else {}
    both = decay | momentum
    yield Scenario("as it is", dtype)
    if has_defaults:
        yield Scenario("default settings", dtype, defaults=True)
    if decay:
        yield Scenario(f"weight_decay={DECAY}", dtype, decay)
        yield Scenario("weight_decay=0", dtype, {"weight_decay": 0.0})
    if momentum:
        yield Scenario(f"momentum={MOMENTUM}", dtype, both)
    yield Scenario("saved and reloaded", dtype, both, reloads=True)
    yield Scenario("a gradient missing", dtype, both, misses=True)
    yield Scenario("a gradient of zero", dtype, both, vanishes=True)
    if has_groups:
        yield Scenario("a group added later", dtype, both, grows=True)
    yield Scenario("a kernel and a scalar", dtype, both, shapes=True)
    for name, value in list(_switches(submission.factory, fixed(submission)))[:MOST_SWITCHES]:
        yield Scenario(f"{name}={value}", dtype, both | {name: value})
    if dtype == "float64":  # where rounding does not add up to what counts
        yield Scenario(f"{MANY_STEPS} steps", dtype, both, steps=MANY_STEPS)


def _switches(make: MakeOptimizer, own: Settings) -> Iterator[tuple[str, bool]]:
    """The arguments that are true or false, with the value that they do not have."""
    for name, parameter in signature(make).items():
        default = own.get(name, parameter.default)
        if isinstance(default, bool):
            yield name, not default
        elif default is None and "bool" in str(parameter.annotation):
            yield name, True


def compare_updates(plan: Plan, base: Trajectories, new: Trajectories) -> list[UpdateDifference]:
    """What every scenario of the plan showed."""
    return [_difference(plan, scenario, base[scenario.name], new[scenario.name]) for scenario in plan.scenarios]


def _difference(plan: Plan, scenario: Scenario, base: Trajectory, new: Trajectory) -> UpdateDifference:
    name = scenario.name
    if base.error:
        return UpdateDifference(name, Outcome.UNAVAILABLE, error=base.error)
    if new.error:
        return UpdateDifference(name, Outcome.REFUSED, error=new.error)
    before, after = base.weights, new.weights
    if torch.equal(torch.nan_to_num(before), torch.nan_to_num(after)) and torch.equal(before.isnan(), after.isnan()):
        return UpdateDifference(name, Outcome.IDENTICAL)
    tensors = _parameters(_network(plan, scenario))
    sizes, eps = [tensor.numel() for tensor in tensors.values()], torch.finfo(DTYPES[scenario.dtype]).eps
    for step in range(1, len(before)):
        updates = [torch.split(weights[step] - weights[step - 1], sizes) for weights in (before, after)]
        found = []
        for key, one, other, place in zip(tensors, *updates, torch.split(before[step], sizes), strict=True):
            largest, apart = float(one.abs().max()), float((other - one).abs().max())
            allowed = TOLERANCE[scenario.dtype] * largest + ROUNDINGS * eps * float(place.abs().max())
            if math.isfinite(largest) and not apart <= allowed:
                found.append((apart / largest if largest else math.inf, key, one, other))
        if found:
            relative, key, one, other = max(found, key=lambda item: item[0])
            square, size = float(one @ one), float(one.norm() * other.norm())
            ratio, cosine = (float(one @ other) / by if by else math.nan for by in (square, size))
            where = key if plan.layout == "whole" else f"{key} (group {_group(key)})"
            return UpdateDifference(name, Outcome.DIFFERENT, step, where, relative, ratio, cosine)
    return UpdateDifference(name, Outcome.ROUNDING)


METADATA = "plan"
"""The entry of a file's metadata that holds the plan and the errors."""


def save(path: Path, plan: Plan, found: Trajectories) -> None:
    """Write the updates of a version to a safetensors file, for a comparison in another environment.

    Raises:
        InputError: it cannot be written, or settings are no numbers or words.
    """
    errors = {name: one.error for name, one in found.items() if one.error}
    try:
        text = json.dumps({"plan": asdict(plan), "errors": errors})
        weights = {name: one.weights.contiguous() for name, one in found.items() if not one.error}
        save_file(weights, path, {METADATA: text})
    except (OSError, SafetensorError) as error:
        raise InputError(f"The file {path} cannot be written ({sentence(error)}).") from error
    except TypeError as error:
        raise InputError(f"Settings that are no numbers or words cannot be saved ({sentence(error)}).") from error


def read(path: Path) -> tuple[Plan, Trajectories]:
    """The plan and the updates that `save` wrote.

    Raises:
        InputError: the file cannot be read, or `save` did not write it.
    """
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {})[METADATA])
            found = {name: Trajectory(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        scenarios = tuple(
            Scenario(**one | {"settings": as_settings(one["settings"])}) for one in said["plan"].pop("scenarios")
        )
        said["plan"]["tuned"], said["plan"]["required"] = (
            as_settings(said["plan"][name]) for name in ("tuned", "required")
        )
        plan = Plan(**said["plan"], scenarios=scenarios)
        found |= {name: Trajectory(torch.zeros(0), str(error)) for name, error in said["errors"].items()}
        known = {scenario.name for scenario in scenarios} == found.keys() and plan.closure in range(len(CANDIDATES))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as saved updates ({sentence(error)}).") from error
    if not known:
        raise InputError(f"{path} does not hold the updates of every scenario of its plan.")
    return plan, found


@dataclass(frozen=True)
class Side:
    """A version of a submission; `file` holds its updates where another environment saved them."""

    text: str
    version: Version = field(default_factory=Version)
    file: Path | None = None


def updates(base: Side, new: Side, kept: Path | None = None) -> tuple[list[UpdateDifference], list[str]]:
    """Compare the updates of two versions of a submission.

    Args:
        base, new: the versions; NEW must be code.
        kept: where NEW's updates are saved.

    Returns:
        What every scenario showed, and notes.

    Raises:
        InputError: a version cannot be loaded or read, BASE takes no step, or NEW's updates cannot be saved.
    """
    notes = []
    after = new.version.load(new.text)
    if base.file is not None:
        plan, first = read(base.file)
    else:
        before = base.version.load(base.text)
        with base.version.active():
            plan = make_plan(before)
            first = trajectories(before, plan)
        if {**before.space} != {**after.space}:
            notes.append(
                "The spaces differ: NEW is stepped with its own fixed values, and the middle of BASE's ranges."
            )
    with new.version.active():
        second = trajectories(after, plan)
    if kept is not None:
        save(kept, plan, second)
    return compare_updates(plan, first, second), notes
