"""The covariance of fitted numbers against leaving episodes out of a linear fit."""

import numpy as np
import pytest
from scipy import stats

from worldmodel.finetune.uncertainty import STRETCH, Uncertainty, clusters_of, uncertainty

SIZE = 3


def linear(
    rng: np.random.Generator, clusters: int, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(clusters, rows, SIZE) regressors, (clusters, rows) values whose errors a cluster shares."""
    x = rng.normal(size=(clusters, rows, SIZE))
    shared = rng.normal(size=(clusters, 1)) * x[..., 0]
    return x, x @ np.array([0.3, -0.2, 0.5]) + shared + 0.1 * rng.normal(size=(clusters, rows)), x


def solved(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least squares with the prior N(0, 1)."""
    flat = x.reshape(-1, SIZE)
    return np.linalg.solve(flat.T @ flat + np.eye(SIZE), flat.T @ y.ravel())


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, Uncertainty]:
    u = solved(x, y)
    curvature = np.einsum("cri,crj->cij", x, x)
    gradient = np.einsum("cri,cr->ci", x, x @ u - y)
    return u, uncertainty(curvature, gradient, np.arange(len(x)), True)


def test_the_covariance_is_the_jackknife_of_the_episodes() -> None:
    """In a linear problem one Gauss-Newton step without an episode is the fit without it."""
    x, y, _ = linear(np.random.default_rng(0), 7, 5)
    u, result = fitted(x, y)
    without = np.stack([solved(np.delete(x, c, 0), np.delete(y, c, 0)) for c in range(7)])
    scatter = (7 - 1) * np.cov(without.T, bias=True)
    flat = x.reshape(-1, SIZE)
    inverse = np.linalg.inv(flat.T @ flat + np.eye(SIZE))
    np.testing.assert_allclose(result.covariance, scatter + inverse @ inverse, rtol=1e-10)
    assert result.by_episode and result.clusters == 7
    assert (result.freedom <= 6).all() and (result.freedom > 2).all()
    del u


def test_equal_episodes_have_one_degree_of_freedom_less() -> None:
    x = np.repeat(np.random.default_rng(1).normal(size=(1, 5, SIZE)), 8, axis=0)
    curvature = np.einsum("cri,crj->cij", x, x)
    gradient = np.random.default_rng(2).normal(size=(8, SIZE))
    result = uncertainty(curvature, gradient, np.arange(8), True)
    np.testing.assert_allclose(result.freedom, 7.0)
    half = result.half_widths(np.eye(SIZE))
    expected = stats.t.ppf(0.975, 7) * np.sqrt(np.diag(result.covariance))
    np.testing.assert_allclose(half, expected)


@pytest.mark.parametrize("clusters", [6, 40])
def test_intervals_cover_where_episodes_err_together(clusters: int) -> None:
    """The naive covariance H⁻¹ does not."""
    truth, inside, naive = np.array([0.3, -0.2, 0.5]), 0, 0
    for seed in range(400):
        x, y, _ = linear(np.random.default_rng([3, seed]), clusters, 20)
        u, result = fitted(x, y)
        inside += int(abs(u[0] - truth[0]) < result.half_widths(np.eye(SIZE))[0])
        alone = uncertainty(np.einsum("cri,crj->cij", x, x), 0 * x[:, 0], None, False)
        naive += int(abs(u[0] - truth[0]) < alone.half_widths(np.eye(SIZE))[0])
    # A share of 0.95 in 400 leaves these limits less than once in a thousand times.
    assert 0.91 <= inside / 400 <= 0.985
    assert naive / 400 < 0.9


def test_few_episodes_are_cut_into_stretches() -> None:
    episode = np.repeat([4, 9], 40)
    frame = np.tile(np.arange(40) * 5, 2)
    cluster, by_episode = clusters_of(episode, frame, horizon=5)
    assert cluster is not None and not by_episode
    assert cluster.max() + 1 == 2 * 200 // (STRETCH * 5)
    # Windows of one stretch belong to one episode and to STRETCH horizons of it.
    for c in range(cluster.max() + 1):
        assert len(set(episode[cluster == c])) == 1
        assert np.ptp(frame[cluster == c]) < STRETCH * 5
    assert clusters_of(episode, None, horizon=5) == (None, False)
    assert clusters_of(np.array([0, 1]), np.array([0, 0]), horizon=5) == (None, False)
    many, by_episode = clusters_of(np.array([3, 3, 5, 7, 8, 9]), None, horizon=5)
    assert by_episode and many is not None and many.tolist() == [0, 0, 1, 2, 3, 4]
