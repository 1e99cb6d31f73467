"""Any text file as tokens: its bytes, and windows of them for training, validation and test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Problem, Split

FEWEST_WINDOWS = 16
"""A text that gives fewer of them is too short to be split into three parts."""


@dataclass(frozen=True)
class Text:
    """A text.

    Attributes:
        tokens: [length], int64: the rank of each byte among those that occur, by falling frequency.
        vocabulary: how many bytes occur.
    """

    tokens: Tensor
    vocabulary: int

    def conditional_entropy(self, order: int) -> float:
        """Nats: the entropy of a token given the `order` tokens before it (1 or more), by frequencies in this text."""
        windows = self.tokens.unfold(0, order + 1, 1)
        joint, before = (torch.unique(part, dim=0, return_counts=True)[1] for part in (windows, windows[:, :-1]))
        return float((_entropy(joint) - _entropy(before)).item())


def _entropy(counts: Tensor) -> Tensor:
    return torch.special.entr(counts.double() / counts.sum()).sum()


def load_text() -> Text:
    """The file that ``--data`` or ``$LOWLANDS_DATA`` names.

    Raises:
        InputError: none is named, or it is no file, cannot be read or is empty.
    """
    given = os.environ.get("LOWLANDS_DATA")
    if not given:
        raise InputError("A text is needed: name a file with --data or $LOWLANDS_DATA.")
    path = Path(given)
    if not path.is_file():
        raise InputError(f"{path} is no file: --data or $LOWLANDS_DATA must name a text.")
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not len(content):
        raise InputError(f"{path} is empty.")
    counts = np.bincount(content, minlength=256)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(256, dtype=np.int64)
    rank[order] = np.arange(256)
    return Text(torch.from_numpy(rank[content]), int((counts > 0).sum()))


def windows_split(windows: Tensor, task: str, seed: int, sizes: tuple[int, int, int]) -> Problem:
    """Windows [n, T + 1] as inputs [., T] and the tokens that follow them [., T]: three parts, drawn by the seed.

    Args:
        sizes: of training, validation and test. Where there are fewer windows, each part has the same share of them.

    Raises:
        InputError: there are too few windows.
    """
    available = len(windows)
    if available < FEWEST_WINDOWS:
        needed = FEWEST_WINDOWS * windows.shape[1]
        raise InputError(f"The text gives {available} windows of {windows.shape[1]} tokens; it needs {needed} bytes.")
    share = min(1.0, available / sum(sizes))
    order = torch.randperm(available, generator=torch_stream(task, seed, "data"))
    parts = torch.split(order, [*(int(share * size) for size in sizes), available - sum(int(share * s) for s in sizes)])
    train, validation, test = (next_tokens(windows[part]) for part in parts[:3])
    return Problem(train, validation, test)


def next_tokens(windows: Tensor) -> Split:
    """Windows [n, T + 1] as inputs [n, T] and, at every place, the token that follows."""
    return Split(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
