"""Curves of errors: the mean over episodes at each horizon, with Student's interval."""

import numpy as np
import pytest
from scipy import stats

from worldmodel.commands.outcome import held_out
from worldmodel.commands.scores import curves, refuse_not_finite
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, Windows, cut_windows
from worldmodel.errors import InputError
from worldmodel.scene import load_scene
from worldmodel.types import Episode

SLIDE = """<mujoco><worldbody><body><joint name="x" type="slide"/><geom size=".1"/></body>
</worldbody></mujoco>"""


def windows_of(lengths: tuple[int, ...]) -> tuple[list[Episode], Windows]:
    episodes = [
        Episode.regular(
            i, 10.0, qpos=np.zeros((n, 1)), qvel=np.zeros((n, 1)), ctrl=np.zeros((n, 0))
        )
        for i, n in enumerate(lengths)
    ]
    return episodes, cut_windows(episodes, [np.array([0])] * len(lengths), 4)


def test_the_mean_and_its_interval_at_each_horizon() -> None:
    channels = Channels.of(load_scene(SLIDE, control_hz=10.0, substeps=1))
    _, windows = windows_of((5, 5, 3))
    # Errors of each episode grow with the frame. The third ends after two frames: it is left out
    # at every horizon, or the curve would jump where it ends.
    predicted = np.array([1.0, 2.0, 6.0])[:, None, None] * np.arange(1, 5)[None, :, None]
    curve = curves({"fitted": predicted}, windows, channels)["position_m"]["fitted"]
    assert curve["mean"] == pytest.approx([1.5, 2.25, 3.0, 3.75])  # over the frames up to it
    half = stats.t.ppf(0.975, 1) * np.std([2.5, 5.0], ddof=1) / np.sqrt(2)
    assert curve["low"][3] == pytest.approx(3.75 - half)
    assert curve["high"][3] == pytest.approx(3.75 + half)


def test_a_curve_ends_where_half_of_the_windows_do() -> None:
    episodes, _ = windows_of((30, 30, 14))
    windows = held_out(episodes, WindowGrid(0, 5, 5))
    # Cut at four times their horizon, five windows of each long episode reach 20, 20, 19, 14 and 9
    # frames, those of the short one 13 and 8: six of twelve reach 19.
    assert windows.target.shape[1] == 19
    reach = [19, 19, 19, 14, 9, 19, 19, 19, 14, 9, 13, 8]
    np.testing.assert_array_equal(np.asarray(windows.scored).sum(axis=1), reach)


def test_one_episode_has_no_interval() -> None:
    channels = Channels.of(load_scene(SLIDE, control_hz=10.0, substeps=1))
    _, windows = windows_of((5,))
    curve = curves({"fitted": np.ones((1, 4, 1))}, windows, channels)["position_m"]["fitted"]
    assert curve["mean"] == [1.0] * 4 and curve["low"] == [None] * 4


def test_predictions_that_are_not_finite_name_their_episodes() -> None:
    episodes, windows = windows_of((5, 5))
    predicted = np.zeros((2, 4, 1))
    predicted[1, 3] = np.nan
    with pytest.raises(InputError, match=r"1 predicted windows .* \['1'\]"):
        refuse_not_finite(predicted, windows, episodes)
