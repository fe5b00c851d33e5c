"""The rule of the square's tracking glitches: a spike and a jump are one, a bounce is none."""

import numpy as np

from experiments.recordings.problems import SQUARE


def fall_and_bounce() -> np.ndarray:
    """(frames, 3) x, z, θ of a square that falls, bounces once with a kick and flies on."""
    t = np.arange(100) / 250.0
    down = t < 0.15
    z = np.where(down, 0.15 - 0.5 * 9.81 * t**2, 0.04 + 1.2 * (t - 0.15) - 4.9 * (t - 0.15) ** 2)
    theta = np.where(down, 10 * t, 1.5 - 25 * (t - 0.15))
    return np.stack([0.3 * t, z, theta], axis=1)


def glitches(qpos: np.ndarray) -> np.ndarray:
    assert SQUARE.columns.rejects is not None
    return SQUARE.columns.rejects.rejected(qpos)


def test_a_bounce_is_no_glitch_and_a_glitch_is() -> None:
    clean = fall_and_bounce()
    assert not glitches(clean).any()
    for column, height in ((1, 0.03), (2, 0.4)):  # the spike, its neighbours and their successor
        spiked = clean.copy()
        spiked[20, column] += height
        assert np.flatnonzero(glitches(spiked)).tolist() == [19, 20, 21, 22]
    jumped = clean.copy()
    jumped[60:, 2] += np.pi / 2
    assert np.flatnonzero(glitches(jumped)).tolist() == [59, 60, 61]


def test_a_fast_spin_is_real_up_to_the_energy_of_the_fall() -> None:
    after = np.maximum(np.arange(100) - 59, 0) / 250.0
    for spin, impossible in ((75.0, 0), (-75.0, 0), (110.0, 40)):
        square = fall_and_bounce()
        square[:, 2] = 0.3 + spin * after
        assert glitches(square).sum() == impossible
