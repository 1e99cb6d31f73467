"""Eigenvalues against scipy's and numpy's dense ones, and the stop against starts and spectra that deceive it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from suite.curvature import Hessian, Network, lanczos
from suite.curvature.density import spectral_density
from suite.curvature.operators import Operator, dense
from suite.models.images import mlp
from suite.seeding import torch_stream
from suite.task import Split
from tests.suite.curvature.helpers import classification, network


class Matrix(Operator):
    """A matrix that is known, [P, P] or [S, P, P]; or a diagonal one, [P]."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.size, self.lanes = matrix.shape[-1], len(matrix) if matrix.dim() == 3 else None
        self.dtype, self.device = matrix.dtype, matrix.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        if self.matrix.dim() == 1:
            return self.matrix * vector
        return (self.matrix @ vector[..., None])[..., 0]


def stream(seed: int = 0) -> torch.Generator:
    return torch_stream("test", seed)


@pytest.mark.parametrize("which", ["LM", "LA", "SA"])
def test_values_and_vectors_are_scipys(which: Literal["LM", "LA", "SA"]) -> None:
    hessian = Hessian(Network(network()), classification(), cross_entropy)
    matrix = dense(hessian).numpy()
    expected = scipy.sparse.linalg.eigsh(matrix, k=4, which=which)[0]
    expected = expected[np.argsort({"LM": -np.abs(expected), "LA": -expected, "SA": expected}[which])]
    pairs = lanczos(hessian, 4, stream(), which=which, tol=1e-6)
    assert pairs.converged
    np.testing.assert_allclose(pairs.values, expected, rtol=1e-4)
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.T, torch.eye(4, dtype=torch.float64))
    residual = pairs.vectors @ dense(hessian) - pairs.values[:, None] * pairs.vectors
    assert (residual.norm(dim=1) <= pairs.bounds + 1e-12).all()


