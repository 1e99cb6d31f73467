"""What a process does once before it trains."""

from __future__ import annotations

import torch


def warm_up() -> None:
    """Fix the number of threads, and build an optimizer.

    One thread, since the number decides rounding: a record must not depend on the machine's cores. A process's first
    optimizer imports further parts of torch, which takes a second and a half and replaces some of torch's functions.
    """
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
