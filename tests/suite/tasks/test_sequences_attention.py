"""Attention: each method in its own norm, and keys with queries in the nuclear one."""

from __future__ import annotations

import functools
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from suite.models import TokenSelector
from suite.oracles.margins import max_margin_l2
from suite.task import Solution
from suite.tasks import find_task
from suite.tasks.sequences_attention import NORMS, locally_optimal, selection_rows
from tests.suite.tasks.helpers import oracle_of, trained

GRADED = find_task("attention_selection[worth=graded]")


def test_the_layer_is_the_attention_of_torch() -> None:
    stream = torch.Generator().manual_seed(0)
    x, key, query = (
        torch.randn(*shape, generator=stream, dtype=torch.float64) for shape in ((3, 6, 4), (4, 4), (4, 4))
    )
    theirs = scaled_dot_product_attention(x[:, :1] @ query, x[:, 1:] @ key, x[:, 1:], scale=1.0)[:, 0, 0]
    assert torch.allclose(TokenSelector(key=key, query=query)(x), theirs)
    assert torch.allclose(TokenSelector(weight=key @ query.T)(x), theirs)


def test_rows_are_differences_of_scores() -> None:
    stream = torch.Generator().manual_seed(1)
    x, w = torch.randn(3, 6, 4, generator=stream), torch.randn(4, 4, generator=stream)
    scores = torch.stack([sample[1:] @ w @ sample[0] for sample in x])
    assert torch.allclose(selection_rows(x) @ w.flatten(), (scores[:, :1] - scores[:, 1:]).flatten(), atol=1e-5)


def test_rows_of_other_selected_tokens() -> None:
    stream = torch.Generator().manual_seed(2)
    x, w = torch.randn(3, 6, 4, generator=stream), torch.randn(4, 4, generator=stream)
    selected = torch.tensor([4, 0, 2])
    scores = [sample[1:] @ w @ sample[0] for sample in x]
    expected = [row[s] - row[t] for row, s in zip(scores, selected.tolist(), strict=True) for t in range(5) if t != s]
    assert torch.allclose(selection_rows(x, selected) @ w.flatten(), torch.stack(expected), atol=1e-5)


@functools.cache
def selection(optimal: bool) -> Tensor:
    """Tokens of seed 0, not all of them the best ones, that are locally optimal or not."""
    x = GRADED.problem(0).train.x
    for seed in range(1_000):
        stream = torch.Generator().manual_seed(seed)
        better = torch.randint(0, 6, x.shape[:1], generator=stream)
        selected = torch.where(torch.rand(len(x), generator=stream, dtype=torch.float64) < 0.8, 0, better)
        separator = torch.from_numpy(max_margin_l2(selection_rows(x, selected).numpy()))
        if selected.any() and locally_optimal(x, selected, separator) == optimal:
            return selected
    raise AssertionError("no such selection")


def support_vector_machine(x: Tensor, selected: Tensor, norm: Any) -> tuple[Tensor, list[tuple[int, int]]]:
    """The W [d, d] of least norm with differences of scores of at least 1, and the samples and tokens that bind."""
    w = cp.Variable((x.shape[2], x.shape[2]))
    constraints = {
        (i, t): (x[i, 1 + s] - x[i, 1 + t]).numpy() @ w @ x[i, 0].numpy() >= 1
        for i, s in enumerate(selected.tolist())
        for t in range(x.shape[1] - 1)
        if t != s
    }
    cp.Problem(cp.Minimize(norm(w)), list(constraints.values())).solve(solver=cp.CLARABEL)
    support = [place for place, each in constraints.items() if np.max(each.dual_value) > 1e-5]
    return torch.from_numpy(np.asarray(w.value)), support


def measures_of(task_name: str, **weights: Tensor) -> dict[str, float]:
    task = find_task(task_name)
    model = TokenSelector(**weights)
    return task.measure(Solution(model, {}, task.problem(0), oracle_of(task_name, 0), 0))


@pytest.mark.parametrize("optimal", [True, False])
def test_a_selection_is_measured_against_the_separator_of_another_solver(optimal: bool) -> None:
    x, selected = GRADED.problem(0).train.x, selection(optimal)
    w, support = support_vector_machine(x, selected, lambda w: cp.norm(w, "fro"))
    values = x[:, 1:, 0]
    assert all(values[i, selected[i]] < values[i, t] for i, t in support) == optimal
    measures = measures_of(GRADED.name, weight=7 * w)
    assert measures["locally_optimal"] == optimal
    assert measures["local_margin_ratio"] == pytest.approx(1, abs=1e-4)
    assert measures["local_cosine"] == pytest.approx(1, abs=1e-6)
    assert measures["optimal_share"] == pytest.approx(float((selected == 0).double().mean()))
    assert measures["frobenius_margin_ratio"] < 0
    assert measures_of(GRADED.name, weight=w + 0.05 * torch.eye(len(w)))["local_margin_ratio"] < 1 - 1e-3


def test_keys_and_queries_are_measured_in_the_nuclear_norm() -> None:
    x, selected = GRADED.problem(0).train.x, selection(True)
    w, _ = support_vector_machine(x, selected, cp.normNuc)
    left, values, right = torch.linalg.svd(w)
    key, query = 3 * left * values.sqrt(), 3 * right.T * values.sqrt()
    measures = measures_of("attention_selection[parametrisation=key_query,worth=graded]", key=key, query=query)
    assert measures["local_margin_ratio"] == pytest.approx(1, abs=1e-4)
    assert measures_of(GRADED.name, weight=w)["local_margin_ratio"] < 0.99


def test_gradient_descent_stays_at_locally_optimal_selections_only() -> None:
    train = GRADED.problem(0).train
    for optimal in (True, False):
        selected = selection(optimal)
        separator = torch.from_numpy(max_margin_l2(selection_rows(train.x, selected).numpy()))
        margin = (selection_rows(train.x, selected) @ separator).min()
        model = TokenSelector(weight=5 * (separator / margin).view(16, 16))
        steps = torch.optim.SGD(model.parameters(), lr=30.0)
        for _ in range(500):
            steps.zero_grad()
            GRADED.loss(model(train.x), train.y).backward()
            steps.step()
        differences = selection_rows(train.x, selected) @ model.weight.detach().flatten()
        assert bool((differences > 5).all()) == optimal


def test_each_method_has_the_largest_margin_in_its_own_norm() -> None:
    task, factors = find_task("attention_selection"), find_task("attention_selection[parametrisation=key_query]")
    rows = {
        "frobenius": trained(task, "momentum", 0.1),
        "spectral": trained(task, "muon", 0.02),
        "max": trained(task, "sign", 0.003),
        "nuclear": trained(factors, "momentum", 0.1),
    }
    for seed in range(2):
        for norm, of_method in rows.items():
            ratios = {name: measures[seed][f"{norm}_margin_ratio"] for name, measures in rows.items()}
            assert max(ratios, key=ratios.__getitem__) == norm
            assert ratios[norm] > 0.85
            assert all(of_method[seed][f"{name}_margin_ratio"] <= 1 + 1e-9 for name in NORMS)
