"""Moderated variances: the moments of a scaled F distribution by quadrature, root finding, and simulated truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, special, stats

from leaderboard.analysis.moderation import VariancePrior, fit_prior, trigamma_inverse


@pytest.mark.parametrize("value", [1e-8, 1e-5, 0.02, 1.0, math.pi**2 / 6, 40.0, 1e5, 1e9])
def test_the_inverse_of_trigamma_is_what_root_finding_says(value: float) -> None:
    found = trigamma_inverse(value)
    wanted = optimize.brentq(lambda x: special.polygamma(1, x) / value - 1, 1e-6, 1e9, xtol=1e-15, rtol=1e-13)
    assert found == pytest.approx(wanted, rel=1e-6)


def _log_moments(d: float, prior: VariancePrior) -> tuple[float, float]:
    """Mean and variance of log s2, where s2 / s0_2 follows F(d, d0), by numerical integration."""
    law = stats.f(d, prior.freedom)

    def moment(power: int) -> float:
        def integrand(x: float) -> float:
            return float(x**power * law.pdf(math.exp(x)) * math.exp(x))

        return float(integrate.quad(integrand, -40, 40, limit=400, points=[0])[0])

    return moment(1) + math.log(prior.variance), moment(2) - moment(1) ** 2


@pytest.mark.parametrize("d", [1, 2, 9])
def test_the_fitted_prior_has_the_moments_of_the_sample(d: int) -> None:
    rng = np.random.default_rng(d)
    variances = 0.3 * rng.f(d, 5.0, size=400)
    prior = fit_prior(variances, d)
    logs = np.log(variances)
    assert_allclose(_log_moments(d, prior), [logs.mean(), logs.var(ddof=1)], rtol=2e-4)


def test_a_known_prior_is_found_again_from_variances_of_different_freedom() -> None:
    rng = np.random.default_rng(0)
    freedom = rng.integers(2, 9, size=40_000).astype(float)
    prior = fit_prior(0.04 * rng.f(freedom, 6.0), freedom)
    assert prior.freedom == pytest.approx(6.0, rel=0.05)
    assert prior.variance == pytest.approx(0.04, rel=0.05)


def test_equal_variances_are_pooled() -> None:
    rng = np.random.default_rng(1)
    prior = fit_prior(2.0 * rng.chisquare(40, size=30) / 40, 40)
    # The scatter of so few log variances is below its expectation about every other time; then nothing differs.
    assert prior.freedom > 100
    assert prior.variance == pytest.approx(2.0, rel=0.1)
    exact = VariancePrior(2.0, math.inf)
    assert_allclose(exact.moderated([0.0, 7.0], 3)[0], 2.0)


def test_moderation_by_hand() -> None:
    variance, freedom = VariancePrior(1.0, 4.0).moderated([0.0, 3.0, math.nan], [2.0, 2.0, 0.0])
    assert_allclose(variance, [4 / 6, 10 / 6, 1.0])
    assert_allclose(freedom, [6, 6, 4])


def test_too_little_is_no_prior() -> None:
    for variances in ([1.0], [0.0, 0.0, 1.0], [math.nan, 1.0]):
        prior = fit_prior(variances, 2)
        assert prior.freedom == 0
        assert_allclose(prior.moderated(variances, 2)[0], variances)


def test_moderated_t_has_the_freedom_that_it_claims() -> None:
    """Smyth's theorem: under the prior, the moderated t follows Student's t with d0 + d degrees of freedom."""
    rng = np.random.default_rng(2)
    n, groups = 3, 4_000
    deviation = np.sqrt(0.5 / (rng.chisquare(4, size=groups) / 4))
    samples = deviation[:, None] * rng.normal(size=(groups, n))
    sample = samples.var(axis=1, ddof=1)
    variance, freedom = fit_prior(sample, n - 1).moderated(sample, n - 1)
    t = samples.mean(axis=1) / np.sqrt(variance / n)
    assert stats.kstest(t, stats.t(freedom[0]).cdf).pvalue > 0.01
    plain = samples.mean(axis=1) / np.sqrt(sample / n)
    assert stats.kstest(plain, stats.t(freedom[0]).cdf).pvalue < 1e-6
