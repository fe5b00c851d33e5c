"""Scores of forecasts against closed forms; multipliers on errors whose distribution is known."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from worldmodel.episodes.forecasts import (
    FLOORS,
    LEVELS,
    Forecasts,
    Multipliers,
    by_episode,
    coverage_interval,
    crps,
    fit_multipliers,
    nll,
    rank_correlation,
    scores,
    sizes,
)
from worldmodel.errors import InputError


def forecasts(error: np.ndarray, deviation: np.ndarray | float = 1.0) -> Forecasts:
    """Of errors (episodes, windows, horizon, channels)."""
    episodes, windows, *shape = error.shape
    error = error.reshape(episodes * windows, *shape)
    if np.ndim(deviation) == 4:
        deviation = np.reshape(deviation, error.shape)
    deviation = np.broadcast_to(deviation, error.shape)
    episode = np.repeat(np.arange(episodes), windows)
    return Forecasts(error, deviation, episode, np.ones(error.shape, bool))


def scaled(f: Forecasts, factor: float, freedom: float) -> Forecasts:
    one = np.ones(f.error.shape[1:])
    return Multipliers(0.0 * one, factor * one, freedom * one).applied(f)


@pytest.mark.parametrize("freedom", [1.5, 3.0, 30.0, np.inf])
@pytest.mark.parametrize("error", [0.0, 0.4, -3.0])
def test_crps_is_the_integral_of_its_definition(error: float, freedom: float) -> None:
    """∫ (F(x) − 1[x ≥ y])² dx, of a forecast about 0 with the scale 0.7."""
    law = stats.t(freedom, scale=0.7)
    below = integrate.quad(lambda x: law.cdf(x) ** 2, -np.inf, error, epsabs=1e-12)[0]
    above = integrate.quad(lambda x: law.sf(x) ** 2, error, np.inf, epsabs=1e-12)[0]
    ours = crps(np.array(error), np.array(0.7), np.array(freedom))
    np.testing.assert_allclose(ours, below + above, rtol=1e-7)


def test_scores_at_zero_by_hand() -> None:
    zero, two = np.zeros(1), np.full(1, 2.0)
    np.testing.assert_allclose(crps(zero, two), 2.0 * (np.sqrt(2.0) - 1.0) / np.sqrt(np.pi))
    np.testing.assert_allclose(nll(two, two), 0.5 * np.log(2.0 * np.pi) + np.log(2.0) + 0.5)
    np.testing.assert_allclose(nll(two, two, 1.0), np.log(np.pi) + np.log(2.0) + np.log(2.0))
    # Without a spread CRPS is the absolute error.
    np.testing.assert_allclose(crps(np.array(-3.0), np.array(1e-9)), 3.0, rtol=1e-8)


def test_a_mean_is_over_what_counts_and_episodes_weigh_the_same() -> None:
    f = Forecasts(
        np.array([[[1.0]], [[3.0]], [[10.0]], [[np.nan]], [[np.nan]]]),
        np.ones((5, 1, 1)),
        np.array([7, 7, 2, 2, 5]),
        np.array([1, 1, 1, 0, 0], bool)[:, None, None],
    )
    np.testing.assert_array_equal(by_episode(f.error, f), [10.0, 2.0])
    result = scores(f)
    assert result["episodes"] == 2
    assert result["spread_over_error"] == pytest.approx(1.0 / np.sqrt((100.0 + 5.0) / 2.0))
    assert result["coverage"]["0.68"]["share"] == 0.0  # of |z| ≤ 0.99
    assert result["coverage"]["0.95"]["share"] == 0.25


@pytest.mark.parametrize("freedom", [5.0, np.inf])
def test_the_right_distribution_has_the_right_scores(freedom: float) -> None:
    rng = np.random.default_rng(0)
    z = (
        rng.standard_t(freedom, (200, 50, 1, 2))
        if freedom < 9
        else rng.normal(size=(200, 50, 1, 2))
    )
    f = scaled(forecasts(0.01 * z, 0.01), 1.0, freedom)
    result = scores(f)
    for level in LEVELS:
        assert result["coverage"][str(level)]["share"] == pytest.approx(level, abs=0.01)
        assert result["coverage"][str(level)]["right"]
    assert result["spread_over_error"] == pytest.approx(1.0, abs=0.03)
    assert result["nll"] == pytest.approx(stats.t.entropy(freedom) + np.log(0.01), abs=0.02)
    heavy = scaled(f, 1.0, 2.5)
    assert scores(heavy)["spread_over_error"] is None
    for factor in (0.7, 1.4):  # proper scores
        other = scores(scaled(f, factor, freedom))
        assert other["nll"] > result["nll"] and other["crps"] > result["crps"]
        assert not other["coverage"]["0.9"]["right"]


def test_an_interval_of_coverage_holds_the_truth_where_students_does_not() -> None:
    """Episodes have scales of their own, and half of an error is shared by the episode."""

    def shares(rng: np.random.Generator, episodes: int) -> np.ndarray:
        own, shared = (
            np.exp(0.3 * rng.normal(size=(2, episodes, 1)))[0],
            rng.normal(size=(episodes, 1)),
        )
        z = own * np.sqrt(0.5) * (shared + rng.normal(size=(episodes, 10)))
        return (np.abs(z) <= half).mean(axis=1)

    half = np.inf
    rng = np.random.default_rng(1)
    many = np.exp(0.3 * rng.normal(size=10**6)) * rng.normal(size=10**6)
    half = np.quantile(np.abs(many), 0.95)
    held, students = 0, 0
    for seed in range(400):
        share = shares(np.random.default_rng([2, seed]), 15)
        low, high = coverage_interval(share)
        held += low <= 0.95 <= high
        reach = stats.t.ppf(0.975, 14) * share.std(ddof=1) / np.sqrt(15)
        students += abs(share.mean() - 0.95) <= reach
    assert 0.92 <= held / 400 <= 1.0
    assert students / 400 < 0.88


def test_an_interval_where_all_is_covered_is_that_of_the_episodes() -> None:
    """Clopper and Pearson's of n hits of n begins at 0.025^(1/n); n is reduced for few episodes."""
    low, high = coverage_interval(np.ones(8))
    effective = 8.0 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 7)) ** 2
    assert (low, high) == (pytest.approx(0.025 ** (1.0 / effective)), 1.0)
    assert coverage_interval(np.zeros(8)) == (0.0, pytest.approx(1.0 - low))
    one = scores(forecasts(np.ones((1, 3, 1, 1))))["coverage"]["0.5"]
    assert one == {"share": 0.0, "low": None, "high": None, "right": None}


