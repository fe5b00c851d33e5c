"""Simulated errors (tables, cells, seeds) of known alpha, for many tables at once.

The learner estimates a mean in d dimensions. A real episode is the truth plus unit noise, so that n
of them leave an error of 1/n, with a seed noise of cv = √(2/d). Synthetic episodes have variance κ
and squared bias b, both in units of a real episode's variance.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

SIZES = np.array([16, 32, 64, 128, 256, 512])  # of the real-only runs


def pooled(
    rng: np.random.Generator, shape: tuple[int, ...], d: int, n: float, m: float, **law: float
) -> np.ndarray:
    """Errors (shape) of all rows pooled with weight 1, every run on fresh episodes."""
    kappa, b = law.get("kappa", 1.0), law.get("b", 0.0)
    return _errors(rng, shape, d, (n + kappa * m) / (n + m) ** 2, b * (m / (n + m)) ** 2)


def oracle(
    rng: np.random.Generator, shape: tuple[int, ...], d: int, n: float, m: float, **law: float
) -> np.ndarray:
    """Errors (shape) under the weight that is best on average."""
    kappa, b = law.get("kappa", 1.0), law.get("b", 0.0)
    w = (1 / n) / (1 / n + kappa / m + b)
    return _errors(rng, shape, d, (1 - w) ** 2 / n + w**2 * kappa / m, b * w**2)


def _errors(
    rng: np.random.Generator, shape: tuple[int, ...], d: int, variance: float, square: float
) -> np.ndarray:
    """Means over d dimensions of squared normals with this variance and squared mean."""
    return rng.noncentral_chisquare(d, d * square / variance, shape) * variance / d


def d_eff(rule: str, n: np.ndarray, m: np.ndarray, kappa: float, b: float) -> np.ndarray:
    """D_eff of a weight rule in closed form (``worldmodel.trust.law``)."""
    if rule == "pooled":
        return (n + m) ** 2 / (n + kappa * m + b * m**2)
    return n + m / (kappa + b * m)


def scattered(
    rng: np.random.Generator, shape: tuple[int, ...], cv: float, expected: float
) -> np.ndarray:
    """Errors (shape) with log-normal seed noise of mean ``expected``."""
    width = np.log1p(cv**2)
    return expected * np.exp(rng.normal(-width / 2, np.sqrt(width), shape))


def nested(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    d: int,
    sizes: np.ndarray,
    cells: Sequence[tuple[int, int]],
    versions: Sequence[tuple[float, float]],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Errors of nested sets: each seed has fresh episodes, shared by its runs, small sets in large.

    Args:
      shape: (tables, seeds).
      sizes: (sizes,) of the real-only runs.
      cells: (n, m), pooled with weight 1.
      versions: (κ, b) of each.

    Returns:
      curve (tables, sizes, seeds) and the cells (tables, cells, seeds) of each version.
    """

    def sums(places: Iterable[int]) -> dict[int, np.ndarray]:
        """Sums (*shape, d) of unit noise over each number of episodes."""
        by_count, total = {}, np.zeros((*shape, d))
        for a, b in itertools.pairwise(sorted({0, *places})):
            total = total + np.sqrt(b - a) * rng.normal(size=(*shape, d))
            by_count[b] = total
        return by_count

    real = sums([*map(int, sizes), *(n for n, _ in cells)])
    curve = np.stack([np.mean((real[n] / n) ** 2, axis=-1) for n in map(int, sizes)], 1)
    mixed = []
    for kappa, b in versions:
        synthetic = sums(m for _, m in cells)
        errors = [
            np.mean(((real[n] + np.sqrt(kappa) * synthetic[m] + m * np.sqrt(b)) / (n + m)) ** 2, -1)
            for n, m in cells
        ]
        mixed.append(np.stack(errors, 1))
    return curve, mixed


def from_pool(
    rng: np.random.Generator,
    tables: int,
    runs: int,
    d: int,
    pool: int,
    sizes: np.ndarray,
    cells: list[tuple[int, int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Errors if every run of a table draws its real episodes from one pool, small sets in large.

    The m synthetic episodes are fresh real ones, so that alpha is 1.

    Args:
      runs: seeds of a table.
      pool: real episodes of a table.
      sizes: (sizes,) of the real-only runs.
      cells: (n, m).

    Returns:
      curve (tables, sizes, runs) and cells (tables, cells, runs); and the errors expected of a run
      on *this* pool, (tables, sizes) and (tables, cells).
    """
    x = rng.normal(size=(tables, pool, d))
    order = rng.permuted(np.broadcast_to(np.arange(pool), (tables, runs, pool)), axis=-1)
    synthetic = [rng.normal(size=(tables, runs, d)) / np.sqrt(m) for _, m in cells]
    most = max(*sizes, *(n for n, _ in cells))
    drawn = np.take_along_axis(x[:, None], order[..., :most, None], axis=2)
    sums = np.cumsum(drawn, axis=2)
    curve = [np.mean((sums[:, :, n - 1] / n) ** 2, axis=-1) for n in sizes]
    mixed = [
        np.mean(((sums[:, :, n - 1] + m * s) / (n + m)) ** 2, axis=-1)
        for (n, m), s in zip(cells, synthetic, strict=True)
    ]
    centre, spread = x.mean(1), x.var(1, ddof=1)

    def expected(n: int, m: int) -> np.ndarray:
        """The expected error of a run on n of the pool, without replacement, and m fresh ones."""
        real = centre**2 + spread * (1 / n - 1 / pool)
        return np.mean((n * n * real + m) / (n + m) ** 2, axis=-1)

    each = np.stack([expected(n, 0) for n in sizes], 1)
    those = np.stack([expected(n, m) for n, m in cells], 1)
    return np.stack(curve, 1), np.stack(mixed, 1), each, those
