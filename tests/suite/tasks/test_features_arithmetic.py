"""Modular addition: the exact network, what is measured of it, and who finds the rule."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from suite.errors import InputError
from suite.models import TwoLayerQuadratic
from suite.oracles.arithmetic import modular_addition_network
from suite.task import Oracle, Solution, Target
from suite.tasks import find_task
from suite.tasks.features_grokking import squared_distance, sum_share
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import trained


@pytest.mark.parametrize("p", [3, 5, 9, 23, 31])
def test_the_exact_network_adds(p: int) -> None:
    network = TwoLayerQuadratic(*modular_addition_network(p))
    code = torch.eye(p, dtype=torch.float64)
    for a in range(p):
        outputs = network(torch.stack([torch.cat([code[a], code[b]]) for b in range(p)]))
        assert outputs.allclose(torch.stack([code[(a + b) % p] for b in range(p)]), atol=1e-13)


def test_the_exact_network_has_the_least_norm_of_its_rescalings() -> None:
    hidden, output = modular_addition_network(7)
    norm = hidden.square().sum() + output.square().sum()
    for neuron in (0, 5, 18):
        for scale in (0.98, 1.02):
            other, fed = hidden.clone(), output.clone()
            other[neuron] *= scale
            fed[:, neuron] /= scale**2
            assert other.square().sum() + fed.square().sum() > norm


@pytest.mark.parametrize("p", [1, 22])
def test_only_odd_numbers(p: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        modular_addition_network(p)


def test_the_exact_network_and_the_memory_of_the_training_pairs_are_the_references() -> None:
    task = find_task("modular_addition")
    problem = task.problem(0)
    train, test = problem.train, problem.test
    assert test is not None

    def measured(network: torch.nn.Module) -> dict[str, float]:
        return task.measure(Solution(network, {}, problem, Oracle(), 0))

    class Memory(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            same = (x @ train.x.T == 2).to(x)  # both numbers agree
            return same @ train.y

    exact = TwoLayerQuadratic(*(weights.float() for weights in modular_addition_network(23)))
    assert squared_distance(exact(train.x), train.y).item() < 1e-10
    assert measured(exact)["sum_share"] == pytest.approx(1, abs=1e-6)
    assert measured(exact)["test_error"] == 0
    assert squared_distance(Memory()(train.x), train.y).item() == 0
    assert measured(Memory())["sum_share"] == pytest.approx(task.axes[0].score_0, rel=1e-6)


def test_the_share_of_the_sum_by_fourier_transform() -> None:
    p = 7
    outputs = torch.randn(p, p, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    power = torch.fft.fftn(outputs).abs().square()
    k = torch.arange(p)
    assert sum_share(outputs) == pytest.approx(float(power[k, k, -k % p].sum() / power.sum()), rel=1e-12)


def test_decay_finds_the_rule_and_so_do_long_steps_of_muon_but_not_adam() -> None:
    task = find_task("modular_addition")
    decayed = trained(task, "adamw", 0.01, seeds=1, weight_decay=0.5)[0]
    orthogonal = trained(task, "muon", 0.067, seeds=1, adamw_lr=0.03)[0]
    memorised = trained(task, "adam", 0.01, seeds=1)[0]
    for ruled in (decayed, orthogonal):
        assert ruled["test_error"] < 0.02
        assert ruled["sum_share"] > 0.95
    assert memorised["test_error"] > 0.8
    assert memorised["sum_share"] < task.axes[0].score_0


def test_decay_of_the_task_is_that_of_torchs_own_optimizer() -> None:
    """Coupled decay of torch's SGD, over the Lipschitz constant as the loss is, takes the same steps."""
    short = Target(1.0, budget=20, at_end=True)
    task, decayed = (
        replace(find_task(name), target=short) for name in ("modular_addition", "modular_addition[decay=0.01]")
    )
    run = TrainingRun(task.problem(0), 0, 0, {"lr": 0.5})
    (ours,) = train(decayed, [run], torch.optim.SGD)
    (theirs,) = train(task, [run], functools.partial(torch.optim.SGD, weight_decay=0.01 / run.problem.lipschitz))
    (without,) = train(task, [run], torch.optim.SGD)
    for name, weight in ours.weights.items():
        assert torch.allclose(weight, theirs.weights[name], rtol=1e-4, atol=1e-6)
        assert not torch.allclose(weight, without.weights[name], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("decay", ["-1", "2"])
def test_a_decay_is_a_share(decay: str) -> None:
    with pytest.raises(InputError, match="decay must be between 0 and 1"):
        find_task(f"modular_addition[decay={decay}]")


@pytest.mark.slow
def test_adam_finds_the_rule_with_the_decay_of_the_task() -> None:
    (found,) = trained(find_task("modular_addition[decay=0.0001]"), "adam", 0.01, seeds=1)
    assert found["test_error"] < 0.02
    assert found["sum_share"] > 0.95
