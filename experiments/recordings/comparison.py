"""Two models on the same episodes: the ratio of their mean errors, with a paired interval."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One model's mean error over another's on the same episodes, with a 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the whole interval lies below 1."""
        return self.high < 1.0


def paired_ratio(
    error: np.ndarray, reference: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Ratio of mean errors with a paired bootstrap interval over episodes.

    Args:
      error, reference: (episodes,) the two models' errors on the same episodes, in order.
      resamples: bootstrap samples of episodes, both models drawn together.
      seed: of the resampling.

    Raises:
      ValueError: fewer than two episodes, or unequal numbers of them.
    """
    if error.shape != reference.shape or error.ndim != 1 or len(error) < 2:
        raise ValueError(
            f"a paired interval needs the same episodes, at least two: {error.shape} and "
            f"{reference.shape}"
        )
    rows = np.random.default_rng(seed).integers(len(error), size=(resamples, len(error)))
    ratios = error[rows].mean(1) / reference[rows].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Comparison(float(error.mean() / reference.mean()), float(low), float(high))
