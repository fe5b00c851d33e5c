"""Designs of simulated tables of known alpha; each draws many tables from a random generator.

The learner estimates a mean in d dimensions. A real episode is the truth plus unit noise, so that n
of them leave an error of 1/n, with a seed noise of cv = √(2/d). Synthetic episodes have variance κ
and squared bias b, both in units of a real episode's variance.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from experiments.coverage.estimators import Tables
from worldmodel.trust.estimate import falling, invert
from worldmodel.trust.intervals import leave_one_out

SIZES = np.array([16, 32, 64, 128, 256, 512])  # of the real-only runs
AT_ONCE = 20  # tables with a pool, to bound the memory
Cells = Sequence[tuple[int, int]]  # (n, m)
Versions = Sequence[tuple[float, float]]  # (κ, b)


def d_eff(rule: str, n: np.ndarray, m: np.ndarray, kappa: float, b: float) -> np.ndarray:
    """D_eff of a weight rule in closed form (``worldmodel.trust.law``)."""
    if rule == "pooled":
        return (n + m) ** 2 / (n + kappa * m + b * m**2)
    return n + m / (kappa + b * m)


def _tables(
    rule: str, curve: np.ndarray, mixed: Sequence[np.ndarray], cells: Cells, versions: Versions
) -> Tables:
    n, m = np.array(cells, float).T
    means = tuple(leave_one_out(errors) for errors in mixed)
    truth = tuple(np.asarray(d_eff(rule, n, m, *version)) for version in versions)
    return Tables(SIZES, leave_one_out(curve), means, n, m, truth)


def fresh(
    rng: np.random.Generator,
    tables: int,
    *,
    rule: str,
    d: int,
    seeds: int,
    cells: Cells,
    versions: Versions,
) -> Tables:
    """Every run has episodes of its own.

    Args:
      rule: "pooled", all rows with weight 1, or "oracle", the weight that is best on average.
    """

    def errors(weight: float, n: float, m: float, kappa: float, b: float) -> np.ndarray:
        """(tables, seeds) means over d of squared normals; ``weight`` of the synthetic mean."""
        variance = (1 - weight) ** 2 / n + (weight**2 * kappa / m if m else 0.0)
        bias = d * b * weight**2 / variance
        return rng.noncentral_chisquare(d, bias, (tables, seeds)) * variance / d

    def weight(n: float, m: float, kappa: float, b: float) -> float:
        return m / (n + m) if rule == "pooled" else (1 / n) / (1 / n + kappa / m + b)

    curve = np.stack([errors(0.0, n, 0, 1.0, 0.0) for n in SIZES], 1)
    mixed = [
        np.stack([errors(weight(n, m, *law), n, m, *law) for n, m in cells], 1) for law in versions
    ]
    return _tables(rule, curve, mixed, cells, versions)


def nested_errors(
    rng: np.random.Generator, tables: int, *, d: int, seeds: int, cells: Cells, versions: Versions
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Errors of nested sets: each seed has fresh episodes, shared by its runs, small sets in large;
    pooled with weight 1.

    Returns:
      curve (tables, sizes, seeds) and the cells (tables, cells, seeds) of each version.
    """

    def sums(places: Iterable[int]) -> dict[int, np.ndarray]:
        """Sums (tables, seeds, d) of unit noise over each number of episodes."""
        by_count, total = {}, np.zeros((tables, seeds, d))
        for a, b in itertools.pairwise(sorted({0, *places})):
            total = total + np.sqrt(b - a) * rng.normal(size=total.shape)
            by_count[b] = total
        return by_count

    sizes = [int(n) for n in SIZES]
    real = sums([*sizes, *(n for n, _ in cells)])
    curve = np.stack([np.mean((real[n] / n) ** 2, axis=-1) for n in sizes], 1)
    mixed = []
    for kappa, b in versions:
        synthetic = sums(m for _, m in cells)
        errors = [
            np.mean(((real[n] + np.sqrt(kappa) * synthetic[m] + m * np.sqrt(b)) / (n + m)) ** 2, -1)
            for n, m in cells
        ]
        mixed.append(np.stack(errors, 1))
    return curve, mixed


def nested(
    rng: np.random.Generator, tables: int, *, d: int, seeds: int, cells: Cells, versions: Versions
) -> Tables:
    """Tables of ``nested_errors``."""
    errors = nested_errors(rng, tables, d=d, seeds=seeds, cells=cells, versions=versions)
    return _tables("pooled", *errors, cells, versions)


def scattered(
    rng: np.random.Generator,
    tables: int,
    *,
    seeds: int,
    cv: float,
    slope: float,
    floor: float,
    cell: tuple[int, int],
    alpha: float,
) -> Tables:
    """The errors are n^-slope + floor with log-normal noise."""
    width = np.log1p(cv**2)

    def errors(n: float) -> np.ndarray:
        noise = rng.normal(-width / 2, np.sqrt(width), (tables, seeds))
        return (n**-slope + floor) * np.exp(noise)

    truth = cell[0] + alpha * cell[1]
    curve = leave_one_out(np.stack([errors(n) for n in SIZES.astype(float)], 1))
    mixed = leave_one_out(errors(truth)[:, None])
    n, m = np.array([cell], float).T
    return Tables(SIZES, curve, (mixed,), n, m, (np.array([truth]),))


def pool(
    rng: np.random.Generator,
    tables: int,
    *,
    d: int,
    seeds: int,
    of: int,
    sizes: tuple[int, ...],
    cell: tuple[int, int],
    conditional: bool = False,
) -> Tables:
    """All seeds of a table draw their real episodes from one pool, small sets in large. The
    synthetic episodes are fresh real ones, so that alpha is 1.

    Args:
      of: episodes in the pool.
      conditional: whether the truth is that of the drawn pool.
    """
    n, m = cell
    parts, truth = [], []
    for _ in range(tables // AT_ONCE):
        own = np.random.default_rng(int(rng.integers(2**63)))
        x = own.normal(size=(AT_ONCE, of, d))
        order = own.permuted(np.broadcast_to(np.arange(of), (AT_ONCE, seeds, of)), axis=-1)
        synthetic = own.normal(size=(AT_ONCE, seeds, d)) / np.sqrt(m)
        drawn = np.take_along_axis(x[:, None], order[..., : max(*sizes, n), None], axis=2)
        sums = np.cumsum(drawn, axis=2)
        curve = np.stack([np.mean((sums[:, :, k - 1] / k) ** 2, axis=-1) for k in sizes], 1)
        mixed = np.mean(((sums[:, :, n - 1] + m * synthetic) / (n + m)) ** 2, axis=-1)
        parts.append((leave_one_out(curve), leave_one_out(mixed[:, None])))
        truth.append(np.full((AT_ONCE, 1), float(n + m)))
        if conditional:
            each = np.stack([_expected(x, k, 0) for k in sizes], 1)
            log = np.log(_expected(x, n, m))
            truth[-1] = invert(np.array(sizes), falling(np.log(each)), log)[0][:, None]
    curve, mixed = (np.concatenate(part) for part in zip(*parts, strict=True))
    counts = np.array([n], float), np.array([m], float)
    return Tables(np.array(sizes), curve, (mixed,), *counts, (np.concatenate(truth),))


def _expected(x: np.ndarray, n: int, m: int) -> np.ndarray:
    """(tables,) expected errors of a run on n of the pool (tables, episodes, d), without
    replacement, and m fresh ones."""
    real = x.mean(1) ** 2 + x.var(1, ddof=1) * (1 / n - 1 / x.shape[1])
    return np.mean((n * n * real + m) / (n + m) ** 2, axis=-1)
