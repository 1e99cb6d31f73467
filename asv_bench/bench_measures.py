"""Measures against gradients and against the peers, on the MLP 784-256-256-10 with 4,000 digits.

Lowlands and the peers run in one process with one thread; `track_` benchmarks give paired ratios, the median over
`PAIRS` alternations, so that a noisy machine moves both sides alike. A peer that is not installed is skipped.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from asv_bench.allocated import peak_bytes
from asv_bench.quiet import Quiet
from suite.curvature import Hessian, Network, lanczos, subsampled, top_eigenpairs
from suite.curvature.operators import LowPrecisionHessian
from suite.data import split_digits
from suite.kernels.malloc import disable_trim
from suite.measures import measure
from suite.models import initialize, mlp
from suite.seeding import torch_stream

SAMPLES = 4_000
PAIRS = 3
CHANCES = 11
"""Pairs for PyHessian, whose time is chance: its power iteration takes 4 to 9 s from one random start to the next, its
trace stops when two means of its probes happen to agree, after 8 to 40 of them."""
BEST_ITERATIONS = 15
"""The fewest with which hessian-eigenthings has all five eigenvalues within 1 % here."""


def peer(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotImplementedError(f"{name} is not installed") from None


def ratio(theirs: Callable[[], object], ours: Callable[[], object], pairs: int = PAIRS) -> float:
    """The median over `pairs` of their time over ours, in processor seconds."""

    def seconds(run: Callable[[], object]) -> float:
        begin = time.process_time()
        run()
        return time.process_time() - begin

    theirs(), ours()
    return statistics.median(seconds(theirs) / seconds(ours) for _ in range(pairs))


class Fitted(Quiet):
    """The network trained to a loss of 0.01 by SGD."""

    timeout = 600

    def setup_cache(self) -> dict[str, torch.Tensor]:
        data = split_digits("bench_measures", 0, SAMPLES, 500, 500).train
        model = self._network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while cross_entropy(model(data.x), data.y).item() > 0.01:
            for rows in torch.split(torch.randperm(SAMPLES, generator=torch_stream("order")), 64):
                optimizer.zero_grad()
                torch.autograd.backward(cross_entropy(model(data.x[rows]), data.y[rows]))
                optimizer.step()
        return model.state_dict()

    def _network(self) -> torch.nn.Module:
        return initialize(mlp((1, 28, 28), 10, (256, 256)), torch_stream("bench_measures", "init"))

    def setup(self, weights: dict[str, torch.Tensor]) -> None:
        torch.set_num_threads(1)
        disable_trim()  # as workers do
        self.data = split_digits("bench_measures", 0, SAMPLES, 500, 500).train
        self.model = self._network()
        self.model.load_state_dict(weights)
        self.network = Network(self.model)

    def gradient(self) -> object:
        loss = cross_entropy(self.model(self.data.x), self.data.y)
        return torch.autograd.grad(loss, list(self.model.parameters()))

    def top_five(self) -> object:
        return top_eigenpairs(self.network, self.data, cross_entropy, 5, torch_stream("top five"))

    def largest(self) -> object:
        return top_eigenpairs(self.network, self.data, cross_entropy, 1, torch_stream("largest"))

    def trace(self) -> object:
        return measure(self.model, self.data, ["hessian_trace"])


class Precisions(Fitted):
    """With and without products in bfloat16."""

    params = (["float32", "bfloat16"],)
    param_names = ("precision",)

    def setup(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        super().setup(weights)
        self._kept = subsampled.multiplies_bfloat16
        if precision == "bfloat16" and not self._kept(torch.device("cpu")):
            raise NotImplementedError("no bfloat16 instructions here")
        subsampled.multiplies_bfloat16 = lambda device: precision == "bfloat16"

    def teardown(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        subsampled.multiplies_bfloat16 = self._kept


class Products(Precisions):
    """One Hessian product on a kept graph."""

    def setup(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        super().setup(weights, precision)
        kind = LowPrecisionHessian if precision == "bfloat16" else Hessian
        self.hessian = kind(self.network, self.data, cross_entropy)
        self.vector = torch.randn(self.hessian.size, generator=torch_stream("vector"))

    def time_product(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        self.hessian @ self.vector

    def track_product_over_gradient(self, weights: dict[str, torch.Tensor], precision: str) -> float:
        return ratio(lambda: self.hessian @ self.vector, self.gradient)


class Memory(Fitted):
    """Peak of what tensors hold, over that of one gradient on the same data."""

    params = (["product", "trace", "largest", "top_five"],)
    param_names = ("what",)

    def setup(self, weights: dict[str, torch.Tensor], what: str) -> None:
        super().setup(weights)

    def product(self) -> object:
        hessian = Hessian(self.network, self.data, cross_entropy)
        return hessian @ torch.ones(hessian.size)

    def track_peak_over_gradient(self, weights: dict[str, torch.Tensor], what: str) -> float:
        return peak_bytes(getattr(self, what)) / peak_bytes(self.gradient)


class TopFive(Precisions):
    """The five largest eigenvalues, each within 1 %."""

    def time_top_five(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        self.top_five()

    def track_largest_error(self, weights: dict[str, torch.Tensor], precision: str) -> float:
        hessian = Hessian(self.network, self.data, cross_entropy)
        exact = lanczos(hessian, 5, torch_stream("exact"), tol=1e-5, guards=5).values
        values = top_eigenpairs(self.network, self.data, cross_entropy, 5, torch_stream("top five")).values
        return float(((values - exact).abs() / exact).max())


class AgainstPyHessian(Precisions):
    """PyHessian's time over ours."""

    def setup(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        self.peer = peer("pyhessian")
        super().setup(weights, precision)

    def _theirs(self) -> object:
        pair = (self.data.x, self.data.y)
        return self.peer.hessian(self.model, torch.nn.CrossEntropyLoss(), data=pair, cuda=False)

    def track_top_five(self, weights: dict[str, torch.Tensor], precision: str) -> float:
        return ratio(lambda: self._theirs().eigenvalues(top_n=5), self.top_five, CHANCES)

    def track_trace(self, weights: dict[str, torch.Tensor], precision: str) -> float:
        if precision == "bfloat16":
            raise NotImplementedError("the trace is taken in the network's own precision")
        return ratio(lambda: self._theirs().trace(), self.trace, CHANCES)


class AgainstEigenthings(Precisions):
    """The time of hessian-eigenthings' `lanczos` at its best `max_iter` over ours."""

    def setup(self, weights: dict[str, torch.Tensor], precision: str) -> None:
        self.peer = peer("hessian_eigenthings")
        super().setup(weights, precision)

    def track_top_five(self, weights: dict[str, torch.Tensor], precision: str) -> float:
        loss = self.peer.supervised_loss(cross_entropy)
        operator = self.peer.HessianOperator(self.model, [(self.data.x, self.data.y)], loss)
        return ratio(lambda: self.peer.lanczos(operator, k=5, max_iter=BEST_ITERATIONS, seed=1), self.top_five)
