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
        mean = intervals.mean(share, *cells[:3])
    less = (share * tables.n).sum()
    return _where_finite(cells.value, *(x - less for x in (*mean, cells.truth @ share)))


def difference(tables: Tables) -> Bounds:
    """alpha_avg of the first version less that of the second, in the first cell."""
    first, second = (Bounds(*(x[:, 0] for x in _read(tables, i))) for i in (0, 1))
    return _less(tables.m[0], first, second)


def marginal(tables: Tables) -> Bounds:
    """alpha_marg of the first version's second cell."""
    first, second = (Bounds(*(x[:, i] for x in _read(tables))) for i in (0, 1))
    return _less(tables.m[1] - tables.m[0], second, first)


def _less(per: float, a: Bounds, b: Bounds) -> Bounds:
    values, low, high = (np.stack(x, 1) for x in zip(a[:3], b[:3], strict=True))
    finite = np.isfinite(values).all(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        estimate = intervals.difference(np.where(finite, values, 1.0), low, high)
    return _where_finite(values, *(x / per for x in (*estimate, a.truth - b.truth)))


def _where_finite(
    cells: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, truth: np.ndarray
) -> Bounds:
    """Bounds, with no value and infinite ends where a cell (tables, cells, 1 + S) has no value."""
    some = np.isfinite(cells).all(axis=(1, 2))
    ends = np.where(some, low, -np.inf), np.where(some, high, np.inf)
    return Bounds(np.where(some, value, np.nan), *ends, truth)


def law_of(tables: Tables, rule: str, kappa: float, b: float) -> dict[str, Bounds]:
    """The law of the first version: ``kappa``, ``b``, ``alpha_0``, and ``cap`` or ``limit``.

    ``fits`` is the test that one (κ, b) fits: its p is above 0.05 in 95 % of tables.
    """
    cells = _read(tables)
    pairs = zip(cells.value, cells.low, strict=True)
    fits = [law.fit(rule, tables.n, tables.m, d_eff, low, LEVEL) for d_eff, low in pairs]
    start, end = (1 / kappa, "cap") if rule == "oracle" else (2 - kappa, "limit")
    p, whole = np.array([fit.law_p for fit in fits]), np.ones(len(fits))
    high = np.where(np.isnan(p), np.inf, p)
    bounds = {"fits": Bounds(p, -np.inf * whole, high, law.REFUSED * whole)}
    for name, truth in {"kappa": kappa, "b": b, "alpha_0": start, end: 1 / b}.items():
        value, low, high = np.array([dataclasses.astuple(getattr(fit, name)) for fit in fits]).T
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        bounds[name] = Bounds(value, low, high, truth * whole)
    return bounds
