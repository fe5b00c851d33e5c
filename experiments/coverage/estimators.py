"""The trust tool's estimates with their intervals, for many simulated tables at once.

They combine the tool's array functions as ``worldmodel.trust.estimate`` does for one table, and
take its law table by table; a test compares the two.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from worldmodel.trust import intervals, law
from worldmodel.trust.estimate import read

LEVEL = 0.95


class Tables(NamedTuple):
    """Mean errors over all replicates and with each left out, and the true D_eff of the cells."""

    sizes: np.ndarray  # (sizes,) of the real-only runs
    curve: np.ndarray  # (tables, sizes, 1 + S)
    versions: tuple[np.ndarray, ...]  # each (tables, cells, 1 + S)
    n: np.ndarray  # (cells,)
    m: np.ndarray  # (cells,)
    d_eff: tuple[np.ndarray, ...]  # true, of each version: (cells,) or (tables, cells)


class Bounds(NamedTuple):
    """One figure of every table, (tables,) each; or D_eff of one version's cells."""

    value: np.ndarray  # NaN where there is none; of cells (tables, cells, 1 + S)
    low: np.ndarray  # infinite where unknown; of cells (tables, cells)
    high: np.ndarray
    truth: np.ndarray


def _all_finite(values: np.ndarray) -> np.ndarray:
    """Whether all of a table's values are finite: (tables, cells, 1 + S) to (tables,)."""
    return np.asarray(np.isfinite(values).all(axis=(-2, -1)))


def _read(tables: Tables, version: int = 0) -> Bounds:
    reading = read(tables.sizes, tables.curve, tables.versions[version], tables.n, LEVEL)
    truth = np.broadcast_to(tables.d_eff[version], reading.low.shape)
    return Bounds(reading.d_eff, reading.low, reading.high, truth)


def alpha(tables: Tables) -> Bounds:
    """alpha_avg of the first version's first cell."""
    cells, n, m = _read(tables), tables.n, tables.m
    return Bounds(*((x[:, 0] - n[0]) / m[0] for x in (cells.value[..., 0], *cells[1:])))


def mean_alpha(tables: Tables) -> Bounds:
    """The mean of alpha_avg over the first version's cells."""
    cells, share = _read(tables), 1 / (tables.m * len(tables.m))
    with np.errstate(invalid="ignore"):
        value, low, high = intervals.mean(share, cells.value, cells.low, cells.high)
    less = (share * tables.n).sum()
    none = ~_all_finite(cells.value)
    return _without(none, value - less, low - less, high - less, cells.truth @ share - less)


def difference(tables: Tables) -> Bounds:
    """alpha_avg of the first version less that of the second, in the first cell."""
    first, second = (_read(tables, i) for i in (0, 1))
    return _less(tables.m[0], *(Bounds(*(x[:, 0] for x in w)) for w in (first, second)))


def marginal(tables: Tables) -> Bounds:
    """alpha_marg of the first version's second cell."""
    cells = _read(tables)
    per = tables.m[1] - tables.m[0]
    return _less(per, *(Bounds(*(x[:, i] for x in cells)) for i in (1, 0)))


def _less(per: float, a: Bounds, b: Bounds) -> Bounds:
    values, low, high = (np.stack(x, 1) for x in zip(a[:3], b[:3], strict=True))
    none = ~_all_finite(values)
    values = np.where(none[:, None, None], 1.0, values)
    with np.errstate(invalid="ignore"):
        estimate = intervals.difference(values, low, high)
    return _without(none, *(x / per for x in (*estimate, a.truth - b.truth)))


def law_of(tables: Tables, rule: str, kappa: float, b: float) -> dict[str, Bounds]:
    """The law of the first version: ``kappa``, ``b``, ``alpha_0``, and ``cap`` or ``limit``.

    ``fits`` is the test that one (κ, b) fits: its p is above 0.05 in 95 % of tables.
    """
    cells, design = _read(tables), (rule, tables.n, tables.m)
    pairs = zip(cells.value, cells.low, strict=True)
    fits = [law.fit(*design, d_eff, low, LEVEL) for d_eff, low in pairs]
    start, end = (1 / kappa, "cap") if rule == "oracle" else (2 - kappa, "limit")
    truth = {"kappa": kappa, "b": b, "alpha_0": start, end: 1 / b}
    p = np.array([fit.law_p for fit in fits])
    bounds = {"fits": _bounds(law.REFUSED, p, np.full(len(p), -np.inf), p)}
    for name, true in truth.items():
        ends = np.array([dataclasses.astuple(getattr(fit, name)) for fit in fits])
        bounds[name] = _bounds(true, *ends.T)
    return bounds


def _bounds(truth: float, value: np.ndarray, low: np.ndarray, high: np.ndarray) -> Bounds:
    """Bounds (tables,) from a result's own, which are NaN where unknown."""
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    return Bounds(value, low, high, np.full(len(value), truth))


def _without(none: np.ndarray, *bounds: np.ndarray) -> Bounds:
    """Bounds, with no value and infinite ends where ``none`` holds."""
    value, low, high, truth = bounds
    value = np.where(none, np.nan, value)
    return Bounds(value, np.where(none, -np.inf, low), np.where(none, np.inf, high), truth)
