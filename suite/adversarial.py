"""Adversarial starts: weights that already fit the training data, and generalise badly.

Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613): pre-train on wrong labels, then train on the data from
there. Plain SGD stays in the bad minimum; that is the zero point of the image tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.seeding import torch_stream
from suite.task import Problem

WRONG_COPIES = 2
ZEROED = 0.1
EPOCHS = 60


def _wrong_labels(labels: Tensor, classes: int, stream: torch.Generator) -> Tensor:
    return (labels + torch.randint(1, classes, labels.shape, generator=stream)) % classes


def poisoned_start(model: nn.Module, problem: Problem, seed: int, classes: int = 10) -> nn.Module:
    """Train `model` in place on the training data together with wrongly labelled images; returns it.

    The wrongly labelled images are `WRONG_COPIES` copies of the training images, a tenth of whose pixels are zeroed.
    So the network fits the true training data, and is wrong nearly everywhere around it. Heavy-ball SGD with batches of
    100 and a cosine schedule over `EPOCHS` epochs.
    """
    stream = torch_stream("poisoned start", seed)
    xs, ys = [problem.train.x], [problem.train.y]
    for _ in range(WRONG_COPIES):
        kept = torch.rand(problem.train.x.shape, generator=stream) >= ZEROED
        xs.append(problem.train.x * kept)
        ys.append(_wrong_labels(problem.train.y, classes, stream))
    x, y = torch.cat(xs), torch.cat(ys)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(x), generator=stream), 100):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(x[rows]), y[rows]))
            optimizer.step()
        schedule.step()
    return model
