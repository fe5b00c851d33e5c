"""The statistics of a column, as LeRobot's ``stats.json`` and its rows of episodes have them."""

import warnings
from typing import Any

import numpy as np

SAMPLE = 20_000  # frames that a set's quantiles are taken of, at most
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def statistics(values: np.ndarray) -> dict[str, list[Any]]:
    """Per component, over the frames where it is not NaN: each a list, also of a scalar column."""
    whole = Statistics()
    whole.add(values)
    return whole.result()


class Statistics:
    """Those of a column that comes in parts, in constant memory.

    Quantiles are exact up to ``SAMPLE`` frames; of more, a random sample of half to all of so many
    is taken, which is the same in every run.
    """

    def __init__(self) -> None:
        self._low = self._high = None
        self._count = 0  # frames
        self._known: Any = 0.0  # (k,) of them not NaN, mean, and sum of squared deviations
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._sample = np.empty((0, 0))
        self._share, self._rng = 1.0, np.random.default_rng(0)

    def add(self, values: np.ndarray) -> None:
        """Takes more frames, (frames,) or (frames, k), at least one."""
        values = values.reshape(len(values), -1)
        low, high = np.fmin.reduce(values), np.fmax.reduce(values)
        self._low = low if self._low is None else np.fmin(self._low, low)
        self._high = high if self._high is None else np.fmax(self._high, high)
        wide = values.astype(np.float64)
        known = (~np.isnan(wide)).sum(0)
        mean = np.nansum(wide, axis=0) / np.maximum(known, 1)
        squares = np.nansum(np.square(wide - mean), axis=0)
        both = np.maximum(self._known + known, 1)
        apart = mean - self._mean  # Chan, Golub & LeVeque 1983
        self._squares = self._squares + squares + apart**2 * self._known * known / both
        self._mean = self._mean + apart * known / both
        self._known, self._count = self._known + known, self._count + len(values)
        if self._share < 1.0:
            wide = wide[self._rng.random(len(wide)) < self._share]
        self._sample = np.concatenate([self._sample.reshape(-1, values.shape[1]), wide])
        while len(self._sample) > SAMPLE:
            self._sample = self._sample[self._rng.random(len(self._sample)) < 0.5]
            self._share /= 2

    def result(self) -> dict[str, list[Any]]:
        """min, max, mean, std, quantiles and count; NaN of a component that is NaN throughout."""
        assert self._low is not None and self._high is not None
        known = np.where(self._known > 0, self._known, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN has NaN quantiles
            quantiles = np.nanquantile(self._sample, [*_QUANTILES.values()], axis=0)
        out = {"min": self._low, "max": self._high}
        out |= {"mean": self._mean + 0.0 * known, "std": np.sqrt(self._squares / known)}
        out |= zip(_QUANTILES, quantiles, strict=True)
        return {what: value.tolist() for what, value in out.items()} | {"count": [self._count]}
