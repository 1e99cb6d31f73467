"""Curvature against PyHessian on the same networks and data: ``python -m benchmarks.peers [--images FILE]``.

The rows of a table in docs/speed.md: medians of alternating runs in one process of one thread, in processor seconds,
with both values. FILE is an ``.npz`` of CIFAR-10, ``x_train`` [n, 32, 32, 3] of bytes and ``y_train`` [n]; without it
the data set is read as any other. PyHessian is called with its defaults, on one batch of all samples.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite.data import load_images, split_digits
from suite.kernels.malloc import disable_trim
from suite.measures import measure
from suite.models import initialize, mlp
from suite.models.images import cnn
from suite.seeding import torch_stream
from suite.task import Split

DIGITS, IMAGES, FEW_IMAGES = 4_000, 2_000, 512
PAIRS = 3
MEASURES = {"largest eigenvalue": "lambda_max", "trace": "hessian_trace"}


@dataclass(frozen=True)
class Network:
    """A network, how it is trained and until which loss, and its data."""

    title: str
    model: nn.Module
    data: Split
    optimizer: Callable[..., torch.optim.Optimizer]
    target: float

    def fit(self) -> nn.Module:
        """Train, epoch by epoch in batches of 64, until the loss on the way is at most the target."""
        optimizer = self.optimizer(self.model.parameters())
        loss, epoch = float("inf"), 0
        self.model.train()
        while loss > self.target:
            loss, epoch = 0.0, epoch + 1
            for rows in torch.randperm(len(self.data), generator=torch_stream("order", epoch)).split(64):
                optimizer.zero_grad()
                value = cross_entropy(self.model(self.data.x[rows]), self.data.y[rows])
                torch.autograd.backward(value)
                optimizer.step()
                loss += value.item() * len(rows) / len(self.data)
        print(f"{self.title}: loss {loss:.3g} after {epoch} epochs", file=sys.stderr)
        return self.model.eval()


def digits() -> Network:
    model = initialize(mlp((1, 28, 28), 10, (256, 256)), torch_stream("peers", "mlp"))
    data = split_digits("bench_measures", 0, DIGITS, 500, 500).train
    return Network("MLP 784-256-256-10, 4,000 digits", model, data, lambda p: torch.optim.SGD(p, lr=0.1), 0.012)


def images(file: Path | None, count: int) -> Split:
    """The first images of CIFAR-10, normalised channel by channel."""
    if file is None:
        train = load_images("cifar10").train
        pixels, labels = train.x[:count].float(), train.y[:count]
    else:
        with np.load(file) as arrays:
            pixels = torch.from_numpy(arrays["x_train"][:count]).float().permute(0, 3, 1, 2).contiguous()
            labels = torch.from_numpy(arrays["y_train"][:count]).long()
    return Split((pixels - pixels.mean((0, 2, 3), keepdim=True)) / pixels.std((0, 2, 3), keepdim=True), labels)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-3)


def convolutional(file: Path | None) -> Network:
    model = initialize(cnn((3, 32, 32), 10), torch_stream("peers", "cnn"))
    return Network("CNN 16-32-64, 2,000 images of CIFAR-10", model, images(file, IMAGES), adam, 0.05)


def resnet18(file: Path | None) -> Network:
    from torchvision.models import resnet18 as build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(num_classes=10)
    return Network("`resnet18` of torchvision, 512 images of CIFAR-10", model, images(file, FEW_IMAGES), adam, 0.1)


def theirs(model: nn.Module, data: Split, what: str) -> float:
    """PyHessian's value."""
    from pyhessian import hessian

    peer = hessian(model, nn.CrossEntropyLoss(), data=(data.x, data.y), cuda=False)
    found = float(np.mean(peer.trace())) if what == "trace" else float(peer.eigenvalues(top_n=1)[0][0])
    for parameter in model.parameters():
        parameter.grad = None  # which it leaves behind, with their graphs
    return found


def seconds(compute: Callable[[], float]) -> tuple[float, float]:
    """Processor seconds, and the value."""
    begin = time.process_time()
    value = compute()
    return time.process_time() - begin, value


def rows(network: Network, pairs: int) -> list[str]:
    """A row in markdown for each measure."""
    model, data = network.fit(), network.data
    found = []
    for what, name in MEASURES.items():
        ours, peers = [], []
        for pair in range(pairs + 1):
            peer = seconds(lambda what=what: theirs(model, data, what))
            own = seconds(lambda name=name: measure(model, data, [name], matched_loss=None)[name])
            if pair:  # the first is to warm up
                ours.append(own)
                peers.append(peer)
        ratios = [peer[0] / own[0] for peer, own in zip(peers, ours, strict=True)]
        value = measure(model, data, [name], matched_loss=None)[name]
        spread = " to ".join(f"{each:.4g}" for each in (min(v for _, v in peers), max(v for _, v in peers)))
        found.append(
            f"| {network.title} | {what} | {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) "
            f"| {statistics.median(t for t, _ in ours):.2f} | {value} ({value.kind}) | {spread} |"
        )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, metavar="FILE")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--network", action="append", choices=("mlp", "cnn", "resnet18"), help="[default: all]")
    given = parser.parse_args()
    torch.set_num_threads(1)
    disable_trim()  # as workers do
    networks = {"mlp": digits, "cnn": lambda: convolutional(given.images), "resnet18": lambda: resnet18(given.images)}
    print("| network | what | PyHessian's time over ours | our seconds | our value | PyHessian's values |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in given.network or networks:
        for row in rows(networks[name](), given.pairs):
            print(row, flush=True)


if __name__ == "__main__":
    main()
