"""Attention: each method in its own norm, and keys with queries in the nuclear one."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from suite.models import TokenSelector
from suite.tasks import find_task
from suite.tasks.sequences_attention import NORMS, selection_rows
from tests.suite.tasks.helpers import trained


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
