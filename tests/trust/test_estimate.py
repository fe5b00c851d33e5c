"""The trust coefficient against closed forms, and the coverage of its intervals.

A learner of the mean in d dimensions: real episodes have variance 1, L(n) = 1/n, D_eff = 1/E.
"""

import json
import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.training_runs import GRID, curve, holds, learn, one, only, smooth, table
from worldmodel import trust
from worldmodel.trust import measure, to_json
from worldmodel.trust.intervals import hotelling


def simulated(seed: int, n: int, m: int, k: int = 0, **how: Any) -> trust.Cell:
    """A cell with little noise (20 seeds, 400 dimensions)."""
    rng = np.random.default_rng(seed)
    runs = curve(rng, 20, 400)
    runs["v", n, m, k] = learn(rng, 20, 400, n, how.pop("used", m), **how)
    return one(runs)


def test_closed_forms() -> None:
    for p in (0.25, 0.75):  # thinning: that part of them real, the rest empty
        holds(simulated(1, 64, 96, used=p * 96), p)
    # Half of the episodes real, half of nine times the variance, all pooled with weight 1.
    fresh = np.random.default_rng(0).binomial(96, 0.5, size=(20, 1))
    cell = simulated(2, 64, 96, kappa=(fresh + 9 * (96 - fresh)) / 96)
    holds(cell, (-3 * 64 + 96) / (64 + 5 * 96))
    assert cell.alpha_avg.high < 0.3
    # Bias and noise under the best weight: a cap of 1/b episodes.
    for kappa, b, m in ((0.5, 0, 96), (4.0, 0, 96), (2.0, 0.01, 64), (2.0, 0.01, 4096)):
        w = (1 / 64) / (1 / 64 + kappa / m + b)
        cell = simulated(4, 64, m, kappa=kappa, bias=math.sqrt(b), w=w)
        holds(cell, 1 / (kappa + b * m))
        assert b == 0 or cell.d_eff.high < 64 + 1.2 / b
    # Pooled: bias hurts once n > 1/b; few episodes with κ > 2 hurt, until m > (κ - 2) n.
    good, bad = ((1, 0.005, 128), (4, 0, 110), (4, 0, 320)), ((1, 0.05, 128), (4, 0, 32))
    for kappa, b, m in good + bad:
        cell = simulated(6, 64, m, kappa=kappa, bias=math.sqrt(b))
        holds(cell, ((2 - kappa) * 64 + (1 - b * 64) * m) / (64 + kappa * m + b * m * m))
        assert cell.verdict == ("OK" if (kappa, b, m) in good else "NEGATIVE")
    # A loop: K = 8 corrections determine `physics` of the 400 dimensions.
    for physics, gain in ((40, 8 * 10 - 8), (400, 0)):
        delta = np.random.default_rng(3).normal(size=(20, 400)) / math.sqrt(8)
        delta[:, physics:] = 0
        w = (1 / 64) / (1 / 64 + physics / 400 / 8)
        net = simulated(9, 64, 10**6, 8, bias=delta, w=w).gain_net
        assert net.low < gain < net.high < gain + 20 and (net.low > 0) == (gain > 0)


def test_fresh_real_is_one_and_duplicates_are_nothing() -> None:
    rng = np.random.default_rng(9)
    runs = curve(rng, 12, 50)
    runs["again", 64, 64, 0] = runs["", 64, 0, 0]  # the same mean, however often repeated
    runs["last", 512, 64, 0] = runs["", 512, 0, 0]
    runs["real", 64, 100, 0] = learn(rng, 12, 50, 64, 100)
    assert astuple(one(runs, "again").alpha_avg) == (0.0, 0.0, 0.0)
    last = one(runs, "last").alpha_avg  # the curve ends at the last size
    assert (last.value, last.low) == (0.0, 0.0) and math.isnan(last.high)
    assert 0 < one(runs, "real").alpha_avg.low < 1 < one(runs, "real").alpha_avg.high
    # And a larger bias lowers alpha.
    runs = curve(rng, 20, 400)
    for b in (0.0, 0.004, 0.02, 0.08):
        runs[f"bias {b}", 64, 100, 0] = learn(rng, 20, 400, 64, 100, bias=math.sqrt(b))
    measurement = only(runs)
    alphas = [cell.alpha_avg for cell in measurement.cells]
    assert all(alphas[i].low > alphas[i + 1].high for i in range(3))
    for difference in measurement.differences:
        assert difference.verdict == ("RISES" if difference.a < difference.b else "FALLS")


def test_coverage() -> None:
    # 200 tables of 10 seeds: 190 expected inside, ± 3 binomial standard deviations of 3.1.
    rng, alphas = np.random.default_rng(12), []
    for _ in range(200):
        cell = learn(rng, 10, 20, 64, 100)
        alphas.append(one(curve(rng, 10, 20) | {("v", 64, 100, 0): cell}).alpha_avg)
    measured = [a.low <= 1 <= a.high for a in alphas if not math.isnan(a.value)]
    assert len(measured) >= 190 and 0.904 <= np.mean(measured) <= 0.996


