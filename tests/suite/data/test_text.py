"""Texts: bytes as tokens, entropies of their frequencies, windows, and what is refused."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from suite.data.text import load_text, next_tokens, windows_split
from suite.errors import InputError


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "text.txt"
    monkeypatch.setenv("LOWLANDS_DATA", str(path))
    return path


def test_tokens_are_the_ranks_of_the_bytes(text: Path) -> None:
    text.write_bytes(b"abbccc\n")
    found = load_text()
    assert found.vocabulary == 4
    assert found.tokens.tolist() == [3, 1, 1, 0, 0, 0, 2]


@pytest.mark.parametrize("order", [1, 2])
def test_entropy_given_what_came_before(text: Path, order: int) -> None:
    content = "a rose is a rose is a tulip, and a tulip is no rose. " * 3
    text.write_text(content)
    windows = Counter(content[k : k + order + 1] for k in range(len(content) - order))
    before = Counter(window[:-1] for window in windows.elements())
    total = windows.total()
    expected = -sum(n / total * math.log(n / before[window[:-1]]) for window, n in windows.items())
    assert load_text().conditional_entropy(order) == pytest.approx(expected, rel=1e-9)


def test_parts_are_disjoint_and_drawn_by_the_seed() -> None:
    windows = torch.arange(40 * 5).view(40, 5)
    problems = [windows_split(windows, "text", seed, (20, 10, 5)) for seed in (0, 1, 0)]
    first = problems[0]
    assert first.validation is not None
    parts = [first.train, first.validation, first.required_test]
    assert [len(part) for part in parts] == [20, 10, 5]
    assert all(torch.equal(part.y, part.x + 1) for part in parts)
    assert len(torch.cat([part.x for part in parts]).unique()) == 35 * 4
    assert problems[0].fingerprint() == problems[2].fingerprint() != problems[1].fingerprint()
    small = windows_split(windows[:21], "text", 0, (40, 20, 10))
    assert [len(small.train), len(small.required_test)] == [12, 3]


def test_targets_follow_inputs() -> None:
    split = next_tokens(torch.tensor([[4, 5, 6]]))
    assert split.x.tolist() == [[4, 5]]
    assert split.y.tolist() == [[5, 6]]


def test_what_is_no_text_is_refused(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no file"):
        load_text()
    text.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        load_text()
    with pytest.raises(InputError, match="15 windows of 5 tokens; it needs 80 bytes"):
        windows_split(torch.zeros(15, 5, dtype=torch.long), "text", 0, (10, 5, 5))
    monkeypatch.setenv("LOWLANDS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="is no file"):
        load_text()
    monkeypatch.delenv("LOWLANDS_DATA")
    with pytest.raises(InputError, match="name a file with --data"):
        load_text()
