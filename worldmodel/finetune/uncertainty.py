"""The covariance of fitted numbers, from how much single episodes pull on them.

The frames of an episode err together, so noise taken as independent per frame gives intervals that
are too narrow. Each episode is left out in turn, which moves the numbers by one Gauss-Newton step,
and the scatter of those moves is the covariance (the jackknife, or CR3, of clustered data; Bell &
McCaffrey 2002). It is not too narrow for few episodes, also where they are fewer than the numbers.
The quantiles are those of Student's t, whose degrees of freedom are the effective number of
episodes less one (Carter, Schnepel & Steigerwald 2017).
"""

import dataclasses

import numpy as np
from scipy import stats

FEW = 5  # episodes; below, stretches of windows take their place
STRETCHES = 10  # at least; below, the noise alone
STRETCH = 4  # horizons that a stretch of an episode lasts


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """What a fit says about its numbers' errors."""

    covariance: np.ndarray  # (numbers, numbers) of u
    freedom: np.ndarray  # (numbers,) degrees of freedom of Student's t; inf: normal
    clusters: int  # that the scatter is of; 0: noise alone, independent per frame
    by_episode: bool  # whether the clusters are whole episodes

    def half_widths(self, slope: np.ndarray) -> np.ndarray:
        """Half of the 95 % intervals of values (values,) with the derivative (values, numbers)."""
        deviation = np.sqrt(np.einsum("vi,ij,vj->v", slope, self.covariance, slope))
        freedom = np.where(slope != 0, self.freedom, np.inf).min(axis=1, initial=np.inf)
        return stats.t.ppf(0.975, freedom) * deviation


def clusters_of(
    episode: np.ndarray, frame: np.ndarray | None, horizon: int
) -> tuple[np.ndarray | None, bool]:
    """(windows,) the cluster of each window, None where there are too few; whether by episode."""
    if len(np.unique(episode)) >= FEW:
        return np.unique(episode, return_inverse=True)[1], True
    if frame is None:
        return None, False
    keys = np.stack([episode, frame // (STRETCH * horizon)], axis=1)
    stretch = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return (stretch if stretch.max(initial=-1) + 1 >= STRETCHES else None), False


def uncertainty(
    curvature: np.ndarray, gradient: np.ndarray, cluster: np.ndarray | None, by_episode: bool
) -> Uncertainty:
    """The covariance at a minimum with the prior N(0, 1) of every number.

    Args:
      curvature: (windows, numbers, numbers) of the data's part of the cost.
      gradient: (windows, numbers) likewise.
      cluster: (windows,) from 0; None: noise alone.
    """
    size = gradient.shape[1]
    total = curvature.sum(0) + np.eye(size)
    inverse = np.linalg.inv(total)
    if cluster is None:
        return Uncertainty(inverse, np.full(size, np.inf), 0, False)
    count = int(cluster.max()) + 1
    pull, bend = np.zeros((count, size)), np.zeros((count, size, size))
    np.add.at(pull, cluster, gradient)
    np.add.at(bend, cluster, curvature)
    moves = np.linalg.solve(total - bend, pull[..., None])[..., 0]
    moves -= moves.mean(0)
    scatter = moves.T @ moves * (count - 1) / count
    share = np.einsum("ki,cij,jk->ck", inverse, bend, inverse)  # of each number's variance
    square = np.maximum(np.square(share).sum(0), 1e-300)
    freedom = np.maximum(np.square(share.sum(0)) / square - 1.0, 1.0)
    return Uncertainty(scatter + inverse @ inverse, freedom, count, by_episode)
