"""Errors of several models on the same episodes: ratios, intervals, rows that diverge."""

import dataclasses

import numpy as np
import pytest

from experiments.recordings.problems import CUBE
from experiments.recordings.statistics import (
    bootstrap_interval,
    compare,
    holm,
    ratio_t_interval,
    rows_at,
)
from tests.helpers.still_episodes import still_episodes
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError

CHANNELS = CUBE.channels(CUBE.scene())
WHOLE = dataclasses.replace(CUBE.windows, horizon=None)


def off_by(windows: Windows, amount: np.ndarray | float) -> np.ndarray:
    """Predictions that are wrong by an amount per window [m], a tenth as much in angles [rad]."""
    predicted = np.array(windows.target, float)
    wrong = np.broadcast_to(amount, len(windows))[:, None]
    predicted[..., 1] += wrong
    predicted[..., 3], predicted[..., 4] = np.cos(0.05 * wrong), np.sin(0.05 * wrong)
    return predicted


def test_a_bootstrap_sees_through_shared_difficulty() -> None:
    generator = np.random.default_rng(0)
    reference = generator.lognormal(0, 1.0, size=60)
    error = 0.9 * reference * generator.lognormal(0, 0.05, size=60)
    low, high = bootstrap_interval(error, reference)
    assert low < error.mean() / reference.mean() < high < 1.0
    assert bootstrap_interval(reference[::-1], reference)[1] > 1.0


def test_the_t_interval_of_a_ratio_covers() -> None:
    """8 episodes, 2 000 repetitions: the share that covers lies within 95 ± 2 %."""
    generator = np.random.default_rng(0)
    reference = generator.normal(1.0, 0.1, size=(8, 2000))
    error = 0.8 * reference + generator.normal(0.0, 0.05, size=(8, 2000))
    _, low, high = ratio_t_interval(error, reference)
    assert abs(np.mean((low < 0.8) & (high > 0.8)) - 0.95) < 0.02


def test_ratios_are_of_shared_seeds_and_paired() -> None:
    base = np.random.default_rng(0).uniform(1, 5, (6, 3))
    base[:, 2] = np.nan  # no joints
    physics = {0: base, 1: 3 * base, 2: 100 * base}
    ratios = compare({0: 0.5 * base, 1: 0.9 * base}, physics)
    assert set(ratios) == {"position_m", "rotation_rad"}
    for ratio in ratios.values():  # (.5 + .9) / (1 + 3), whatever the third seed
        np.testing.assert_allclose([ratio["ratio"], *ratio["bootstrap"], *ratio["t"]], 0.35)
        np.testing.assert_allclose(ratio["seeds"], [0.5, 0.3])
    with pytest.raises(InputError, match="no fit seed in common"):
        compare({4: base}, physics)


def test_above_is_told_after_holm() -> None:
    # Holm 1979: the smallest times 4, the next times 3, and never below an earlier one.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_above_is_a_paired_test() -> None:
    base = np.array([1.0, 2.0, 3.0, 4.0])
    apart = np.array([0.1, 0.2, 0.1, 0.2])  # t = 0.15 / (0.05774 / 2) = 5.196 of 3 degrees

    def p_above(error: np.ndarray, reference: np.ndarray) -> float:
        each = ({0: np.repeat(x[:, None], 3, axis=1)} for x in (error, reference))
        return compare(*each)["joint_rad"]["p_above"]

    assert p_above(base, base) == 1.0
    assert p_above(base + apart, base) == pytest.approx(0.00692, abs=1e-5)
    assert p_above(base, base + apart) == pytest.approx(1 - 0.00692, abs=1e-5)


def test_a_model_that_diverges_gets_a_reason_and_past_the_end_nothing_counts() -> None:
    windows, _ = WHOLE.cut(still_episodes(CUBE, 3, 50))
    scored = np.asarray(windows.scored).copy()
    scored[:, -1] = False
    windows = dataclasses.replace(windows, scored=scored)
    right, wrong, past = off_by(windows, 0.1), off_by(windows, 0.3), off_by(windows, 0.2)
    wrong[1, 5] = np.nan
    past[:, -1] = np.nan  # not scored
    predicted = {"physics": {3: past}, "hybrid": {3: right}, "latent": {3: wrong}}
    pairs = [("hybrid", "physics"), ("latent", "physics")]
    rows = {row["model"]: row for row in rows_at(predicted, windows, CHANNELS, pairs)}
    latent, hybrid = rows["latent"], rows["hybrid"]
    assert latent["position_m"] is None and latent["over"] == {}
    assert latent["reason"] == "windows that are not finite, by seed: {3: 1}"
    assert rows["physics"]["position_m"] == pytest.approx(0.2)
    assert rows["physics"]["reason"] is None
    assert hybrid["over"]["physics"]["position_m"]["ratio"] == pytest.approx(0.5)
    assert (hybrid["episodes"], hybrid["windows"], hybrid["joint_rad"]) == (3, 3, None)
