"""Simulated evaluations: outcomes of known correlation, coverage, and the refusals."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from worldmodel.errors import InputError
from worldmodel.trust.evaluation import alpha_eval, evaluate, least_correlation


def outcomes(rng: Any, rho: float, n: int, extra: int) -> tuple[np.ndarray, ...]:
    """Real outcomes of mean 3, simulated ones of another mean and scale, correlation rho."""
    f, e = rng.normal(size=(2, n + extra))
    y = 3 + rho * f + math.sqrt(1 - rho**2) * e
    return y[:n], 7 + 2 * f[:n], 7 + 2 * f[n:]


def test_alpha_follows_the_correlation_and_the_sizes() -> None:
    assert alpha_eval(1, 20, 500) == 1  # a perfect simulator: every episode counts in full
    assert alpha_eval(0, 20, 500) == 0
    assert alpha_eval(0.6, 40, 0) == pytest.approx(0.36)
    # The effective sample size is that of the variance σ²/n (1 − ρ² N/(n + N)).
    n, extra, rho = 30, 70, 0.8
    assert n + alpha_eval(rho, n, extra) * extra == pytest.approx(n / (1 - rho**2 * 0.7))
    # However many simulated episodes: at most n_eff = n / (1 − ρ²).
    assert n + alpha_eval(rho, n, 10**9) * 10**9 == pytest.approx(n / 0.36, rel=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_normal_outcomes_of_known_correlation(rho: float) -> None:
    """Intervals cover as stated."""
    rng, n, extra, runs = np.random.default_rng(3), 40, 120, 600
    evaluations = [evaluate(*outcomes(rng, rho, n, extra)) for _ in range(runs)]
    alpha = alpha_eval(rho, n, extra)
    slack = 3 * math.sqrt(0.95 * 0.05 / runs)  # three binomial standard errors
    for name, truth in (("rho", rho), ("alpha", alpha)):
        intervals = [getattr(e, name) for e in evaluations]
        covered = np.mean([i.low <= truth <= i.high for i in intervals])
        # At ρ = 0 the interval of alpha starts at exactly 0 whenever that of rho covers 0.
        assert 0.95 - slack <= covered <= 0.95 + slack, (name, covered)


def test_successes_and_failures_are_covered_too() -> None:
    rng, n, extra, runs, p = np.random.default_rng(4), 60, 200, 600, stats.norm.cdf(0.5)
    normal: Any = stats.multivariate_normal
    both = normal.cdf([0.5, 0.5], cov=[[1, 0.9], [0.9, 1]])
    rho, covered = (both - p**2) / (p - p**2), []
    for _ in range(runs):
        y, f, g = outcomes(rng, 0.9, n, extra)
        measured = evaluate(y < 3.5, f < 8, g < 8).rho
        if not math.isnan(measured.value):
            covered.append(measured.low <= rho <= measured.high)
    assert len(covered) > 0.98 * runs
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_a_simulator_below_the_threshold_widens_the_interval() -> None:
    """At ρ = 1/√(n − 2) the mean's variance is that of the real episodes alone (N → ∞)."""
    n, runs = 12, 20_000
    rho, rng = least_correlation(n), np.random.default_rng(5)
    for factor, worse in ((0.5, True), (1.6, False)):
        r = factor * rho
        f, e = rng.normal(size=(2, runs, n))
        y = r * f + math.sqrt(1 - r**2) * e
        a, b = y - y.mean(1, keepdims=True), f - f.mean(1, keepdims=True)
        helped = y.mean(1) - (a * b).sum(1) / (b * b).sum(1) * f.mean(1)  # true mean of f: 0
        assert (helped.var() > y.mean(1).var()) == worse


def test_verdicts_follow_the_interval_of_rho() -> None:
    rng = np.random.default_rng(6)
    good, none = (evaluate(*outcomes(rng, rho, 100, 300)) for rho in (0.9, 0.0))
    assert good.verdict == "PAYS" and good.rho.low > good.threshold
    assert none.verdict in ("NOT SHOWN", "DOES NOT PAY") and none.alpha.low == 0
    y, f, g = outcomes(rng, 0.9, 100, 300)
    assert evaluate(y, -f, -g).verdict == "DOES NOT PAY"  # an anticorrelated simulator


def test_the_correlation_of_policy_means_says_nothing() -> None:
    """A simulator that ranks policies perfectly and predicts no single episode."""
    rng, n, extra = np.random.default_rng(7), 80, 400
    levels = np.linspace(0, 10, 6)
    evaluations, means = [], []
    for level in levels:
        y, f, g = (level + rng.normal(size=size) for size in (n, n, extra))
        evaluations.append(evaluate(y, f, g))
        means.append((y.mean(), f.mean()))
    assert np.corrcoef(np.array(means).T)[0, 1] > 0.99
    assert all(e.verdict != "PAYS" for e in evaluations)
    assert np.mean([e.alpha.value for e in evaluations]) < 0.05


def test_scale_and_order_do_not_matter() -> None:
    y, f, g = outcomes(np.random.default_rng(9), 0.7, 25, 40)
    one, order = evaluate(y, f, g), np.random.default_rng(0).permutation(25)
    for other in (evaluate(y[order], f[order], g[::-1]), evaluate(y * 1e-7, 3 - f, 3 - g)):
        sign = np.sign(other.rho.value)
        assert sign * other.rho.value == pytest.approx(one.rho.value)
        assert other.alpha.value == pytest.approx(one.alpha.value)


def test_outcomes_without_a_correlation_are_not_identified() -> None:
    y, f, g = outcomes(np.random.default_rng(10), 0.5, 12, 30)
    same, single = np.full(12, 0.1), np.eye(12)[0]
    for real, paired in ((same, f), (y, same), (single, f), (y, single), (y, 2 * y + 1)):
        result = evaluate(real, paired, g)
        assert result.verdict == "NOT_IDENTIFIED"
        assert math.isnan(result.alpha.value) and math.isnan(result.rho.low)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"real": np.zeros(5)}, "10 or more"),
        ({"extra": np.zeros(1)}, "2 or more"),
        ({"paired": np.zeros(13)}, "12 real and 13 paired"),
        ({"real": np.append(np.zeros(11), np.nan)}, "real outcome 11 is nan"),
        ({"real": np.zeros((3, 4))}, r"shape \(3, 4\)"),
        ({"level": 1.0}, "level"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], named: str) -> None:
    y, f, g = outcomes(np.random.default_rng(11), 0.5, 12, 30)
    given: dict[str, Any] = {"real": y, "paired": f, "extra": g} | change
    with pytest.raises(InputError, match=named):
        evaluate(**given)
