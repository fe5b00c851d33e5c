"""Designs of simulated tables: each draws a number of tables from a random generator."""

from collections.abc import Sequence

import numpy as np

from experiments.coverage import simulation
from experiments.coverage.estimators import Tables
from worldmodel.trust.curve import falling, invert, leave_one_out

SIZES = simulation.SIZES


def _tables(
    sizes: np.ndarray,
    curve: np.ndarray,
    versions: Sequence[np.ndarray],
    cells: Sequence[tuple[int, int]],
    d_eff: Sequence[np.ndarray],
) -> Tables:
    n, m = np.array(cells, float).T
    means = tuple(leave_one_out(x) for x in versions)
    return Tables(sizes, leave_one_out(curve), means, n, m, tuple(d_eff))


def fresh(
    rng: np.random.Generator,
    tables: int,
    *,
    rule: str,
    d: int,
    seeds: int,
    cells: Sequence[tuple[int, int]],
    versions: Sequence[tuple[float, float]],
) -> Tables:
    """Every run has episodes of its own."""
    shape, learn = (tables, seeds), getattr(simulation, rule)
    curve = np.stack([simulation.pooled(rng, shape, d, n, 0) for n in SIZES], 1)
    mixed = [
        np.stack([learn(rng, shape, d, n, m, kappa=kappa, b=b) for n, m in cells], 1)
        for kappa, b in versions
    ]
    return _tables(SIZES, curve, mixed, cells, _d_eff(rule, cells, versions))


def nested(
    rng: np.random.Generator,
    tables: int,
    *,
    d: int,
    seeds: int,
    cells: Sequence[tuple[int, int]],
    versions: Sequence[tuple[float, float]],
) -> Tables:
    """Each seed has episodes of its own, shared by its runs; pooled with weight 1."""
    curve, mixed = simulation.nested(rng, (tables, seeds), d, SIZES, cells, versions)
    return _tables(SIZES, curve, mixed, cells, _d_eff("pooled", cells, versions))


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
    d_eff = cell[0] + alpha * cell[1]
    curve, mixed = (
        np.stack(
            [simulation.scattered(rng, (tables, seeds), cv, n**-slope + floor) for n in places], 1
        )
        for places in (SIZES.astype(float), [d_eff])
    )
    return _tables(SIZES, curve, [mixed], [cell], [np.array([d_eff])])


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
    at_once: int = 20,
) -> Tables:
    """All seeds of a table draw from one pool; alpha is 1.

    Args:
      of: episodes in the pool.
      conditional: whether the truth is that of the drawn pool.
      at_once: tables drawn at once, to bound the memory.
    """
    at = np.array(sizes)
    parts, d_eff = [], []
    for _ in range(tables // at_once):
        own = np.random.default_rng(int(rng.integers(2**63)))
        *whole, each, mixed = simulation.from_pool(
            own, tables=at_once, runs=seeds, d=d, pool=of, sizes=at, cells=[cell]
        )
        parts.append([leave_one_out(x) for x in whole])
        if conditional:
            d_eff.append(invert(at, falling(np.log(each)), np.log(mixed[:, 0]))[0][:, None])
        else:
            d_eff.append(np.full((at_once, 1), float(sum(cell))))
    curve, mixed = (np.concatenate(x) for x in zip(*parts, strict=True))
    n, m = np.array([cell], float).T
    return Tables(at, curve, (mixed,), n, m, (np.concatenate(d_eff),))


def _d_eff(
    rule: str, cells: Sequence[tuple[int, int]], versions: Sequence[tuple[float, float]]
) -> list[np.ndarray]:
    n, m = np.array(cells, float).T
    return [np.asarray(simulation.d_eff(rule, n, m, kappa, b)) for kappa, b in versions]