def test_the_mean_over_cells_covers_and_is_tighter() -> None:
    rng, common, single = np.random.default_rng(21), [], []
    grid = [(n, m) for n in (40, 80) for m in (60, 120, 180)]
    for _ in range(200):
        runs = curve(rng, 10, 20)
        runs |= {("v", n, m, 0): learn(rng, 10, 20, n, m) for n, m in grid}
        measurement = only(runs)
        common.append(measurement.versions["v"].alpha)
        values = [cell.alpha_avg for cell in measurement.cells]
        assert common[-1].value == pytest.approx(np.mean([v.value for v in values]), nan_ok=True)
        single.append(np.mean([v.high - v.low for v in values]))
    measured = [c.low <= 1 <= c.high for c in common if not math.isnan(c.value)]
    assert len(measured) >= 190 and 0.904 <= np.mean(measured) <= 0.996
    assert np.nanmean([c.high - c.low for c in common]) < 0.8 * np.nanmean(single)


def test_differences_are_paired_and_net() -> None:
    rng = np.random.default_rng(13)
    runs = curve(rng, 10, 50)
    runs["a", 64, 100, 0] = runs["same", 64, 100, 0] = learn(rng, 10, 50, 64, 100)
    runs["dear", 64, 100, 30] = runs["a", 64, 100, 0] * rng.uniform(0.999, 1.001, 10)
    runs["out", 64, 100, 0] = np.full(10, 1e-5)
    runs["elsewhere", 64, 50, 0] = learn(rng, 10, 50, 64, 50)
    differences = {(d.a, d.b): d for d in only(runs).differences}
    assert len(differences) == 12  # every pair at (64, 100), both ways round
    same, dear = differences["a", "same"], differences["dear", "a"]
    assert same.verdict == "NO DIFFERENCE" and same.gain_net.low == same.gain_net.high == 0
    assert dear.verdict == "FALLS" and differences["a", "dear"].verdict == "RISES"
    assert [dear.alpha_avg.value, dear.gain_net.value / 100] == pytest.approx([0, -0.3], abs=0.01)
    assert dear.gain_net.high - dear.gain_net.low < 1  # paired; each by itself is over 10 wide
    assert one(runs, "a").gain_net.high - one(runs, "a").gain_net.low > 10
    assert differences["out", "a"].verdict == "CENSORED"
    # By hand:
    d_eff = {(32, 50): 40, (64, 50): 90, (64, 100): 100, (64, 300): 180}
    runs = {("v", *key, 10): np.full(4, 1 / d) for key, d in d_eff.items()}
    other, first, second, third = only(smooth() | runs).cells
    assert math.isnan(other.alpha_marg.value) and math.isnan(first.alpha_marg.value)
    assert (second.alpha_marg.value, third.alpha_marg.value) == pytest.approx((10 / 50, 80 / 200))
    net = third.gain_net.value, third.alpha_net.value, third.alpha_avg.value
    assert net == pytest.approx((106, 106 / 300, 116 / 300))


@pytest.mark.parametrize("sign", [1, -1])
def test_beyond_the_curve_is_censored(sign: int) -> None:
    end = GRID[-1] if sign > 0 else GRID[0]
    known, unknown = ("low", "high") if sign > 0 else ("high", "low")
    far = np.full(4, 2.0**-sign / end)
    near = (1 - sign * np.array([0.01, 0.01, 0.01, -0.2])) / end  # off it without the last seed
    logs = np.log([near.mean(), *(np.delete(near, i).mean() for i in range(4))])
    # On this curve log D = -log E; t(3) = 3.1824 standard errors back from the estimate.
    back = 3.182446 * math.sqrt(3 * np.var(logs[1:]))
    inner = math.exp(-logs[0] - sign * back)
    for errors, bound, who in ((far, end, "the mean"), (near, inner, "leave-one-out")):
        cell = one(smooth() | {("v", 64, 100, 5): errors})
        assert cell.verdict == ("CENSORED_HI" if sign > 0 else "CENSORED_LO") and who in cell.reason
        for name, less, per in (("d_eff", 0, 1), ("alpha_avg", 64, 100), ("alpha_net", 69, 100)):
            interval = getattr(cell, name)
            assert getattr(interval, known) == pytest.approx((bound - less) / per)
            assert math.isnan(interval.value) and math.isnan(getattr(interval, unknown))
    near[:] = (1 + 0.01 * sign) / end
    assert math.isfinite(one(smooth() | {("v", 64, 100, 5): near}).d_eff.value)
    near[:] = (1e-9, 1e-9, 1e-9, 0.25)  # beyond the one end or the other
    assert "no longer than its noise" in one(smooth() | {("v", 64, 100, 5): near}).reason


