"""The operands of calls in canonical form, and the network with these in place of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from suite.kernels.max_pool import FastMaxPool2d
from suite.measures.context import MeasureContext
from suite.measures.trace import LINEAR, Arguments, Change, Replay, Site, called


class Unproved(Exception):
    """It is not known which changes of the weights leave the network's function alone; says why."""


@dataclass(eq=False)
class Part:
    """The operands of one call in canonical form, in float64.

    Attributes:
        site: the call.
        weight: of a linear map [out, in, taps]; None for others.
        gain: of a normalization, or None.
        shift: of a linear map or normalization [out], of a sum the constant that is added; or None.
        free: by name, where operands may be perturbed: 1, or 0 for an entry that only copies.
        is_identity: a batch norm that went into the map before it.
        trained: the names of those that depend on parameters.
        given: the operands as the call gets them, by the same names.
        changed: whether they are not the network's own any more.
        offset: of a linear map, what is taken from its inputs [in]; None if nothing is.
    """

    site: Site
    weight: Tensor | None = None
    gain: Tensor | None = None
    shift: Tensor | None = None
    free: dict[str, Tensor] = field(default_factory=dict)
    is_identity: bool = False
    trained: set[str] = field(default_factory=set)
    given: dict[str, Tensor] = field(default_factory=dict)
    changed: bool = False
    offset: Tensor | None = None

    def add_shift(self, shift: Tensor, *, trained: bool) -> None:
        self.shift = shift.clone() if self.shift is None else self.shift + shift
        self.changed = True
        if trained:
            self.trained.add("shift")

    def drop_shift(self) -> None:
        self.shift = torch.zeros_like(self.shift) if self.site.name == "add" and self.shift is not None else None
        self.changed = True
        self.trained.discard("shift")

    def has_operands_of(self, other: Part) -> bool:
        """Whether both have the same operands, free in the same entries."""

        def are_same(one: Tensor | None, two: Tensor | None) -> bool:
            return one is two if one is None or two is None else torch.equal(one, two)

        return (
            (self.is_identity, self.trained, self.free.keys()) == (other.is_identity, other.trained, other.free.keys())
            and all(are_same(getattr(self, name), getattr(other, name)) for name in ("weight", "gain", "shift"))
            and all(are_same(self.free[name], other.free[name]) for name in self.free)
        )

    def operands(self) -> Iterator[tuple[str, Tensor]]:
        """Those that are perturbed."""
        for name in ("weight", "gain", "shift"):
            value = getattr(self, name)
            if value is not None and name in self.trained:
                yield name, value

    def call(self, tensors: dict[str, Tensor]) -> Change:
        """The call with these in place of its operands of the same name."""
        site = self.site
        own = {name: tensors.get(name, getattr(self, name)) for name in ("weight", "gain", "shift")}

        def run(func: Callable[..., Any], name: str, arguments: Arguments) -> Tensor:
            x = arguments["input"]

            def like(tensor: Tensor | None) -> Tensor | None:
                return None if tensor is None else tensor.to(site.after.tensor.device, site.after.tensor.dtype)

            weight, gain, shift = (like(own[each]) for each in ("weight", "gain", "shift"))
            if self.offset is not None:
                x = self.without_offset(x)
            if name == "batch_norm":
                if self.is_identity:
                    return x
                assert gain is not None
                assert shift is not None
                shape = (1, -1, *[1] * (x.dim() - 2))
                return gain.view(shape) * x + shift.view(shape)
            if name == "add":
                operand = "input" if isinstance(site.arguments["input"], Tensor) and self._constant_first else "other"
                return called(func, name, arguments | {operand: shift})
            if name == "matmul":
                assert weight is not None
                matrix = weight[:, :, 0]
                result: Tensor = x @ (matrix[0] if arguments["other"].dim() == 1 else matrix.T)
                return result if shift is None else result + shift
            changes: Arguments = {"weight": gain} if weight is None else {"weight": weight[:, :, 0]}
            if name == "embedding":
                assert weight is not None
                vectors: Tensor = called(func, name, arguments | {"weight": weight[:, :, 0].T})
                return vectors if shift is None else vectors + shift
            elif name.startswith("conv"):
                assert weight is not None
                changes = {"weight": weight.reshape(site.arguments["weight"].shape)}
            if name != "rms_norm":
                changes["bias"] = shift
            result = called(func, name, arguments | changes | {"input": x})
            return result

        return run

    def without_offset(self, x: Tensor) -> Tensor:
        """The inputs of a linear map less what is taken from them."""
        if self.offset is None:
            return x
        last = (1,) * (x.dim() - 2) if self.site.name.startswith("conv") else ()
        return x - self.offset.to(x).view(-1, *last)

    @property
    def _constant_first(self) -> bool:
        return self.site.before is not None and self.site.arguments["input"] is not self.site.before.tensor


