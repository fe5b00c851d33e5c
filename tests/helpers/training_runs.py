"""Tables of training runs for tests: a learner of a mean in d dimensions, of known D_eff.

Real episodes have variance 1, so that n of them leave the error L(n) = 1/n, and D_eff = 1/E.
"""

import math
from typing import Any

import numpy as np

from worldmodel import trust
from worldmodel.trust import Row, measure

GRID = (16, 32, 64, 128, 256, 512)  # n of the real-only runs
Runs = dict[tuple[str, int, int, int], np.ndarray]  # (version, n, m, k): (seeds,) errors


def table(runs: Runs) -> list[Row]:
    """The rows of the runs, one for each seed."""
    return [
        Row("toss", version, "net", n, m, k, seed, "test", float(error))
        for (version, n, m, k), errors in runs.items()
        for seed, error in enumerate(errors)
    ]


def learn(rng: Any, seeds: int, d: int, n: int, m: float, **how: Any) -> np.ndarray:
    """(seeds,) errors of weighing (w, or pooling) m synthetic episodes against n real ones."""
    noise, mixed = rng.normal(size=(2, seeds, d)), how.get("w", m / (n + m))
    synthetic = how.get("bias", 0) + noise[1] * np.sqrt(how.get("kappa", 1) / max(m, 1))
    return np.mean(((1 - mixed) * noise[0] / math.sqrt(n) + mixed * synthetic) ** 2, axis=1)


def curve(rng: Any, seeds: int, d: int) -> Runs:
    """The real-only runs, with noise."""
    return {("", n, 0, 0): learn(rng, seeds, d, n, 0) for n in GRID}


def smooth(seeds: int = 4) -> Runs:
    """The real-only runs without noise."""
    return {("", n, 0, 0): np.full(seeds, 1 / n) for n in GRID}


def only(runs: Runs) -> trust.TaskResult:
    """The result of the only task."""
    return measure(table(runs))[0]


def one(runs: Runs, version: str = "v") -> trust.Cell:
    """The first cell of a version."""
    return next(cell for cell in only(runs).cells if cell.version == version)


def holds(cell: trust.Cell, alpha: float) -> None:
    """Asserts that a cell's interval covers alpha and is narrow."""
    assert cell.alpha_avg.low < alpha < cell.alpha_avg.high, (cell.alpha_avg, alpha)
    assert cell.alpha_avg.high - cell.alpha_avg.low < 0.3
