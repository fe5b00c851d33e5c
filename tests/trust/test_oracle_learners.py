"""Learners that train on episodes: permuted labels harm, recognised noise costs nothing."""

import numpy as np
import pytest

from tests.helpers.training_runs import GRID, Runs, curve, holds, one
from worldmodel.trust import Cell

SEEDS, N, M = 20, 64, 32


def labelled(rng: np.random.Generator, truth: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Inputs (seeds, count, d) and labels (seeds, count, labels) with unit noise, fresh ones."""
    x = rng.normal(size=(SEEDS, count, len(truth)))
    return x, x @ truth + rng.normal(size=(SEEDS, count, truth.shape[1]))


def regression(how: str) -> Cell:
    """A linear least-squares learner; the labels of its M synthetic rows as ``how`` says."""
    rng, truth = np.random.default_rng(31), np.full((20, 20), 0.3)

    def error(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Excess risk (seeds,) of least squares on these rows, of inputs with unit variance."""
        turned = np.swapaxes(x, 1, 2)
        return np.mean((np.linalg.solve(turned @ x, turned @ y) - truth) ** 2, axis=(1, 2))

    sizes = [32, *(n for n in GRID if n > 32)]  # least squares needs more than 20 rows
    runs: Runs = {("", n, 0, 0): error(*labelled(rng, truth, n)) for n in sizes}
    (x, y), (more, labels) = (labelled(rng, truth, count) for count in (N, M))
    shuffled = rng.permuted(np.broadcast_to(np.arange(M), (SEEDS, M)), axis=1)
    permuted = np.take_along_axis(labels, shuffled[..., None], axis=1)
    labels_of = {"right": labels, "permuted": permuted, "of wrong sign": -labels}
    pooled = np.concatenate([x, more], 1), np.concatenate([y, labels_of[how]], 1)
    return one(runs | {("v", N, M, 0): error(*pooled)})


def test_permuted_labels_harm() -> None:
    holds(regression("right"), 1)  # the labels alone do the harm below
    permuted, wrong = regression("permuted"), regression("of wrong sign")
    for cell in (permuted, wrong):
        assert cell.verdict == "NEGATIVE" and cell.alpha_avg.high < 0
    assert wrong.alpha_avg.high < permuted.alpha_avg.low


@pytest.mark.parametrize("p", [0.3, 0.75])
def test_recognised_noise_costs_nothing(p: float) -> None:
    """Each synthetic episode is real with probability p, else noise: nine times the variance.

    In 400 dimensions the length of an episode identifies noise. A learner that filters by it has
    alpha = p. One that pools every row has episodes of variance κ = p + 9 (1 − p) instead.
    """
    rng, d, m = np.random.default_rng(32), 400, 96
    episodes = rng.normal(size=(SEEDS, N + m, d))  # of a truth 0
    noise = np.arange(N + m) >= N + rng.binomial(m, p, SEEDS)[:, None]
    episodes[noise] *= 3

    def error(weight: np.ndarray) -> np.ndarray:
        """Of the mean of episodes (seeds, episodes) with weight 0 or 1."""
        mean = np.einsum("sn,snd->sd", weight, episodes) / weight.sum(axis=1)[:, None]
        return np.mean(mean**2, axis=1)

    runs = curve(rng, SEEDS, d)
    runs["filters", N, m, 0] = error(np.mean(episodes**2, axis=2) < 4.0)
    runs["pools", N, m, 0] = error(np.ones((SEEDS, N + m)))
    filters, pools = one(runs, "filters"), one(runs, "pools")
    holds(filters, p)
    kappa = p + 9 * (1 - p)
    holds(pools, ((2 - kappa) * N + m) / (N + kappa * m))
    assert pools.alpha_avg.high < p - 0.3