def test_a_flat_or_rising_curve_identifies_nothing() -> None:
    rng = np.random.default_rng(14)
    runs = {("", n, 0, 0): rng.uniform(0.9, 1.1, 8) for n in GRID}
    cell = one(runs | {("v", 64, 100, 0): rng.uniform(0.9, 1.1, 8)})
    assert cell.verdict == "NOT_IDENTIFIED" and "curve is flat" in cell.reason
    assert math.isnan(cell.d_eff.low) and math.isnan(cell.alpha_avg.high)
    # Flat in one place, it still identifies in others.
    runs = {("", n, 0, 0): np.full(4, 1 / min(n, 64) - 1e-5 * n / 64) for n in GRID}
    runs["steep", 16, 20, 0] = np.full(4, 1 / 24)
    runs["v", 64, 9, 0] = 1 / 64 + 4e-5 * np.array([-1, -1, -1, 4])  # flat without the last only
    assert one(runs, "steep").verdict == "OK" and "flat there" in one(runs).reason
    # A rising one is refused, a wavering one pooled.
    runs = smooth() | {("v", 16, 20, 0): np.full(4, 1 / 24), ("", 256, 0, 0): np.full(4, 0.01)}
    assert one(runs).reason.startswith("the real-only error rises between two sizes")
    runs["", 256, 0, 0] = np.array([0.9, 1.1, 0.95, 1.05]) / 105  # above 1/128, but one of 15 pairs
    assert one(runs).verdict == "OK"
    pooled = (math.log2(128) + math.log2(105)) / 2
    pooled_curve = only(runs).curve
    shape = [*(slope.value for slope in pooled_curve.slope), pooled_curve.falls]
    assert shape == pytest.approx([1, 1, pooled - 6, 0, 9 - pooled, 32])


def test_invariances() -> None:
    rng = np.random.default_rng(16)
    runs = curve(rng, 10, 50)
    for m in (50, 100):
        runs["v", 64, m, 3] = learn(rng, 10, 50, 64, m, bias=0.05)
    rows = table(runs)
    plain = json.dumps(to_json(measure(rows)[0]))
    shuffled = [replace(rows[i], seed=7 * rows[i].seed - 5) for i in rng.permutation(len(rows))]
    assert json.dumps(to_json(measure(shuffled)[0])) == plain
    # A further version or task changes no other.
    more = table(runs | {("w", 64, 50, 3): runs["v", 64, 100, 3]})
    push, toss = measure(more + [replace(row, task="push") for row in rows])
    assert json.dumps(to_json(push)) == plain.replace("toss", "push")
    assert to_json(toss)["versions"]["v"] == json.loads(plain)["versions"]["v"]
    # Neither its unit nor a power of the error matters, where all runs of a seed share the noise.
    noise = rng.uniform(0.5, 2.0, 8)
    runs = smooth(8) | {("v", 64, 100, 0): np.full(8, 1 / 110)}
    for power in (0.5, 1.0, 3.0):
        alpha = one({key: (9 * errors * noise) ** power for key, errors in runs.items()}).alpha_avg
        assert astuple(alpha) == pytest.approx((0.46, 0.46, 0.46))


def test_homogeneity_and_verdicts_of_versions_as_json() -> None:
    rng = np.random.default_rng(18)
    mix = rng.normal(size=(3, 3))  # any correlation among the cells
    p = hotelling(np.diff(0.5 + rng.normal(size=(400, 10, 3)) @ mix, axis=-1))
    assert abs(np.mean(p < 0.05) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 400)
    assert abs(np.mean(p) - 0.5) < 3 * math.sqrt(1 / 12 / 400)
    for x in (np.ones((10, 1)), 1 + 1e-15 * rng.normal(size=(10, 3)), rng.normal(size=(3, 4))):
        assert math.isnan(hotelling(np.diff(x, axis=1)))
    # A version whose cells have no common alpha.
    for last, verdict in ((100.0, "OK"), (20.0, "HETEROGENEOUS")):
        rng, runs = np.random.default_rng(19), smooth(10)
        for m, gain in ((100, 50.0), (50, 25.0), (200, last)):
            runs["v", 64, m, 0] = rng.normal(1, 0.02, 10) / (64 + gain)
        assert only(runs).versions["v"].verdict == verdict
    runs["v", 64, 400, 0] = np.full(10, 1.0)  # off the curve: the others are still compared
    assert only(runs).versions["v"].verdict == "HETEROGENEOUS"
    runs = {key: errors for key, errors in runs.items() if key[2] in (0, 100, 400)}
    assert only(runs).versions["v"].verdict == "CENSORED_LO"  # the worst there is
    # JSON without NaN, from NumPy's numbers.
    rng = np.random.default_rng(20)
    runs = curve(rng, 6, 50) | {("v", 64, 9999, 3): np.full(6, 1e-9)}
    runs["v", np.int64(64), 100, 3] = learn(rng, 6, 50, 64, 100)  # type: ignore[index]
    out = json.loads(json.dumps(to_json(only(runs)), allow_nan=False))
    alpha, (ok, censored) = only(runs).cells[0].alpha_avg, out["versions"]["v"]["cells"]
    assert [ok[f"alpha_avg{end}"] for end in ("", "_low", "_high")] == [*astuple(alpha)]
    names = ("verdict", "m", "alpha_avg", "d_eff_low")
    assert [censored[name] for name in names] == ["CENSORED_HI", 9999, None, 512]
    assert out["curve"]["n"] == [*GRID] and out["versions"]["v"]["homogeneity_p"] is None
    assert out["versions"]["v"]["alpha"] is None  # one of its cells has none
