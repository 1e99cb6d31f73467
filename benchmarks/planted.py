"""Twelve kinds of regression and further ones, each planted in one of a few optimizers, for `benchmarks.power`.

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

    eps, beta2, corrects, couples = 1e-8, 0.999, True, False

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-2, weight_decay: float = 0.1, foreach: bool = False
    ) -> None:
        super().__init__(params, foreach, lr=lr, weight_decay=weight_decay, beta2=self.beta2)

    def decay(self, weights: Tensor, group: dict[str, Any]) -> float:
        return float(group["weight_decay"])

    def count(self, step: int) -> int:
        return step

    def second_moment(self, moment: Tensor) -> Tensor:
        return moment

    def largest(self, state: dict[str, Any]) -> Tensor:
        """The second moment that the step is divided by."""
        moment: Tensor = state["v"]
        return moment

    def denominator(self, moment: Tensor) -> Tensor:
        return moment.sqrt().add_(self.eps)

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay, beta2 = self.decay(weights, group), group["beta2"]
        if self.couples:
            gradient = gradient + decay * weights
        else:
            weights.mul_(1 - group["lr"] * decay)
        step = state["step"] = self.count(state.get("step", 0) + 1)
        for name, beta, value in (("m", 0.9, gradient), ("v", beta2, gradient.square())):
            state[name] = value * (1 - beta) + beta * state[name] if name in state else value * (1 - beta)
        state["v"] = self.second_moment(state["v"])
        first, second = (1 - 0.9**step, 1 - beta2**step) if self.corrects else (1.0, 1.0)
        weights.addcdiv_(state["m"] / first, self.denominator(self.largest(state) / second), value=-group["lr"])


class Momentum(_Planted):
    """Nesterov's momentum in the form of torch (Sutskever et al. 2013), with coupled weight decay."""

    nesterov, dampening = True, 0.0

    def __init__(
        self, params: Iterable[Tensor], lr: float = 3e-2, weight_decay: float = 0.0, foreach: bool = False
    ) -> None:
        super().__init__(params, foreach, lr=lr, weight_decay=weight_decay)

    def buffer(self, buffer: Tensor) -> Tensor:
        return buffer

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        gradient = gradient + group["weight_decay"] * weights
        new = (1 - self.dampening) * gradient
        buffer = self.buffer(0.9 * state["buffer"] + new if "buffer" in state else gradient.clone())
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


class AMSGrad(AdamW):
    """Reddi, Kale and Kumar 2018, arXiv:1904.09237, in the form of torch."""

    def largest(self, state: dict[str, Any]) -> Tensor:
        state["largest"] = torch.maximum(state.get("largest", state["v"]), state["v"])
        return super().largest({"v": state["largest"]})


class MatricesDecayed(AdamW):
    """Biases and other vectors are not decayed."""

    def decay(self, weights: Tensor, group: dict[str, Any]) -> float:
        return super().decay(weights, group) if weights.dim() > 1 else 0.0


class Dampened(Momentum):
    """Momentum with dampening, without Nesterov's step (torch refuses both together)."""

    nesterov, dampening = False, 0.5


class Maximizing(Momentum):
    """Ascends if asked to."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 3e-2, weight_decay: float = 0.0, maximize: bool = False
    ) -> None:
        _Planted.__init__(self, params, lr=lr, weight_decay=weight_decay, maximize=maximize)

    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().update(weights, -gradient if group["maximize"] else gradient, state, group)


class DecayLost(AdamW):
    def decay(self, weights: Tensor, group: dict[str, Any]) -> float:
        return 0.0


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


class SecondMomentInFloat16(AdamW):
    def second_moment(self, moment: Tensor) -> Tensor:
        return moment.half().to(moment.dtype)


class StepCountedInBfloat16(AdamW):
    def count(self, step: int) -> int:
        return int(torch.tensor(step, dtype=torch.bfloat16))


class SecondGroupsBetaIgnored(AdamW):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"beta2": self.param_groups[0]["beta2"]}


class DampeningLost(Dampened):
    dampening = 0.0


class MaximizeLostForSecondGroup(Maximizing):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"maximize": group["maximize"] and group is self.param_groups[0]}


class RateOfTheStepBefore(Momentum):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        before = self.__dict__.setdefault("rates", {})
        rate, before[id(group)] = before.get(id(group), group["lr"]), group["lr"]
        return group | {"lr": rate}


class ZeroGradientSkipped(Momentum):
    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if gradient.any():
            super().update(weights, gradient, state, group)


class StateOfOneShapeShared(Momentum):
    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first = self.__dict__.setdefault("first", {}).setdefault(weights.shape, weights)
        super().update(weights, gradient, self.state[first], group)


class GroupAddedLaterIgnored(Momentum):
    def update(self, weights: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        known = self.__dict__.setdefault("known", {id(w) for group in self.param_groups for w in group["params"]})
        if id(weights) in known:
            super().update(weights, gradient, state, group)


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
    "second moment in float16": (AdamW, SecondMomentInFloat16),
    "steps counted in bfloat16": (AdamW, StepCountedInBfloat16),
    "amsgrad's maximum forgotten": (AMSGrad, AdamW),
    "vectors decayed as well": (MatricesDecayed, AdamW),
    "dampening lost": (Dampened, DampeningLost),
    "step size of the step before": (Momentum, RateOfTheStepBefore),
    "state shared by tensors of one shape": (Momentum, StateOfOneShapeShared),
    "skipped where the gradient is 0": (Momentum, ZeroGradientSkipped),
    "second group's beta2 ignored": (AdamW, SecondGroupsBetaIgnored),
    "maximize lost for the second group": (Maximizing, MaximizeLostForSecondGroup),
    "a group added later is ignored": (Momentum, GroupAddedLaterIgnored),
}
"""Kinds that the comparison was not made for."""

UNSEEN = {
    "foreach wrong for the second group": "one group",
    "second group's beta2 ignored": "one group",
    "maximize lost for the second group": "one group",
    "a group added later is ignored": "one group",
    "state lost on reload": "never reloaded",
}
"""Plants whose runs are those of the base, since that is how the suite trains."""


def submission_of(optimizer: type[_Planted], **space: Any) -> Submission:
    """The optimizer as a submission of the same name whichever version it is."""
    return Submission("planted", optimizer, space=space)


for _kind in {kind for pair in (PLANTS | FURTHER).values() for kind in pair}:
    globals()[f"run_{_kind.__name__}"] = submission_of(_kind)
