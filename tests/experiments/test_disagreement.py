"""Where members disagree: what the table says of repeats."""

import numpy as np
import pytest

from experiments.manipulation.disagreement import summary


def test_choices_are_compared_repeat_by_repeat() -> None:
    """Repeats differ by far more than choices do: only pairs show it."""
    scale = np.array([1.0, 10.0, 100.0])
    rows = [
        {"part": part, "choice": choice, "repeat": k, "error": x * factor, "success": 0.5}
        for k, x in enumerate(scale.tolist())
        for part, choice, factor in (
            ("penalty", 0.0, 1.0),
            ("penalty", 1.0, 0.8),
            ("asking", "random", 2.0),
            ("asking", "disagreement", 1.0),
        )
    ]
    none, thinned = summary(rows, "penalty")
    assert (none["choice"], none["repeats"], none["ratio"]) == (0.0, 3, [1.0, 1.0, 1.0])
    assert thinned["error"] == pytest.approx(0.8 * 37.0)
    assert thinned["ratio"] == pytest.approx([0.8, 0.8, 0.8])
    random, asked = summary(rows, "asking")
    assert random["ratio"] == [1.0, 1.0, 1.0] and asked["ratio"][0] == pytest.approx(0.5)
    rows[1]["error"] = 1.3  # of repeat 0: the ratio is no longer the same everywhere
    low, high = summary(rows, "penalty")[1]["ratio"][1:]
    assert low < 0.8 < high
