"""Where losses and gradients come from: from networks and data of this process, or from another that holds the data.

Everything that trains, tries out or compares an optimizer asks one `GradientSource`. The sandbox has another one
(`suite.sandbox.remote`), in whose process there are no data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suite.task import Loss, Task
from suite.training.global_state import generators_preserved
from suite.training.gradient_count import GRADIENTS
from suite.training.lanes import SingleModel, StackedModels
from suite.training.minibatches import BatchSampler, DeviceDataset
from suite.training.run import Device, TrainingRun

Program = tuple[StackedModels, DeviceDataset, BatchSampler]


class GradientSource:
    """Losses and gradients from networks and data of this process."""

    def passes(self, task: Task, run: TrainingRun, device: Device) -> int:
        """How many passes are counted here while the network of `task` is differentiated once."""
        single = self.single(task, task.loss, run, run.model(task, device), device)
        before = GRADIENTS.total
        with generators_preserved(device):
            single.evaluate(*self.first_batch(task, run, device))
        GRADIENTS.expected += GRADIENTS.total - before
        return GRADIENTS.total - before

    def program(
        self,
        task: Task,
        loss: Loss,
        runs: Sequence[TrainingRun],
        models: Sequence[nn.Module],
        device: Device,
        graph: bool,
    ) -> Program:
        """Networks, data and batches of `runs`, which are trained together, or of one that is trained alone.

        `loss` is descended; `graph`: the gradients of the only run carry their graph.
        """
        if len(runs) > 1:
            stack = StackedModels(models, loss, _scales(task, runs, device), task.loss)
        else:
            stack = self.single(task, loss, runs[0], models[0], device, graph)
        return stack, *_data(task, runs, device)

    def single(
        self, task: Task, loss: Loss, run: TrainingRun, model: nn.Module, device: Device, graph: bool = False
    ) -> SingleModel:
        """The network `model` of `run` by itself."""
        return SingleModel(model, loss, _scales(task, [run], device)[0], task.loss, graph)

    def first_batch(self, task: Task, run: TrainingRun, device: Device) -> tuple[Tensor, Tensor]:
        """The first samples of `run` [1, b, ...], which tell how an optimizer must be called."""
        batch = run.first_batch(task, device)
        return batch.x[None], batch.y[None]

    def batches(self, task: Task, run: TrainingRun, device: Device) -> BatchSampler:
        """The batches of `run` from its beginning."""
        return _data(task, [run], device)[1]

    def begin_again(self) -> None:
        """Called where runs were not trained as one program after all, before they are trained one by one."""


LOCAL = GradientSource()


def _scales(task: Task, runs: Sequence[TrainingRun], device: Device) -> Tensor:
    return torch.tensor([run.problem.lipschitz for run in runs], dtype=task.dtype, device=device)


def _data(task: Task, runs: Sequence[TrainingRun], device: Device) -> tuple[DeviceDataset, BatchSampler]:
    dataset = DeviceDataset([run.problem.train for run in runs], device)
    return dataset, BatchSampler(task, dataset, [run.stream_seeds(task.name) for run in runs])
