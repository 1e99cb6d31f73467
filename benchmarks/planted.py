"""Twelve kinds of regression and three further ones, each planted in one of three optimizers, for `benchmarks.power`.

The optimizers are written plainly, as a library would, and a plant changes one of their parts. The comparison was made
with the twelve in view; the further ones were planted when it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from suite import Submission


class _Planted(torch.optim.Optimizer):
    """Steps tensor by tensor; a plant overrides one part."""

    def __init__(self, params: Iterable[Tensor], foreach: bool = False, **settings: Any) -> None:
        super().__init__(params, settings | {"foreach": foreach})

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters that a group is stepped with."""
        return group

    def gradient(self, weights: Tensor) -> Tensor:
        assert weights.grad is not None
        return weights.grad

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            options = self.options(group)
            for weights in group["params"]:
                if weights.grad is not None:
                    self.update(weights, self.gradient(weights), self.state[weights], options)


class AdamW(_Planted):
    """Loshchilov and Hutter 2019, arXiv:1711.05101, in the form of torch."""

    eps, beta2, corrects, decays, couples = 1e-8, 0.999, True, True, False

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-2, weight_decay: float = 0.1, foreach: bool = False
    ) -> None:
        super().__init__(params, foreach, lr=lr, weight_decay=weight_decay)

    def second_moment(self, moment: Tensor) -> Tensor:
        return moment

    def denominator(self, moment: Tensor) -> Tensor:
        return moment.sqrt().add_(self.eps)

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay = group["weight_decay"] if self.decays else 0.0
        if self.couples:
            gradient = gradient + decay * weights
        else:
            weights.mul_(1 - group["lr"] * decay)
        step = state["step"] = state.get("step", 0) + 1
        for name, beta, value in (("m", 0.9, gradient), ("v", self.beta2, gradient.square())):
            state[name] = value * (1 - beta) + beta * state[name] if name in state else value * (1 - beta)
        state["v"] = self.second_moment(state["v"])
        first, second = (1 - 0.9**step, 1 - self.beta2**step) if self.corrects else (1.0, 1.0)
        weights.addcdiv_(state["m"] / first, self.denominator(state["v"] / second), value=-group["lr"])


class Momentum(_Planted):
    """Nesterov's momentum in the form of torch (Sutskever et al. 2013), with coupled weight decay."""

    nesterov = True

    def __init__(
        self, params: Iterable[Tensor], lr: float = 3e-2, weight_decay: float = 0.0, foreach: bool = False
    ) -> None:
        super().__init__(params, foreach, lr=lr, weight_decay=weight_decay)

    def buffer(self, buffer: Tensor) -> Tensor:
        return buffer

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        gradient = gradient + group["weight_decay"] * weights
        buffer = self.buffer(0.9 * state["buffer"] + gradient if "buffer" in state else gradient.clone())
        state["buffer"] = buffer
        weights.sub_(group["lr"] * (gradient + 0.9 * buffer if self.nesterov else buffer))


class SAM(Momentum):
    """Foret et al. 2021, arXiv:2010.01412; the radius shrinks with the step size, as in the built-in `sam`."""

    radius, nesterov = 5.0, False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is not None
        with torch.enable_grad():
            closure()
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([w.grad.norm() for w in weights])) + 1e-30
        radius = self.radius * self.param_groups[0]["lr"]
        moves = [radius * w.grad / norm for w in weights]
        before = [w.clone() for w in weights]
        torch._foreach_add_(weights, moves)
        with torch.enable_grad():
            closure()
        torch._foreach_copy_(weights, before)
        super().step()


class DecayLost(AdamW):
    decays = False


class DecayCoupled(AdamW):
    couples = True


class EpsilonTimes100000(AdamW):
    eps = 1e-3


class BiasCorrectionForgotten(AdamW):
    corrects = False


class Beta2Changed(AdamW):
    beta2 = 0.99


class BufferInBfloat16(Momentum):
    def buffer(self, buffer: Tensor) -> Tensor:
        return buffer.bfloat16().to(buffer.dtype)


class NesterovLost(Momentum):
    nesterov = False


class ForeachWrongForSecondGroup(Momentum):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"lr": self.param_groups[0]["lr"]} if group["foreach"] else group


class GradientClipped(Momentum):
    def gradient(self, weights: Tensor) -> Tensor:
        gradient = super().gradient(weights)
        return gradient * min(1.0, 1.0 / (float(gradient.norm()) + 1e-30))


class RateOffByATenth(Momentum):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"lr": 0.9 * group["lr"]}


class RadiusHalved(SAM):
    radius = 2.5


class StateLostOnReload(AdamW):
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"state": {}}


class MomentumOfTheStepBefore(Momentum):
    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        before = state.get("buffer", torch.zeros_like(weights))
        gradient = gradient + group["weight_decay"] * weights
        state["buffer"] = 0.9 * before + gradient
        weights.sub_(group["lr"] * before)


class EpsilonInsideTheRoot(AdamW):
    def denominator(self, moment: Tensor) -> Tensor:
        return (moment + self.eps).sqrt()


class SecondMomentInBfloat16(AdamW):
    def second_moment(self, moment: Tensor) -> Tensor:
        return moment.bfloat16().to(moment.dtype)


PLANTS: dict[str, tuple[type[_Planted], type[_Planted]]] = {
    "weight decay lost": (AdamW, DecayLost),
    "weight decay coupled": (AdamW, DecayCoupled),
    "epsilon 1e-8 -> 1e-3": (AdamW, EpsilonTimes100000),
    "bias correction forgotten": (AdamW, BiasCorrectionForgotten),
    "beta2 0.999 -> 0.99": (AdamW, Beta2Changed),
    "momentum buffer in bfloat16": (Momentum, BufferInBfloat16),
    "nesterov lost": (Momentum, NesterovLost),
    "foreach wrong for the second group": (Momentum, ForeachWrongForSecondGroup),
    "gradient clipped at 1": (Momentum, GradientClipped),
    "step size 10 % too small": (Momentum, RateOffByATenth),
    "SAM's radius halved": (SAM, RadiusHalved),
    "state lost on reload": (AdamW, StateLostOnReload),
}
"""The plant by name, with the optimizer that it is planted in."""

FURTHER: dict[str, tuple[type[_Planted], type[_Planted]]] = {
    "momentum of the step before": (Momentum, MomentumOfTheStepBefore),
    "epsilon inside the root": (AdamW, EpsilonInsideTheRoot),
    "second moment in bfloat16": (AdamW, SecondMomentInBfloat16),
}
"""Kinds that the comparison was not made for."""


def submission_of(optimizer: type[_Planted], **space: Any) -> Submission:
    """The optimizer as a submission of the same name whichever version it is."""
    return Submission("planted", optimizer, space=space)


for _base, _new in (PLANTS | FURTHER).values():
    for _kind in (_base, _new):
        globals()[f"run_{_kind.__name__}"] = submission_of(_kind)
