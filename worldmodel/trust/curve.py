"""The real-only curve and its inverse, as array functions: any leading axes, replicates last.

``errors`` are (..., S), one training run per replicate. The estimator works on ``means``
(..., 1 + S): the mean over all replicates, then each mean that leaves one out. The curve L is the
mean error at each real-only size, made monotone by pooling adjacent violators in log error (Barlow
et al. 1972) and interpolated linearly in log error over log n. It is never extrapolated.
"""

import numpy as np


def leave_one_out(errors: np.ndarray) -> np.ndarray:
    """Means over the replicates: (..., S) to (..., 1 + S), the mean over all of them first."""
    count = errors.shape[-1]
    # Not (sum - x) / (S - 1), whose rounding would give equal errors unequal means.
    rest = [np.delete(errors, i, axis=-1).mean(axis=-1) for i in range(count)]
    return np.stack([errors.mean(axis=-1), *rest], axis=-1)


def falling(values: np.ndarray) -> np.ndarray:
    """The nearest sequences that never rise, (..., sizes) to (..., sizes): violators are pooled.

    Min-max formula: the least over all starts a <= i of the largest mean over a..b, b >= i
    (Barlow et al. 1972).
    """
    out = np.full(values.shape, np.inf)
    sizes = values.shape[-1]
    for a in range(sizes):
        means = [values[..., a : b + 1].mean(axis=-1) for b in range(a, sizes)]
        largest = np.maximum.accumulate(np.stack(means[::-1], axis=-1), axis=-1)[..., ::-1]
        out[..., a:] = np.minimum(out[..., a:], largest)
    return out


def slopes(sizes: np.ndarray, monotone: np.ndarray) -> np.ndarray:
    """-d log L / d log n of each segment: (..., sizes) to (..., sizes - 1); 0 where pooled."""
    return -np.diff(monotone, axis=-1) / np.diff(np.log(sizes))


def invert(
    sizes: np.ndarray, monotone: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The number of real episodes D with a given log error, and the segment that holds it.

    Args:
      sizes: (sizes,) n of the curve, rising.
      monotone: (..., sizes) log errors of the curve, never rising.
      logs: (...) log errors.

    Returns:
      D (...) in episodes, infinity if better than the whole curve, -infinity if worse; segments
      (...), indices.
    """
    last = len(sizes) - 2
    segment = np.clip((monotone >= logs[..., None]).sum(axis=-1) - 1, 0, last)
    start = np.take_along_axis(monotone, segment[..., None], axis=-1)[..., 0]
    end = np.take_along_axis(monotone, segment[..., None] + 1, axis=-1)[..., 0]
    gap = start - end
    part = np.where(gap > 0, (start - logs) / np.where(gap > 0, gap, 1.0), 0.0)
    inside = (monotone[..., 0] >= logs) & (logs >= monotone[..., -1])
    part = np.where(inside, part, 0.0)
    n = np.asarray(sizes, float)
    d_eff = n[segment] * (n[segment + 1] / n[segment]) ** part
    d_eff = np.where(part == 1.0, n[segment + 1], d_eff)  # a knot exactly, despite rounding
    beyond = np.where(logs < monotone[..., -1], np.inf, -np.inf)
    return np.where(inside, d_eff, beyond), segment
