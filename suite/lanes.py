"""Many lanes as one batched program: stacked parameters, per-lane gradients.

A lane is one independent training run. The parameters of S lanes live in one tensor ``[S, *shape]`` per name;
one batched forward and backward gives every lane its own loss and gradient. Lanes never see each other: the
losses are summed, not averaged, before the backward pass, so that each lane's gradient is that of its own loss.

`SingleLane` is the same interface over one ordinary module. It serves what `vmap` refuses or what batching
makes slower (convolutions and wide networks on a CPU).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

Loss = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]


class Lanes:
    """S lanes of one architecture.

    parameters: name -> [S, *shape], without a graph; optimizers write into views of them.
    gradients: name -> [S, *shape], filled by `evaluate`.
    """

    def __init__(self, models: Sequence[nn.Module], loss: Loss, scales: Tensor) -> None:
        """`scales` [S] divides each lane's objective (see `Problem.smoothness`); reported losses are undivided."""
        stacked, self.buffers = stack_module_state(list(models))
        self.parameters: Weights = {name: p.detach().clone() for name, p in stacked.items()}
        self.gradients: Weights = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.scales = scales
        self._loss = loss
        self._module = models[0]
        self._batched = torch.vmap(self._one_loss, randomness="different")

    def __len__(self) -> int:
        return len(self.scales)

    def _one_loss(self, parameters: Weights, buffers: Weights, x: Tensor, y: Tensor) -> Tensor:
        return self._loss(functional_call(self._module, (parameters, buffers), (x,)), y)

    def _pick(self, tensors: Weights, index: Tensor | None) -> Weights:
        return tensors if index is None else {name: t[index] for name, t in tensors.items()}

    def evaluate(self, x: Tensor, y: Tensor, index: Tensor | None = None) -> Tensor:
        """Losses [A] of the lanes `index` [A] (None: all) on their batches ``x [A, b, ...]``; fills their gradients.

        Gradients of lanes outside `index` are left as they are.
        """
        leaves = {name: p.detach().requires_grad_() for name, p in self._pick(self.parameters, index).items()}
        scales = self.scales if index is None else self.scales[index]
        with torch.enable_grad():
            losses = self._batched(leaves, self._pick(self.buffers, index), x, y)
            gradients = torch.autograd.grad((losses / scales).sum(), list(leaves.values()), materialize_grads=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            if index is None:
                # Strides of a gradient may differ from its parameter's; fused optimizers then silently update wrongly.
                self.gradients[name].copy_(gradient)
            else:
                self.gradients[name][index] = gradient
        return losses.detach()

    @torch.no_grad()
    def losses(self, x: Tensor, y: Tensor, index: Tensor | None = None) -> Tensor:
        """Losses [A] of the lanes `index` on ``x [A, n, ...]``, without gradients."""
        losses: Tensor = self._batched(self._pick(self.parameters, index), self._pick(self.buffers, index), x, y)
        return losses

    def snapshot(self, lane: int) -> Weights:
        """A copy of one lane's weights, by name."""
        return {name: p[lane].clone() for name, p in self.parameters.items()}


class SingleLane(Lanes):
    """One lane as an ordinary module: the same interface without `vmap`. Shapes keep their lane axis of length 1."""

    def __init__(self, model: nn.Module, loss: Loss, scale: Tensor) -> None:
        self.scales = scale.reshape(1)
        self._module = model
        self._loss = loss
        self._leaves = dict(model.named_parameters())
        self.parameters = {name: p.detach().unsqueeze(0) for name, p in self._leaves.items()}
        self.gradients = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

    def evaluate(self, x: Tensor, y: Tensor, index: Tensor | None = None) -> Tensor:
        with torch.enable_grad():
            loss = self._loss(self._module(x[0]), y[0])
            gradients = torch.autograd.grad(loss / self.scales[0], list(self._leaves.values()), materialize_grads=True)
        for name, gradient in zip(self._leaves, gradients, strict=True):
            self.gradients[name][0].copy_(gradient)
        return loss.detach().reshape(1)

    @torch.no_grad()
    def losses(self, x: Tensor, y: Tensor, index: Tensor | None = None) -> Tensor:
        self._module.eval()
        try:
            return self._loss(self._module(x[0]), y[0]).reshape(1)
        finally:
            self._module.train()

    def snapshot(self, lane: int) -> Weights:
        weights = {name: p[0].clone() for name, p in self.parameters.items()}
        return weights | {name: b.clone() for name, b in self._module.named_buffers()}