def test_ranks_by_hand() -> None:
    spread = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    assert rank_correlation(spread, np.array([0.1, 0.4, 0.9, 1.6, 0.0])) == pytest.approx(1.0)
    assert rank_correlation(spread, np.array([1.0, 2.0, 4.0, 3.0, 9.0])) == pytest.approx(0.8)
    assert rank_correlation(np.ones(5), spread) is None
    counts = np.array([[[True, True], [True, False], [False, False]]])
    size = sizes(np.array([[[3.0, 4.0], [3.0, np.nan], [1.0, 1.0]]]), counts)
    np.testing.assert_allclose(size, [[np.sqrt(12.5), 3.0, np.nan]])


def laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.laplace(size=shape)


def impacts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A window in seven meets a contact, and errs five times as much."""
    return rng.normal(size=shape) * np.where(rng.random(shape) < 0.15, 5.0, 1.0)


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3.0, shape)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


@pytest.mark.parametrize("law", [normal, laplace, student, impacts])
def test_multipliers_cover_at_every_level_whatever_the_tails(law) -> None:
    """A scale of the normal distribution, fitted by CRPS, does not, where tails are heavy."""
    rng = np.random.default_rng(3)
    held, test = (
        np.exp(0.2 * rng.normal(size=(200, 1, 1, 1))) * law(rng, (200, 30, 1, 1)) for _ in range(2)
    )
    fitted = fit_multipliers(forecasts(0.02 * held, 0.01), ["joint_rad"])
    ours = scores(fitted.applied(forecasts(0.02 * test, 0.01)))
    off = {level: ours["coverage"][str(level)]["share"] - level for level in LEVELS}
    assert max(map(abs, off.values())) < 0.03, off

    def score(log: float) -> float:
        return float(crps(held, np.array(np.exp(log))).mean())

    best: Any = optimize.minimize_scalar(score, bounds=(-3, 3), method="bounded")
    by_crps = scores(forecasts(test, np.exp(best.x)))["coverage"]
    worst = max(abs(by_crps[str(level)]["share"] - level) for level in LEVELS)
    assert (worst > 0.04) == (law is not normal), worst


CELLS = (1, 10, 50, 100)  # horizons


def walks(rng: np.random.Generator, episodes: int) -> Forecasts:
    """Random walks of three channels. The forecasts know their size at 10 frames, but not how it
    grows: one is always as wide as there, one grows in proportion to time, one too slowly."""
    steps = np.arange(1, 101)
    error = 0.01 * np.cumsum(rng.normal(size=(episodes, 4, 100, 3)), axis=2)
    growth = np.stack([np.full(100, 1.0), steps / 10, (steps / 10) ** 0.25], axis=1)
    return forecasts(error, 0.01 * np.sqrt(10.0) * growth)


def right(test: Forecasts) -> int:
    """Of 12 cells, those whose 90 % interval covers as often as it should."""
    cells = [scores(test.part([h - 1], [c])) for h in CELLS for c in range(3)]
    return sum(bool(cell["coverage"]["0.9"]["right"]) for cell in cells)


def test_a_multiplier_for_each_horizon_repairs_what_one_number_cannot() -> None:
    each, alone, before = [], [], []
    for seed in range(3):
        rng = np.random.default_rng([4, seed])
        held, test = walks(rng, 150), walks(rng, 40)
        each.append(right(fit_multipliers(held, [0, 1, 2]).applied(test)))
        cells = held.part([h - 1 for h in CELLS], [0, 1, 2])
        error, deviation = (x.reshape(-1, 1, 3) for x in (cells.error, cells.deviation))
        pooled = Forecasts(
            error, deviation, np.repeat(held.episode, 4), np.ones((2400, 1, 3), bool)
        )
        alone.append(right(fit_multipliers(pooled, ["all"] * 3).applied(test)))
        before.append(right(test))
    assert max(before) <= 4 and max(alone) <= 3, (before, alone)
    assert np.mean(each) >= 11.0, each


def test_multipliers_are_those_of_a_group_and_smooth_over_the_horizon() -> None:
    """Few episodes: the multipliers of a random walk with a known size are 1 at every horizon."""
    rng = np.random.default_rng(5)
    error = np.cumsum(rng.normal(size=(8, 10, 100, 3)), axis=2) * np.array([1.0, 1.0, 4.0])
    held = forecasts(error, np.sqrt(np.arange(1, 101))[:, None])
    fitted = fit_multipliers(held, ["a", "a", "b"])
    freedom, factor = fitted.freedom, fitted.applied(held).deviation[0] / held.deviation[0]
    assert factor.shape == freedom.shape == (100, 3)
    np.testing.assert_array_equal(factor[:, 0], factor[:, 1])
    np.testing.assert_allclose(factor / [1.0, 1.0, 4.0], 1.0, atol=0.35)
    assert np.abs(np.diff(np.log(factor[10:]), axis=0)).max() < 0.05
    assert (freedom >= 1.5).all()


def test_a_floor_is_for_what_the_members_do_not_know() -> None:
    """Half of the variance is known to the members; in some windows they agree by chance."""
    rng = np.random.default_rng(7)

    def drawn(unknown: float) -> Forecasts:
        deviation = np.exp(1.5 * rng.normal(size=(100, 10, 3, 1)))
        error = np.hypot(deviation, unknown) * rng.normal(size=deviation.shape)
        return forecasts(error, 0.2 * deviation)

    held, test = drawn(2.0), drawn(2.0)
    fitted = fit_multipliers(held, ["a"])
    np.testing.assert_allclose(fitted.factor * np.hypot(0.0, fitted.floor), 2.0, rtol=0.3)
    ours = scores(fitted.applied(test))
    assert ours["coverage"]["0.5"]["right"] and ours["coverage"]["0.9"]["right"]
    flat = [dataclasses.replace(f, deviation=np.ones_like(f.error)) for f in (held, test)]
    by_step = scores(fit_multipliers(flat[0], ["a"]).applied(flat[1]))
    assert ours["crps"] < 0.95 * by_step["crps"]
    none = drawn(0.0)
    usual = np.sqrt(np.square(none.deviation).mean(axis=0))
    np.testing.assert_allclose(fit_multipliers(none, ["a"]).floor, FLOORS[0] * usual)


def known(rng: np.random.Generator, episodes: int) -> Forecasts:
    """Forecasts that know which windows are hard, of three windows an episode; episodes differ."""
    deviation = np.exp(rng.normal(size=(episodes, 3, 1, 1))) * np.sqrt(np.arange(1, 21))[:, None]
    own = np.exp(0.3 * rng.normal(size=(episodes, 1, 1, 1)))
    return forecasts(own * deviation * rng.normal(size=deviation.shape), deviation)


def test_few_episodes_do_not_spoil_forecasts_that_are_right() -> None:
    """Judged by the episodes that they are fitted to, half of the floors are larger than the
    smallest, which hides what the forecasts know."""
    ratios, floors = [], []
    for seed in range(12):
        rng = np.random.default_rng([8, seed])
        held, test = known(rng, 4), known(rng, 100)
        fitted = fit_multipliers(held, ["a"])
        ratios.append(scores(fitted.applied(test))["crps"] / scores(test)["crps"])
        floors.append(fitted.floor[0, 0] / np.sqrt(np.square(held.deviation[:, 0]).mean()))
    assert np.mean(ratios) < 1.006, ratios
    assert np.sum(np.array(floors) > 1.01 * FLOORS[0]) <= 2, floors


@pytest.mark.parametrize("episodes", [1, 2])
def test_fewer_than_three_episodes_mend_nothing(episodes: int) -> None:
    held = forecasts(5.0 * np.random.default_rng(9).normal(size=(episodes, 30, 4, 1)))
    fitted = fit_multipliers(held, ["a"])
    np.testing.assert_array_equal(fitted.applied(held).deviation, held.deviation)
    assert np.isinf(fitted.freedom).all()


def test_an_episode_that_reaches_further_than_the_others_has_its_say() -> None:
    held = forecasts(5.0 * np.random.default_rng(9).normal(size=(4, 30, 6, 1)))
    held.counts[30:, 4:] = False
    fitted = fit_multipliers(held, ["a"])
    np.testing.assert_allclose(fitted.factor * np.hypot(1.0, fitted.floor), 5.0, rtol=0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deviation": np.ones((2, 4, 2))}, r"errors \(2, 3, 2\), deviations \(2, 4, 2\)"),
        ({"episode": np.arange(3)}, r"\(3,\) episodes of 2 windows; give one each"),
        ({"error": np.full((2, 3, 2), np.nan)}, "error of 11 of 11 forecasts .*window 0, frame 1"),
        ({"deviation": np.zeros((2, 3, 2))}, "deviation of 11 of 11 .* positive number"),
    ],
)
def test_bad_forecasts_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    counts = np.ones((2, 3, 2), bool)
    counts[1, 2, 1] = False
    given = {"error": np.ones((2, 3, 2)), "deviation": np.ones((2, 3, 2)), "counts": counts}
    Forecasts(**given, episode=np.arange(2))
    with pytest.raises(InputError, match=message):
        Forecasts(**({"episode": np.arange(2)} | given | change))


def test_multipliers_need_errors_at_every_horizon() -> None:
    f = forecasts(np.random.default_rng(6).normal(size=(3, 4, 5, 1)))
    f.counts[:, 3] = False
    with pytest.raises(InputError, match="counts 4 frames from the start, in group joint_rad"):
        fit_multipliers(f, ["joint_rad"])
    with pytest.raises(InputError, match="exactly 0 1 frames from the start"):
        fit_multipliers(forecasts(np.zeros((3, 4, 2, 1))), ["joint_rad"])
