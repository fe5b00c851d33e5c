"""Runs of a learner whose versions have an alpha that is known."""

from collections.abc import Mapping, Sequence

import numpy as np

from worldmodel import trust


def planted_runs(
    versions: Mapping[str, tuple[float, int]],
    curve: Sequence[int],
    n: Sequence[int],
    m: Sequence[int],
    seeds: int,
) -> list[trust.Row]:
    """Its error falls as the root of its effective episodes.

    Args:
      versions: name → alpha, corrections.
      curve: numbers of real episodes of the runs without synthetic ones.
      n: real episodes of the others.
      m: their synthetic ones.
      seeds: per cell.
    """
    rng = np.random.default_rng(1)

    def row(version: str, n: int, m: int, k: int, seed: int, d_eff: float) -> trust.Row:
        error = 0.3 * d_eff**-0.5 * float(np.exp(0.05 * rng.standard_normal()))
        return trust.Row("slide", version, "weight 1", n, m, k, seed, "test", error)

    rows = []
    for seed in range(seeds):
        rows += [row("", size, 0, 0, seed, size) for size in curve]
        for version, (alpha, k) in versions.items():
            cells = [(real, more) for real in n for more in m]
            rows += [row(version, *at, k, seed, max(at[0] + alpha * at[1], 2)) for at in cells]
    return rows
