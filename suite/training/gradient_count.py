"""Counts gradient evaluations at torch's autograd engine, whoever asks for them.

Every backward pass that Python starts runs through one engine: of a loss, of a closure's, `torch.autograd.grad`,
`torch.func`, products with a Hessian, hooks of parameters and modules, on the task's network or on a copy of it. While
runs are trained, an engine that counts is in its place, and what the training loop did not ask for is the optimizer's
own. A pass under `vmap` counts once for each of its lanes, a pass of forward-mode differentiation like one backward.
Only code that calls torch's C++ engine by itself is not seen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _ImperativeEngine
from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_all_functorch_interpreters
from torch.autograd import Variable, forward_ad


class GradientCount:
    """The gradient evaluations of this process.

    Attributes:
        total: all of them, since the process began.
        expected: those of the training loop, which adds its own here.
    """

    total = expected = 0

    @property
    def others(self) -> int:
        """Those that the training loop did not ask for."""
        return self.total - self.expected

    def add(self, seeds: Sequence[Tensor] = ()) -> None:
        """Count a pass that begins with `seeds`, as often as `vmap` repeats it."""
        stack = retrieve_all_functorch_interpreters()
        sizes = [level.batch_size() for level in stack if isinstance(level, VmapInterpreter)] if stack else []
        # `is_grads_batched` and `torch.autograd.functional` have an older `vmap`, which numbers its levels from 1.
        levels = torch._C._vmapmode_increment_nesting()
        torch._C._vmapmode_decrement_nesting()
        for level in range(1, levels):
            sizes.append(max((len(torch._remove_batch_dim(seed, level, 1, 0)) for seed in seeds), default=1))
        self.total += math.prod(sizes)


GRADIENTS = GradientCount()
REPLACED = "the submission replaced torch's autograd engine, which counts gradients"


def gradients_of_others(since: int) -> int:
    """How many there are now beyond `since`, a former value of `GRADIENTS.others`."""
    more = GRADIENTS.others - since
    if more < 0:
        raise RuntimeError(REPLACED)
    return more


class _CountingEngine(_ImperativeEngine):
    def run_backward(self, tensors: Any, seeds: Sequence[Tensor], *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        GRADIENTS.add(seeds)
        return super().run_backward(tensors, seeds, *args, **kwargs)


@contextlib.contextmanager
def gradients_counted() -> Iterator[None]:
    """While it lasts, gradient evaluations are counted; a `RuntimeError` at the end if something has prevented it."""
    engine, enter_dual_level = Variable._execution_engine, forward_ad.enter_dual_level
    counting = _CountingEngine()

    def counting_level() -> int:
        GRADIENTS.add()
        return enter_dual_level()  # type: ignore[no-untyped-call]

    Variable._execution_engine, forward_ad.enter_dual_level = counting, counting_level
    try:
        yield
        if Variable._execution_engine is not counting or forward_ad.enter_dual_level is not counting_level:
            raise RuntimeError(REPLACED)
    finally:
        Variable._execution_engine, forward_ad.enter_dual_level = engine, enter_dual_level