@pytest.mark.parametrize(("which", "expected"), [("LM", [-3.0, 2.9]), ("LA", [2.9, 1.0]), ("SA", [-3.0, -1.0])])
def test_which_end_of_a_spectrum(which: Literal["LM", "LA", "SA"], expected: list[float]) -> None:
    values = torch.cat([torch.linspace(-1, 1, 100), torch.tensor([-3.0, 2.9])]).double()
    operator = Matrix(values)
    assert operator.shape == (102, 102)
    np.testing.assert_allclose(lanczos(operator, 2, stream(), which=which).values, expected, rtol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([-2.0, -0.5, 0.0, 1e-6, 0.3, 1.0, 1.01, 5.0]), min_size=1, max_size=30),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_any_spectrum_with_multiplicities(values: list[float], k: int, seed: int) -> None:
    """Repeated, zero and negative eigenvalues, fewer than asked for, spaces that close early."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    matrix = torch.from_numpy(turn @ np.diag(values) @ turn.T)
    pairs = lanczos(Matrix((matrix + matrix.T) / 2), k, stream(seed), tol=1e-8)
    expected = sorted(values, reverse=True)[: min(k, len(values))]
    np.testing.assert_allclose(pairs.values, expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    distinct=st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 5.0]), min_size=1, max_size=6, unique=True),
    copies=st.integers(11, 15),
    k=st.integers(1, 5),
)
def test_a_space_that_closes_early_is_left(distinct: list[float], copies: int, k: int) -> None:
    """Few distinct eigenvalues, each many times: one start sees one copy of each, so later ones must be tried."""
    values = [*(distinct * copies), *[distinct[0]] * 45]
    pairs = lanczos(Matrix(torch.tensor(values, dtype=torch.float64)), k, stream())
    np.testing.assert_allclose(pairs.values, sorted(values, reverse=True)[:k], atol=1e-8)


def test_the_zero_matrix() -> None:
    pairs = lanczos(Matrix(torch.zeros(90, dtype=torch.float64)), 3, stream())
    assert pairs.values.tolist() == [0.0, 0.0, 0.0]
    assert pairs.converged


def test_lanes_do_not_see_each_other() -> None:
    """A lane's values are the same alone, among others, and in another order."""
    generator = np.random.default_rng(0)
    matrices = [torch.from_numpy(m + m.T) for m in generator.normal(size=(4, 40, 40))]
    matrices[1] = torch.diag(torch.linspace(0, 1, 40, dtype=torch.float64))
    assert Matrix(torch.stack(matrices)).shape == (4, 40, 40)
    together = lanczos(Matrix(torch.stack(matrices)), 3, stream())
    turned = lanczos(Matrix(torch.stack(matrices[::-1])), 3, stream())
    for lane, matrix in enumerate(matrices):
        alone = lanczos(Matrix(matrix), 3, stream())
        torch.testing.assert_close(together.values[lane], alone.values, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(turned.values[3 - lane], alone.values, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.values[lane], torch.linalg.eigvalsh(matrix).flip(0)[:3], rtol=1e-5, atol=0)


def spectra(size: int = 800) -> dict[str, NDArray[np.float64]]:
    bulk = np.abs(np.random.default_rng(0).standard_normal(size)) ** 4 * 0.02
    network_like, pairs = bulk.copy(), bulk.copy()
    network_like[:10] = [3.1, 2.35, 2.17, 1.9, 1.58, 1.52, 1.2, 1.1, 0.9, 0.7]
    pairs[:6] = [3.1, 3.05, 2.17, 2.1, 1.58, 1.55]
    return {"network": network_like, "pairs": pairs, "geometric": 3 * 0.9 ** np.arange(size)}


@pytest.mark.parametrize("name", spectra())
@pytest.mark.parametrize("k", [1, 5])
def test_the_stop_does_not_settle_on_a_wrong_eigenvalue(name: str, k: int) -> None:
    """Of 40 random starts none may end more than 1 % from the truth."""
    values = spectra()[name]
    expected = np.sort(values)[::-1][:k]
    operator = Matrix(torch.from_numpy(values))
    for seed in range(40):
        pairs = lanczos(operator, k, stream(seed))
        np.testing.assert_allclose(pairs.values, expected, rtol=1e-2)


@pytest.mark.parametrize("seed", range(5))
def test_fresh_models(seed: int) -> None:
    hessian = Hessian(Network(network(seed, widths=(8,))), classification(), cross_entropy)
    exact = np.linalg.eigvalsh(dense(hessian).numpy())
    assert lanczos(hessian, 1, stream(seed)).values[0] == pytest.approx(exact[-1], rel=1e-3)


def test_a_budget_of_products_is_kept_and_admitted() -> None:
    pairs = lanczos(Matrix(torch.linspace(-1, 1, 500, dtype=torch.float64)), 2, stream(), max_iter=10)
    assert pairs.products == 10
    assert not pairs.converged
    assert (pairs.bounds > 1e-3).all()


def test_dead_network() -> None:
    model = mlp((6,), 3, widths=(4,)).double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    data = classification()
    net = Network(model)
    hessian = Hessian(net, data, cross_entropy)
    exact = np.linalg.eigvalsh(dense(hessian).numpy())
    assert lanczos(hessian, 1, stream()).values[0] == pytest.approx(exact[-1], rel=1e-4)


def test_spectral_density_has_the_moments_of_the_matrix() -> None:
    hessian = Hessian(Network(network()), classification(), cross_entropy)
    matrix = dense(hessian)
    probes = 30
    spectrum = spectral_density(hessian, stream(), probes=probes, steps=15)[0]
    assert spectrum.weights.sum() == pytest.approx(1)
    for power in (1, 2, 3):
        moment = torch.linalg.matrix_power(matrix, power)
        error = (2 * moment.square().sum().item() / probes) ** 0.5  # of a mean over normal starts
        assert spectrum.moment(power) * hessian.size == pytest.approx(moment.trace().item(), abs=4 * error)
    grid = np.linspace(-1, 3, 4001)
    assert np.trapezoid(spectrum.density(grid, 0.01), grid) == pytest.approx(1, abs=1e-3)


def test_spectral_density_of_lanes() -> None:
    matrices = torch.stack([torch.eye(5, dtype=torch.float64), 2 * torch.eye(5, dtype=torch.float64)])
    for lane, spectrum in enumerate(spectral_density(Matrix(matrices), stream(), probes=1, steps=3)):
        assert spectrum.moment(1) == pytest.approx(lane + 1)


def test_float32_finds_what_float64_finds() -> None:
    data, model = classification(), network()
    exact = lanczos(Hessian(Network(model), data, cross_entropy), 3, stream())
    low = Hessian(Network(network().float()), Split(data.x.float(), data.y), cross_entropy)
    np.testing.assert_allclose(lanczos(low, 3, stream()).values, exact.values, rtol=1e-3)
