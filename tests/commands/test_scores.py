"""Curves of errors: the mean over episodes at each frame, with Student's interval."""

import numpy as np
import pytest
from scipy import stats

from worldmodel.commands.scores import curves, refuse_not_finite
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import Windows, cut_windows
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


def test_the_mean_and_its_interval_at_each_frame() -> None:
    channels = Channels.of(load_scene(SLIDE, control_hz=10.0, substeps=1))
    _, windows = windows_of((5, 5, 3))
    # Errors of each episode grow with the frame; the third ends after two frames.
    predicted = np.array([1.0, 2.0, 6.0])[:, None, None] * np.arange(1, 5)[None, :, None]
    curve = curves({"fitted": predicted}, windows, channels)["position_m"]["fitted"]
    assert curve["mean"] == pytest.approx([3.0, 6.0, 4.5, 6.0])
    values = np.array([1.0, 2.0, 6.0])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert curve["low"][0] == pytest.approx(3.0 - half)
    assert curve["high"][0] == pytest.approx(3.0 + half)
    half = stats.t.ppf(0.975, 1) * np.std([3.0, 6.0], ddof=1) / np.sqrt(2)
    assert curve["high"][2] == pytest.approx(4.5 + half)


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
