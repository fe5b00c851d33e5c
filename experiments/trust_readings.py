"""What the trust tool reports of a table, for many simulated tables at once.

As ``worldmodel.trust.estimate`` puts its array functions together for one table; tests hold the two
against each other. The last three are intervals that others use, to show what they cover.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from worldmodel.trust import intervals, law
from worldmodel.trust.curve import falling, invert
from worldmodel.trust.reading import NEGATIVE, NOT_IDENTIFIED, read

LEVEL = 0.95
RESAMPLES = 500  # of the bootstrap
CHUNK = 50  # tables resampled at once, for the memory's sake


class Tables(NamedTuple):
    """Mean errors of all replicates and with each left out, and what the cells are worth."""

    sizes: np.ndarray  # (sizes,) of the real-only runs
    curve: np.ndarray  # (tables, sizes, 1 + S)
    versions: tuple[np.ndarray, ...]  # each (tables, cells, 1 + S)
    n: np.ndarray  # (cells,)
    m: np.ndarray  # (cells,)
    worth: tuple[np.ndarray, ...]  # the true D_eff of each version, (cells,) or (tables, cells)


class Bounds(NamedTuple):
    """One figure of every table, (tables,) each."""

    value: np.ndarray  # NaN where there is none
    low: np.ndarray  # infinite where not known
    high: np.ndarray
    truth: np.ndarray


class _Worth(NamedTuple):
    values: np.ndarray  # (tables, cells, 1 + S) D_eff; NaN where it has none
    low: np.ndarray  # (tables, cells)
    high: np.ndarray
    truth: np.ndarray


def _all_finite(values: np.ndarray) -> np.ndarray:
    """(tables,) of (tables, cells, 1 + S)."""
    return np.asarray(np.isfinite(values).all(axis=(-2, -1)))


def _read(tables: Tables, version: int = 0) -> _Worth:
    found = read(tables.sizes, tables.curve, tables.versions[version], tables.n, LEVEL)
    nothing = found.verdict == NOT_IDENTIFIED
    values = np.where((found.verdict > NEGATIVE)[..., None], np.nan, found.worth)
    low, high = np.where(nothing, -np.inf, found.low), np.where(nothing, np.inf, found.high)
    return _Worth(values, low, high, np.broadcast_to(tables.worth[version], low.shape))


def alpha(tables: Tables) -> Bounds:
    """alpha_avg of the first version's first cell."""
    worth, n, m = _read(tables), tables.n, tables.m
    return Bounds(*((x[:, 0] - n[0]) / m[0] for x in (worth.values[..., 0], *worth[1:])))


def mean_alpha(tables: Tables) -> Bounds:
    """The mean of alpha_avg over the first version's cells."""
    return _mean(tables, intervals.mean)


