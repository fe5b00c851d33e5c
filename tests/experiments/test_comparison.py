"""Paired ratios of mean errors."""

import numpy as np
import pytest

from experiments.recordings.comparison import paired_ratio


def test_paired_ratio_sees_through_shared_difficulty() -> None:
    generator = np.random.default_rng(0)
    reference = generator.lognormal(0, 1.0, size=60)
    comparison = paired_ratio(0.9 * reference * generator.lognormal(0, 0.05, size=60), reference)
    assert comparison.low < comparison.ratio < comparison.high < 1.0
    assert comparison.better
    assert not paired_ratio(reference[::-1], reference).better
    with pytest.raises(ValueError, match="same episodes"):
        paired_ratio(reference, reference[1:])
