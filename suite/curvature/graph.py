"""What an autograd graph says about the parameters behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.autograd.graph import Node


def each_used_once(roots: Iterable[Node | None], leaves: Sequence[Tensor]) -> bool:
    """Whether one edge at most of the graph behind `roots` leads to each leaf."""
    uses = dict.fromkeys(map(id, leaves), 0)
    waiting = list(roots)
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            variable = getattr(following, "variable", None)
            if id(variable) in uses:
                uses[id(variable)] += 1
            waiting.append(following)
    return max(uses.values()) <= 1