@dataclass(frozen=True)
class Form:
    """A network in canonical form.

    Attributes:
        parts: by call.
        scales: for every operand that is perturbed: the part, its name, and the size of the noise, entry by entry.
        places: for each of them, which of as many draws every entry gets [entries].
        tied: by call and name of an operand, further calls that get the same one (steps of a recurrent layer).
    """

    parts: dict[int, Part]
    scales: list[tuple[Part, str, Tensor]]
    places: list[Tensor]
    tied: Mapping[tuple[int, str], Sequence[Part]]

    @functools.cached_property
    def _operands(self) -> list[Tensor]:
        """What is perturbed, on the network's device and in its precision."""
        return [getattr(part, name).to(part.site.after.tensor) for part, name, _ in self.scales]

    @functools.cached_property
    def sizes(self) -> list[Tensor]:
        """The scales, likewise."""
        return [scale.to(part.site.after.tensor) for part, _, scale in self.scales]

    def calls(self, noise: Sequence[Tensor] | None = None) -> dict[int, Change]:
        """By number, the calls whose operands are not the network's own, with `noise` added to those in `scales`."""
        tensors: dict[int, dict[str, Tensor]] = {}
        for (part, name, _), operand, move in zip(self.scales, self._operands, noise or (), strict=noise is not None):
            moved = operand + move
            for each in (part, *self.tied.get((part.site.number, name), ())):
                tensors.setdefault(each.site.number, {})[name] = moved
        return {
            number: part.call(tensors.get(number, {}))
            for number, part in self.parts.items()
            if part.changed or number in tensors
        }

    def outputs(self, context: MeasureContext, x: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Outputs [n, ...] on x, with `noise` added to the operands that `scales` lists."""
        return replayed(context, x, self.calls(noise))

    def only_difference(self, other: Form) -> int | None:
        """The one call in which both forms differ, if it gives the outputs; None if they differ elsewhere."""
        if self.parts.keys() != other.parts.keys() or self.tied.keys() != other.tied.keys():
            return None
        differing = [number for number, part in self.parts.items() if not part.has_operands_of(other.parts[number])]
        uses = {name for number in differing for name, _ in self.parts[number].site.after.uses}
        return differing[0] if len(differing) == 1 and uses == {"outputs"} else None

    def has_the_noise_of(self, other: Form, last: int) -> bool:
        """Whether the same draws are the same noise in both forms, apart from its size in the call `last`."""
        if len(self.scales) != len(other.scales):
            return False
        pairs = zip(self.scales, other.scales, self.places, other.places, strict=True)
        return all(
            one.shape == two.shape
            and torch.equal(first, second)
            and (part.site.number == last or torch.equal(one, two))
            for (part, _, one), (_, _, two), first, second in pairs
        )


@torch.no_grad()
def replayed(context: MeasureContext, x: Tensor, changed: Mapping[int, Change]) -> Tensor:
    """Outputs [n, ...] of the network on x, with other operands in some of its calls."""

    def one(inputs: Tensor) -> Tensor:
        with FastMaxPool2d(), Replay(changed):
            result: Tensor = context.model(inputs)
            return result

    return torch.cat([one(inputs) for inputs in torch.split(x, context.network.chunk(x))])


def part_of(site: Site) -> Part:
    """The operands of a call as they are."""
    given = site.arguments

    def exact(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.detach().double().cpu().clone()

    part = Part(site)
    if site.name in LINEAR:
        weight = given["other" if site.name == "matmul" else "weight"]
        matrix = exact(weight)
        assert matrix is not None
        matrix = matrix.T if site.name in ("matmul", "embedding") and matrix.dim() == 2 else matrix
        matrix = matrix[None] if matrix.dim() == 1 else matrix
        part.weight = matrix.flatten(2).clone() if matrix.dim() > 2 else matrix[:, :, None].clone()
        part.shift = exact(given.get("bias"))
        operands = {"weight": weight, "shift": given.get("bias")}
    elif site.name == "add":
        constant = given["other" if given["input"] is site.before.tensor else "input"]  # type: ignore[union-attr]
        part.shift, operands = exact(constant), {"shift": constant}
    else:
        part.gain, part.shift = exact(given.get("weight")), exact(given.get("bias"))
        operands = {"gain": given.get("weight"), "shift": given.get("bias")}
        if site.name == "batch_norm":
            if given.get("training") or given.get("running_mean") is None:
                raise Unproved("a batch norm has no running statistics")
            mean, variance = exact(given["running_mean"]), exact(given["running_var"])
            assert mean is not None
            assert variance is not None
            gain = torch.ones_like(mean) if part.gain is None else part.gain
            part.gain = gain / (variance + given.get("eps", 1e-5)).sqrt()
            part.shift = (0.0 if part.shift is None else part.shift) - mean * part.gain
    part.given = {name: value for name, value in operands.items() if value is not None}
    part.trained = {name for name, value in part.given.items() if value.requires_grad}
    return part


def trained_operands(site: Site) -> Iterator[Tensor]:
    """The operands that depend on parameters."""
    for name, value in site.arguments.items():
        activation = site.before is not None and value is site.before.tensor
        if isinstance(value, Tensor) and value.requires_grad and not activation and name != "running_mean":
            yield value


def channels_written(part: Part) -> Tensor:
    """The channels of a shift's entries."""
    return part.site.writes if part.site.labels is None else part.site.labels


def channels_along_last(part: Part) -> Tensor:
    """The channels along the last axis of a shift."""
    written = channels_written(part)
    return written.reshape(-1, written.shape[-1])[0]


def is_padded(site: Site) -> bool:
    padding = site.arguments.get("padding", 0)
    return site.name.startswith("conv") and padding not in (0, (0,), (0, 0), (0, 0, 0), [0], [0, 0], [0, 0, 0])