def cells_independent(tables: Tables) -> Bounds:
    """The same mean as though its cells were independent: they share the curve, and the seeds."""

    def mean(
        weights: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        middle = values[..., 0]
        total = (weights * middle).sum(-1)
        halves = (np.sqrt(np.sum((weights * x) ** 2, -1)) for x in (middle - low, high - middle))
        below, above = halves
        return total, total - below, total + above

    return _mean(tables, mean)


def _mean(tables: Tables, of: Callable[..., tuple[np.ndarray, ...]]) -> Bounds:
    worth, share = _read(tables), 1 / (tables.m * len(tables.m))
    with np.errstate(invalid="ignore"):
        value, low, high = of(share, worth.values, worth.low, worth.high)
    less = (share * tables.n).sum()
    none = ~_all_finite(worth.values)
    return _without(none, value - less, low - less, high - less, worth.truth @ share - less)


def difference(tables: Tables) -> Bounds:
    """alpha_avg of the first version less that of the second, in the first cell."""
    first, second = (_read(tables, i) for i in (0, 1))
    return _less(tables.m[0], *(_Worth(*(x[:, 0] for x in w)) for w in (first, second)))


def marginal(tables: Tables) -> Bounds:
    """alpha_marg of the first version's second cell."""
    worth = _read(tables)
    per = tables.m[1] - tables.m[0]
    return _less(per, *(_Worth(*(x[:, i] for x in worth)) for i in (1, 0)))


def _less(per: float, a: _Worth, b: _Worth) -> Bounds:
    values, low, high = (np.stack(x, 1) for x in zip(a[:3], b[:3], strict=True))
    none = ~_all_finite(values)
    values = np.where(none[:, None, None], 1.0, values)
    with np.errstate(invalid="ignore"):
        found = intervals.difference(values, low, high)
    return _without(none, *(x / per for x in (*found, a.truth - b.truth)))


def law_of(tables: Tables, rule: str, kappa: float, b: float) -> dict[str, Bounds]:
    """What is fitted to all cells of the first version: kappa, b, alpha_0, and the cap or limit.

    And ``fits``, the test that one (κ, b) fits: 0.05 is below its p in 95 % of tables.
    """
    worth = _read(tables)
    known = _all_finite(worth.values)
    if rule == "oracle":
        known = known & np.asarray((worth.low > tables.n).all(axis=-1))
    values, design = worth.values[known], (rule, tables.n, tables.m)
    weight = law.precision(*design, values[..., 0])
    found, contrasts = law.line(tables.m, law.transform(*design, values), weight)
    p = intervals.hotelling(contrasts)
    fitted = known.copy()
    fitted[known] = p >= law.REFUSED
    two = found[p >= law.REFUSED]
    (k_low, k_high), (b_low, b_high) = (intervals.ends(two[:, i], LEVEL) for i in (0, 1))
    k_value, b_value = two[:, 0, 0], two[:, 1, 0]

    def of(
        value: np.ndarray, low: np.ndarray, high: np.ndarray, truth: float, where: np.ndarray
    ) -> Bounds:
        full = [np.full(len(known), fill) for fill in (np.nan, -np.inf, np.inf)]
        for out, x in zip(full, (value, low, high), strict=True):
            out[where] = x
        return Bounds(full[0], full[1], full[2], np.full(len(known), truth))

    start = (2 - k_value, 2 - k_high, 2 - k_low, 2 - kappa)
    if rule == "oracle":
        start = (*_inverse(k_value, k_low, k_high), 1 / kappa)
    return {
        "kappa": of(k_value, k_low, k_high, kappa, fitted),
        "b": of(b_value, b_low, b_high, b, fitted),
        "alpha_0": of(*start, fitted),
        "cap" if rule == "oracle" else "limit": of(
            *_inverse(b_value, b_low, b_high), 1 / b, fitted
        ),
        "fits": of(p, np.full(len(p), -np.inf), p, law.REFUSED, known),
    }


def _inverse(
    value: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1/x; a lower bound alone where x may be 0, as ``law`` has it."""
    with np.errstate(divide="ignore"):
        sure, none = low > 0, high <= 0
        return (
            np.where(sure, 1 / value, np.nan),
            np.where(none, -np.inf, 1 / high),
            np.where(sure, 1 / low, np.inf),
        )


def percentile_bootstrap(tables: Tables) -> Bounds:
    """alpha of the first cell from the quantiles of resampled seeds, as is common."""
    rng = np.random.default_rng(0)
    # Means are linear: their pseudo-values are the runs themselves.
    curve, cell = (intervals.pseudo_values(x) for x in (tables.curve, tables.versions[0][:, :1]))
    seeds, ends = curve.shape[-1], []
    for start in range(0, len(curve), CHUNK):
        part = slice(start, start + CHUNK)
        drawn = rng.integers(seeds, size=(len(curve[part]), RESAMPLES, seeds))
        share = np.stack(
            [(drawn == i).mean(-1) for i in range(seeds)], -1
        )  # (tables, resamples, S)
        log_curve, log_cell = (np.log(share @ np.swapaxes(x[part], -1, -2)) for x in (curve, cell))
        worth = invert(tables.sizes, falling(log_curve), log_cell[..., 0])[0]
        tail = (1 - LEVEL) / 2
        ends.append(np.quantile(worth, (tail, 0.5, 1 - tail), axis=1, method="nearest"))
    low, value, high = np.concatenate(ends, 1)
    truth = np.broadcast_to(tables.worth[0], (len(curve), len(tables.n)))[:, 0]
    return Bounds(*((x - tables.n[0]) / tables.m[0] for x in (value, low, high, truth)))


def around_the_estimate(tables: Tables) -> Bounds:
    """alpha of the first cell ± t(S − 1) jackknife standard errors of D_eff."""
    worth = _read(tables)
    values = worth.values[:, 0]
    low, high = intervals.ends(values, LEVEL)
    n, m = tables.n[0], tables.m[0]
    found = ((x - n) / m for x in (values[:, 0], low, high, worth.truth[:, 0]))
    return _without(np.asarray(np.isnan(values).any(-1)), *found)


def _without(none: np.ndarray, *bounds: np.ndarray) -> Bounds:
    """Bounds that say nothing where there are none."""
    value, low, high, truth = bounds
    value = np.where(none, np.nan, value)
    return Bounds(value, np.where(none, -np.inf, low), np.where(none, np.inf, high), truth)
